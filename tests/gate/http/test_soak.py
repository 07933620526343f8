"""The soak of the gate, in short; ``python -m tests.load.soak`` runs it for ten minutes."""

from pathlib import Path

import pytest

from tests.load.soak import soak


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_request_on_the_wrong_side_and_no_line_lost_or_torn(tmp_path: Path) -> None:
    found = soak(6, tmp_path, requests=101, revisions=5)
    assert found.faults == []
    assert found.requests > 100
    assert found.revisions > 4
