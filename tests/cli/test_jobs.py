"""``jobs`` in a shell, against a real gate client and the simulator."""

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from rollout_console.cli.main import run
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate import Gate, subject
from rollout_gate.http import client
from tests.jobs.ledgers import FILE, create, write
from tests.sim.asking import set_fault

Jobs = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rollout(tmp_path: Path, sim: SimServer) -> Path:
    path = tmp_path / "rollout.toml"
    path.write_text(FILE.format(url=sim.base_url))
    return path


@pytest.fixture
def jobs(
    rollout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Jobs:
    """Run ``jobs`` with these words; return its exit code and what it printed."""

    def call(*words: str, read_only: bool = False) -> tuple[int, str, str]:
        monkeypatch.setenv("TOKENLAB_API_KEY", DEMO_KEY)  # a command takes it out again
        first = ["-f", str(rollout), *(["--read-only"] if read_only else [])]
        code = run([*first, "jobs", *words])
        out, err = capsys.readouterr()
        assert DEMO_KEY not in out + err
        return code, out, err

    return call


def make(rollout: Path, sim: SimServer, *job_ids: str | None, status: int = 200) -> None:
    """Create a video for each job id through the gate's client."""
    url = f"{sim.base_url}/_previous/v1/videos/generations"
    with (
        Gate(rollout, poll_s=60) as gate,
        client(gate, "video", org="acme", tokenlab_key=DEMO_KEY, previous_key="k") as http,
    ):
        for i, job_id in enumerate(job_ids):
            body = {"model": "google-video-1", "prompt": f"a cube {i} {time.monotonic()}"}
            with subject(job_id=job_id):
                assert http.post(url, json=body).status_code == status


def test_without_a_ledger_it_says_where_one_comes_from(jobs: Jobs, rollout: Path) -> None:
    code, out, err = jobs("list")
    assert (code, out) == (0, "")
    assert "rollout-jobs.sqlite3 is not there" in err
    assert not rollout.with_name("rollout-jobs.sqlite3").exists()


def test_a_job_from_its_create_to_its_end(
    jobs: Jobs, rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(rollout, sim, "order-1", None)
    code, out, err = jobs("list")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "  open  video / acme  tokenlab  " in out
    assert "  job order-1" in out
    assert err == "2 open\n"
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.0)
    code, out, _ = jobs("poll")
    assert (code, out.count("  completed")) == (0, 2)
    code, out, _ = jobs("show", "order-1", "--json")
    (told,) = json.loads(out)
    assert (told["standing"], told["state"], told["polls"]) == ("completed", "completed", 0)
    assert told["billing_transaction_id"].startswith("btx_")
    assert told["endpoint"] == "/v1/videos/generations"
    assert jobs("poll") == (0, "", "")


def test_a_lost_create_is_told_and_may_be_made_again_once_forgotten(
    jobs: Jobs, rollout: Path, sim: SimServer, api: httpx.Client
) -> None:
    set_fault(api, kind="error", status=504, path="/v1/videos")
    make(rollout, sim, "order-2", status=504)
    api.delete("/_sim/faults")
    _, out, _ = jobs("list", "--state", "trouble", "--json")
    (told,) = json.loads(out)["jobs"]
    _, shown, _ = jobs("show", "order-2")
    assert (told["standing"], told["task_id"], told["status"]) == ("unknown", None, 504)
    assert "rollout-console jobs forget video order-2 --org acme" in shown
    make(rollout, sim, "order-2", status=409)
    assert jobs("forget", "video", "order-2")[0] == 1, "of which org?"
    assert jobs("forget", "video", "order-2", "--org", "acme")[0] == 1, "no terminal to ask on"
    assert jobs("forget", "video", "order-2", "--org", "acme", "--yes", read_only=True)[0] != 0
    code, out, _ = jobs("forget", "video", "order-2", "--org", "acme", "--yes")
    assert (code, out) == (0, "order-2 is forgotten: it may be created again\n")
    make(rollout, sim, "order-2")


def test_a_create_without_a_job_id_is_forgotten_by_its_own_id(jobs: Jobs, rollout: Path) -> None:
    now = time.time()
    write(
        rollout.parent,
        create("aa", now=now, ago=60, state="unknown", task_id=None, status=0, org="a b"),
        create("bb", now=now, ago=60),
    )
    _, shown, _ = jobs("show", "aa")
    (advised,) = (one for one in shown.splitlines() if one.startswith("what to do"))
    words = shlex.split(advised.split("rollout-console jobs ")[1])
    assert jobs(*words, "--yes")[0] == 0
    assert jobs("show", "aa")[0] == 1
    code, _, err = jobs("forget", "video", "bb", "--org", "acme", "--yes")
    assert code == 1
    assert "bb is open: there is nothing to forget" in err


def test_a_wrong_key_ends_the_polling(
    rollout: Path, capsys: pytest.CaptureFixture[str], sim: SimServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make(rollout, sim, None, None, None)
    served = len(sim.state.requests)
    monkeypatch.setenv("TOKENLAB_API_KEY", "sk-sim-wrong-0123456789")
    assert run(["-f", str(rollout), "jobs", "poll"]) == 1
    assert "give a key that works" in capsys.readouterr().out
    assert len(sim.state.requests) == served + 1, "no other task is asked about with that key"


def test_a_queued_video_is_cancelled_and_another_is_not(
    jobs: Jobs, rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 3_600.0)
    make(rollout, sim, "order-3")
    code, _, err = jobs("cancel", "order-3")
    assert code == 1
    assert "add --yes" in err
    code, out, _ = jobs("cancel", "order-3", "--yes")
    assert code == 0
    assert out.endswith(": cancelled\n")
    code, _, err = jobs("cancel", "order-3", "--yes")
    assert code == 1
    assert "order-3 cannot be cancelled: it is cancelled" in err
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    make(rollout, sim, "order-4")
    code, _, err = jobs("cancel", "order-4", "--yes")
    assert code == 1
    assert "409" in err


def test_duplicates_are_a_problem_with_both_ids(jobs: Jobs, rollout: Path) -> None:
    now = time.time()
    assert jobs("duplicates")[0] == 0
    write(
        rollout.parent,
        create("a", now=now, ago=30, fingerprint=b"f" * 16, cost="0.35"),
        create("b", now=now, ago=20, fingerprint=b"f" * 16),
    )
    code, out, err = jobs("duplicates")
    assert (code, err) == (1, "1 duplicate\n")
    assert "the same request again after 10 s: ldtask_a ($0.35) on tokenlab, then ldtask_b" in out
    (told,) = json.loads(jobs("duplicates", "--json")[1])
    assert (told["first"]["task_id"], told["second"]["task_id"]) == ("ldtask_a", "ldtask_b")


def test_what_is_asked_for_is_filtered(jobs: Jobs, rollout: Path) -> None:
    now = time.time()
    write(
        rollout.parent,
        create("a", now=now, ago=9_000, polls=0),
        create("b", now=now, ago=5, org="glo\x1b[2Jbex"),
        create("c", now=now, ago=200_000, state="completed"),
    )
    _, out, err = jobs("list")
    assert out.splitlines()[0].split("  ")[1] == "lost"
    assert "\x1b" not in out
    assert err == "1 lost, 1 open\n"
    assert len(json.loads(jobs("list", "--json", "--since", "7d")[1])["jobs"]) == 3
    assert len(json.loads(jobs("list", "--json", "--state", "lost")[1])["jobs"]) == 1
    nobodys = json.loads(jobs("list", "--json", "--org", "nobody")[1])
    assert (nobodys["jobs"], nobodys["counts"], nobodys["ended"]) == ([], {}, [])
    assert jobs("list", "--org", "acme")[2] == "1 lost\n"
    assert (
        jobs("list", "--limit", "1")[2] == "1 lost, 1 open\nthe first 1 of 2 are listed: --limit\n"
    )
    assert jobs("list", "--limit", "1", "--state", "lost")[2] == "1 lost, 1 open\n"
    assert jobs("list", "--route", "image") == (0, "", "no jobs\n")
    code, out, err = jobs("list", "--route", "vidoe")
    assert (code, out) == (2, "")
    assert "no route 'vidoe'; did you mean 'video'?" in err
    code, _, err = jobs("show", "nothing")
    assert code == 1
    assert "no job has the task id or job id 'nothing'" in err


def test_a_wrong_key_is_told_at_every_task(
    rollout: Path, sim: SimServer, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make(rollout, sim, "order-5")
    monkeypatch.setenv("TOKENLAB_API_KEY", "sk-sim-wrong-0123456789")
    assert run(["-f", str(rollout), "jobs", "poll", "--once"]) == 1
    out, err = capsys.readouterr()
    assert "  ?: " in out
    assert "give a key that works" in out
    assert "Traceback" not in err
