"""What a release is built from, on Pythons with and without filters of tar (PEP 706)."""

import tarfile
from pathlib import Path

import pytest

from tests.support.tar import unpack


@pytest.mark.parametrize("filters", [True, False])
def test_a_source_archive_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, filters: bool
) -> None:
    (tmp_path / "module.py").write_text("VERSION = 1\n")
    with tarfile.open(tmp_path / "source.tar", "w") as archive:
        archive.add(tmp_path / "module.py", "source/module.py")
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with tarfile.open(tmp_path / "source.tar") as archive:
        unpack(archive, tmp_path / "copy")
    assert (tmp_path / "copy" / "source" / "module.py").read_text() == "VERSION = 1\n"
