"""The report of a storm on the demo's traffic, with the figures of the log's own lines."""

import json
import os
import time
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from rollout_console.cli.main import run
from rollout_console.guard.proof import QUIET_S
from rollout_console.sim.demo import Demo
from rollout_console.sim.incidents import start_incident
from tests.support.waiting import until

SECRET = "sk-live-abcdef1234567890"


@pytest.mark.slow
def test_a_storm_is_reported_with_its_true_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Demo() as demo:
        monkeypatch.setenv("ROLLOUT_STATE_DIR", str(demo.folder / "state"))
        file = ["-f", str(demo.file)]
        time.sleep(6)
        start_incident(demo.base_url, "5xx storm", route="chat")
        time.sleep(9)
        asked = time.time()
        assert run([*file, "rollback", "chat", "--yes", "--reason", f"5xx {SECRET}"]) == 0
        rolled_back = time.time()
        polls = (tmp_path / f"before-{number}" for number in count())
        # A request that was open at the rollback is one of it whenever it ends: longer than quiet.
        until(lambda: quiet_since_s(reported(file, capsys, next(polls))) > 2 * QUIET_S, every_s=1.0)
        demo.stop_traffic()
        body = reported(file, capsys, tmp_path)
        log = (demo.folder / "access.jsonl").read_text().splitlines()
    lines = [json.loads(one) for one in log]
    of_it = [one for one in lines if one["route"] == "chat" and not one.get("operation")]
    tokenlab = [one for one in of_it if one["side"] == "tokenlab"]
    bad = [one for one in tokenlab if one["status"] >= 500]
    assert len(bad) > 3
    assert body["drained"] is True
    assert body["first_bad"]["request_id"] == min(bad, key=at_of)["request_id"]
    made = datetime.fromisoformat(body["rollbacks"][0]["at"]).timestamp()
    assert asked - 0.001 <= made <= rolled_back
    last = max(made, *(at_of(one) for one in tokenlab))  # the change itself, where none came after
    assert datetime.fromisoformat(body["drained_at"]).timestamp() == pytest.approx(last, abs=1e-3)
    assert body["after_rollback"] == sum(at_of(one) > made for one in tokenlab)
    during = body["phases"]["during"]
    begin = datetime.fromisoformat(during["from"]).timestamp()
    counted = [one for one in tokenlab if at_of(one) >= begin]
    assert during["tokenlab"]["requests"] == len(counted)
    assert (
        during["tokenlab"]["5xx"] == len(bad) == sum(x["count"] for x in body["errors"]["tokenlab"])
    )
    assert body["phases"]["after"]["tokenlab"]["requests"] == 0
    assert body["phases"]["after"]["previous"]["requests"] > 0
    assert body["alert_at"] is not None
    ids = {name for one in body["errors"]["tokenlab"] for name in one["request_ids"]}
    assert ids <= {one["request_id"] for one in bad}
    written = {path.suffix: path.read_text() for path in tmp_path.glob("incident-*")}
    assert set(written) == {".md", ".svg", ".csv"}
    for text in (*written.values(), json.dumps(body)):
        assert "abcdef" not in text
    assert "sk-…" in written[".md"]
    assert os.path.basename(str(demo.file)) in written[".md"]


def reported(file: list[str], capsys: pytest.CaptureFixture[str], to: Path) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*file, "report", "--json", "--out", str(to)]) == 0
    return cast("dict[str, Any]", json.loads(capsys.readouterr().out))


def quiet_since_s(body: dict[str, Any]) -> float:
    """Return for how many seconds it has been drained; 0 while that is not proven."""
    if not body["drained"]:
        return 0.0
    return time.time() - datetime.fromisoformat(body["drained_at"]).timestamp()


def at_of(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["ts"]).timestamp()
