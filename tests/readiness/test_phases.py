"""Phases: what the console sees itself, what a person ticks, moving on, and the playbook."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout_console.changes.errors import StoreError
from rollout_console.changes.switch import Switch
from rollout_console.cli.arguments import build_parser
from rollout_console.cli.main import run
from rollout_console.common.errors import OperationError, ReadOnly
from rollout_console.common.write_access import WriteAccess
from rollout_console.health.log.probe_log import ProbeLine, append_probe, probe_log_path
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.history.rows import NewChange
from rollout_console.readiness.phases import Phases
from rollout_console.readiness.plan_file import PlanFile, PlanState, Sample, Tick
from rollout_console.readiness.playbook import (
    playbook,
    playbook_path,
    playbook_revision,
    put_playbook,
)
from rollout_gate.file.model import PHASES, RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.file.phases import EXIT_CHECKS, checks_between, following

Call = Callable[..., tuple[int, str, str]]
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def parsed(switch: Switch) -> RolloutFile:
    return parse(switch.path.read_bytes())


@pytest.fixture
def room(switch: Switch) -> Phases:
    return Phases(switch, clock=lambda: NOW)


def state(room: Phases, switch: Switch, check: str, route: str = "chat") -> tuple[bool, str]:
    missing = {s.check.id: s for s in room.missing(parsed(switch), route, "cleanup")}
    return (False, missing[check].why) if check in missing else (True, "")


def in_phase(switch: Switch, phase: str) -> None:
    text = switch.path.read_text().replace('phase = "rollout"', f'phase = "{phase}"')
    switch.path.write_text(text)
    switch.refresh()


def test_the_phases_are_the_guides_and_each_ends_with_checks() -> None:
    assert tuple(EXIT_CHECKS) == PHASES
    assert [following(phase) for phase in PHASES] == [*PHASES[1:], "cleanup"]
    ids = [check.id for checks in EXIT_CHECKS.values() for check in checks]
    assert len(ids) == len(set(ids))
    assert checks_between("rollout", "pilot", media=False) == ()
    text = {c.id for c in checks_between("inventory", "cleanup", media=False)}
    media = {c.id for c in checks_between("inventory", "cleanup", media=True)}
    assert media - text == {"shadow.looked_at", "rollout.duplicates"}
    assert text - media == {"shadow.tally", "shadow.latency"}


def test_a_tick_is_who_when_and_why(room: Phases, switch: Switch) -> None:
    in_phase(switch, "pilot")
    assert state(room, switch, "pilot.cost")[0] is False
    room.tick(parsed(switch), "chat", "pilot.cost", "within 2%, sk-canary-secret-1")
    assert state(room, switch, "pilot.cost")[0] is True
    text = room._plan_file.path.read_text()
    assert "jo@gw-01" in text
    assert "canary" not in text
    room.untick(parsed(switch), "chat", "pilot.cost")
    assert state(room, switch, "pilot.cost")[0] is False
    with pytest.raises(OperationError, match="is evaluated by the console"):
        room.tick(parsed(switch), "chat", "pilot.shape", "")
    with pytest.raises(OperationError, match="no exit check"):
        room.tick(parsed(switch), "chat", "pilot.nonsense", "")


def test_a_probe_of_this_model_and_of_late(room: Phases, switch: Switch) -> None:
    in_phase(switch, "pilot")
    log = probe_log_path(switch.path, parsed(switch))

    def probed(model: str, at: datetime, *problems: str) -> tuple[bool, str]:
        line = ProbeLine(
            ts=at.isoformat(), route="chat", org="", probe=True, side="tokenlab", model=model,
            status=200, latency_ms=9, problems=problems,
        )  # fmt: skip
        assert append_probe(log, line) == ""
        return state(room, switch, "pilot.shape")

    assert "there was none" in state(room, switch, "pilot.shape")[1]
    assert "of gpt-4" in probed("gpt-4", NOW)[1]
    assert probed("gpt-5.4", NOW - timedelta(days=8))[0] is False
    assert "FAILED: no id" in probed("gpt-5.4", NOW, "no id")[1]
    assert probed("gpt-5.4", NOW - timedelta(days=6))[0] is True


def test_the_log_shows_ids_and_jobs_made_twice(room: Phases, switch: Switch) -> None:
    in_phase(switch, "pilot")
    log = switch.path.parent / "access.jsonl"
    assert "there is none" in state(room, switch, "pilot.logs")[1]
    line = {"route": "chat", "side": "tokenlab", "org": "a", "status": 200}
    log.write_text(json.dumps(line) + "\nnonsense\n")
    assert "1 TokenLab requests, 0 with" in state(room, switch, "pilot.logs")[1]
    log.write_text(json.dumps(line | {"request_id": "req_1"}) + "\n")
    assert state(room, switch, "pilot.logs")[0] is True
    switch.path.write_text(switch.path.read_text().replace("openai_chat_completions", "video"))
    assert state(room, switch, "rollout.duplicates")[0] is True
    twice = [line | {"job_id": "j", "task_id": task} for task in ("t1", "t2")]
    log.write_text("".join(json.dumps(one) + "\n" for one in twice))
    assert "job j has two tasks" in state(room, switch, "rollout.duplicates")[1]
    orgs = [one | {"org": org} for one, org in zip(twice, ("acme", "globex.eu"), strict=True)]
    log.write_text("".join(json.dumps(one) + "\n" for one in orgs))
    assert state(room, switch, "rollout.duplicates")[0] is True, "two orgs, two jobs"
    log.unlink()
    done, why = state(room, switch, "rollout.duplicates")
    assert (done, why.partition(";")[0]) == (False, "the log has no request of it")


def video_with_several_logs(switch: Switch) -> Path:
    """Make the route one of videos in phase rollout; return the folder of its logs."""
    in_phase(switch, "rollout")
    text = switch.path.read_text().replace("openai_chat_completions", "video")
    switch.path.write_text(text.replace('"access.jsonl"', '"logs/*.jsonl"'))
    folder = switch.path.parent / "logs"
    folder.mkdir()
    return folder


def test_a_job_made_twice_by_two_processes_is_found_by_the_pattern(
    room: Phases, switch: Switch
) -> None:
    folder = video_with_several_logs(switch)
    for task in ("t1", "t2"):
        line = {"route": "chat", "side": "tokenlab", "org": "a", "job_id": "j", "task_id": task}
        (folder / f"{task}.jsonl").write_text(json.dumps(line) + "\n")
    assert "job j has two tasks" in state(room, switch, "rollout.duplicates")[1]
    (folder / "t2.jsonl").unlink()
    assert state(room, switch, "rollout.duplicates")[0] is True


def test_no_job_is_known_to_be_made_once_by_logs_that_cannot_be_read(
    room: Phases, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = video_with_several_logs(switch)
    line = {"route": "chat", "side": "tokenlab", "org": "a", "request_id": "req_1"}
    for name in ("one", "two"):
        (folder / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    assert state(room, switch, "rollout.duplicates")[0] is True
    opened = Path.open

    def closed(self: Path, *arguments: Any, **more: Any) -> Any:
        if self.name == "two.jsonl":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", closed)
    done, why = state(room, switch, "rollout.duplicates")
    assert not done
    assert "not known: " in why
    assert "two.jsonl cannot be read: Permission denied" in why
    assert state(room, switch, "pilot.logs")[0] is True, "there is one all the same"


@pytest.mark.parametrize(
    ("counts", "times", "tally", "latency"),
    [
        ((2, 18, 0, 0), (100, 100), True, True),
        ((0, 16, 4, 0), (150, 100), True, True),
        ((0, 15, 5, 0), (151, 100), False, False),
        ((0, 16, 0, 5), (90, 100), False, True),
        ((5, 5, 0, 0), (0, 0), False, False),
    ],
)
def test_a_sample_ends_the_shadow_phase_or_does_not(
    room: Phases, switch: Switch, counts: tuple[int, int, int, int], times: tuple[int, int],
    tally: bool, latency: bool,
) -> None:  # fmt: skip
    in_phase(switch, "shadow")
    room.keep_sample(parsed(switch), "chat", Sample(NOW, "jo", "gpt-5.4", *counts, *times))
    assert state(room, switch, "shadow.tally")[0] is tally
    assert state(room, switch, "shadow.latency")[0] is latency
    room.keep_sample(parsed(switch), "chat", Sample(NOW, "jo", "gpt-4", *counts, *times))
    assert "no sample of this model" in state(room, switch, "shadow.tally")[1]


def test_the_end_is_stable_drilled_and_written_down(switch: Switch, tmp_path: Path) -> None:
    text = re.sub(r"^(acme|\"globex.eu\") = .*$", r"\1 = 100", switch.path.read_text(), flags=re.M)
    text = text.replace("initech = { percent = 10, rolled_back = true }", "initech = 100")
    switch.path.write_text(text.replace('phase = "rollout"', 'phase = "cleanup"').replace(
        "default_percent = 0", "default_percent = 100"
    ))  # fmt: skip
    then = NOW - timedelta(days=15)
    early = Switch(
        switch.path, History(tmp_path / "h.sqlite3"), Actor("jo", "gw-01"), clock=lambda: then
    )
    early.open()
    room = Phases(early, clock=lambda: NOW)

    def missing() -> set[str]:
        (one,) = (s for s in room.states(parsed(early)) if s.route == "chat")
        return {state.check.id for state in one.missing}

    assert missing() == {"cleanup.stable", "cleanup.drilled", "cleanup.playbook"}
    early.apply(early.planner.plan_rollback("chat", "acme", "a drill"))
    early.apply(early.planner.plan_resume("chat", "acme"), override=True, reason="drill over")
    assert missing() == {"cleanup.playbook"}
    file, data = parsed(early), early.path.read_bytes()
    a_row = NewChange(
        early.path, then, early.who, "set", "chat", "acme", "100", "100", "", "",
        file.revision, file.revision, data, data,
    )  # fmt: skip
    early.history.commit(early.history.begin(*[a_row] * 1100))
    assert missing() == {"cleanup.playbook"}, "the drill is found behind a write of all orgs"
    put_playbook(
        playbook_path(early.path),
        playbook(early.path, file, room.plan(), room.states(file), NOW),
        early.path,
    )
    assert missing() == set()
    early.apply(early.planner.plan_set("chat", "acme", 9900))
    assert missing() == {"cleanup.playbook"}, "the playbook is of an earlier revision"
    behind = Phases(early, clock=lambda: then - timedelta(hours=5))
    (one,) = (s for s in behind.states(parsed(early)) if s.route == "chat")
    assert [state.why for state in one.missing if state.check.id == "cleanup.stable"] == [
        "the last was set, dated ahead of this host's clock; wait"
    ]
    long_ago = Switch(early.path, early.history, early.who, clock=lambda: then - timedelta(days=99))
    long_ago.open()  # by a clock that is behind, the last change is no older than the one before
    long_ago.apply(long_ago.planner.plan_set("chat", "acme", 9800))
    soon = Phases(early, clock=lambda: then + timedelta(days=1))
    (one,) = (s for s in soon.states(parsed(early)) if s.route == "chat")
    assert "the last was set, 1 day ago; wait" in [state.why for state in one.missing]


def test_moving_on_asks_for_what_is_missing(room: Phases, switch: Switch) -> None:
    in_phase(switch, "pilot")
    plan = room.plan_move("chat", "shadow")
    assert plan.effect == "chat: phase pilot to shadow in rollout.toml"
    missing = room.missing(parsed(switch), "chat", "shadow")
    assert missing
    with pytest.raises(OperationError, match="not ready for shadow"):
        room.move(plan, missing, " ")
    assert parsed(switch).routes["chat"].phase == "pilot"
    room.move(plan, missing, "agreed with the owner")
    assert parsed(switch).routes["chat"].phase == "shadow"
    (row,) = switch.recent(1)[0]
    assert (row.action, row.before, row.after, row.reason) == (
        "phase", "pilot", "shadow", "agreed with the owner",
    )  # fmt: skip
    switch.apply(switch.planner.plan_undo())
    assert parsed(switch).routes["chat"].phase == "pilot"
    assert room.missing(parsed(switch), "chat", "inventory") == [], "going back needs nothing"


def test_read_only_ticks_nothing(file: Path, tmp_path: Path) -> None:
    made = Switch(
        file, History(tmp_path / "h"), Actor("jo", "gw-01"), access=WriteAccess(read_only=True)
    )
    room = Phases(made)
    with pytest.raises(ReadOnly):
        room.tick(parsed(made), "chat", "pilot.cost", "")
    with pytest.raises(ReadOnly):
        room.own(parsed(made), "chat", "x")
    with pytest.raises(ReadOnly):
        room.keep_sample(parsed(made), "chat", Sample(NOW, "jo", "m"))
    assert not room._plan_file.path.exists()


# -- the plan file -----------------------------------------------------------------------------


def test_edits_keep_what_people_wrote(file: Path) -> None:
    plan = PlanFile(file, WriteAccess())
    plan.path.write_text(
        '# ours\n[support]\ncontacts = ["#oncall"]  # day and night\n\n'
        '[routes."my chat"]\nowner = "jo"  # since May\nbudget = 5\n'
    )
    plan.tick("my chat", "pilot.cost", Tick("jo@x", NOW, 'a "note"\nof two lines'))
    plan.own("chat", "ann", ("a", "b"))
    read = plan.read()
    assert read.contacts == ("#oncall",)
    assert read.route("my chat").ticks["pilot.cost"] == Tick("jo@x", NOW, 'a "note"\nof two lines')
    assert read.route("chat").contacts == ("a", "b")
    text = plan.path.read_text()
    for kept in ("# ours", "# day and night", "# since May", "budget = 5"):
        assert kept in text
    assert read.route("nobody").owner == ""


@pytest.mark.parametrize(
    "text",
    [
        "[routes", "routes = 5", "[routes.chat]\nticks = 1", "[support]\ncontacts = 5",
        "[routes.chat.ticks]\nx = 5", '[routes.chat.shadow]\nat = "then"', "\x00",
    ],
)  # fmt: skip
def test_a_broken_plan_is_one_sentence_and_is_not_built_upon(file: Path, text: str) -> None:
    plan = PlanFile(file, WriteAccess())
    plan.path.write_text(text)
    for ask in (plan.read, lambda: plan.own("chat", "x")):
        with pytest.raises(StoreError, match=r"rollout\.plan\.toml"):
            ask()
    assert plan.path.read_text() == text


def test_two_consoles_tick_at_once(file: Path) -> None:
    script = (
        "import sys, pathlib, datetime\n"
        "from rollout_console.changes.errors import StoreError\n"
        "from rollout_console.common.write_access import WriteAccess\n"
        "from rollout_console.readiness.plan_file import PlanFile, Tick\n"
        "for i in range(15):\n"
        "    while True:\n"
        "        try:\n"
        "            plan = PlanFile(pathlib.Path(sys.argv[1]), WriteAccess())\n"
        "            plan.tick('chat', f'{sys.argv[2]}.{i}',\n"
        "                Tick('x', datetime.datetime.now(datetime.UTC))); break\n"
        "        except StoreError as e:\n"
        "            assert 'another writer' in str(e) or 'busy' in str(e), e\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(file), name]) for name in ("a", "b")
    ]
    assert [one.wait() for one in running] == [0, 0]
    assert len(PlanFile(file, WriteAccess()).read().route("chat").ticks) == 30


# -- the playbook ------------------------------------------------------------------------------


def test_the_playbook_has_what_one_needs_and_no_secret(
    room: Phases, switch: Switch, tmp_path: Path
) -> None:
    room.own(parsed(switch), "chat", "platform", ("#oncall", "sk-canary-in-a-contact"))
    file = parsed(switch)
    text = playbook(switch.path, file, room.plan(), room.states(file), NOW)
    for needed in (
        "Owner: platform", "#oncall", "| acme | 25 |", "| initech | 10 | rolled back |",
        "request_id", "billing_transaction_id", "**nobody is named**", "rolled_back = true",
        "https://api.openai.com/v1", "Phase: rollout", "[ ] every org is at 100%",
    ):  # fmt: skip
        assert needed in text, needed
    assert "canary" not in text
    path = tmp_path / "p.md"
    put_playbook(path, text, switch.path)
    put_playbook(path, text + "\n", switch.path)
    assert playbook_revision(path) == file.revision


def test_the_playbooks_commands_work(
    room: Phases, switch: Switch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = parsed(switch)
    text = playbook(switch.path, file, room.plan(), room.states(file), NOW)
    commands = [line for line in text.splitlines() if line.startswith("rollout-console rollback")]
    assert len(commands) >= 5
    for command in commands:
        _, *words = shlex.split(command)
        assert run(words) in (0, 1), command  # 1: an earlier command did it already
        assert "Traceback" not in capsys.readouterr().err
    after = parsed(switch)
    assert after.rolled_back
    assert all(route.rolled_back for route in after.routes.values())


def test_names_from_outside_stay_text(file: Path, switch: Switch) -> None:
    switch.path.write_text(
        file.read_text().replace('"globex.eu"', '"<script>|x\\u202e"').replace("gpt-5.4", "a`b")
    )
    made = Phases(switch, clock=lambda: NOW)
    new = parsed(switch)
    text = playbook(switch.path, new, made.plan(), made.states(new), NOW)
    in_command = "$'<script>|x\\342\\200\\256'"
    assert in_command in text
    assert "<script>" not in text.replace(in_command, "")
    assert "\\<script\\>\\|x·" in text
    assert "Model: ``a`b``" in text


def test_markup_of_others_is_no_markup(file: Path, switch: Switch) -> None:
    image, link = "![y](http://evil.example/b.png)", "[y](javascript:alert(1))"
    switch.path.write_text(file.read_text().replace('"globex.eu"', json.dumps(image)))
    made = Phases(switch, clock=lambda: NOW)
    made.own(parsed(switch), "chat", f"<b>&lt;{link}", (link, "sk-canary-in-a-contact"))
    made.tick(parsed(switch), "claude", "pilot.cost", link)
    plan = made.plan()
    file_now = parsed(switch)
    text = playbook(switch.path, file_now, plan, made.states(file_now), NOW)
    plain = text.replace(shlex.quote(image), "")
    assert "\\[y\\](javascript" in plain
    assert "\\!\\[y\\](http" in plain
    assert not re.search(r"(?<!\\)(\[y|<b|&lt)", plain)
    assert "canary" not in text
    secret = file.read_text().replace("https://api.openai.com", "https://u:canary@api.openai.com")
    text = playbook(switch.path, parse(secret.encode()), plan, [], NOW)
    assert "canary" not in text


HOSTILE = (
    "sk-telecom", "mt-something", "-x", "--yes", "--", "-", "a b", "it's", 'say "x"', "$HOME",
    "`id`", "$(id)", "a\nb", "```\n# heading", "````", "tab\there", "\u202egnp", "é€", "!!",
    "back\\slash\x7f", "*", "~", "a;id", "#x", "![x](http://evil/b.png)",
)  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_every_command_does_what_it_says_when_it_is_pasted(
    tmp_path: Path, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With names that a shell, an option parser, Markdown or a redaction would take to pieces."""
    names = [name for name in HOSTILE if shell == "bash" or name.isprintable()]
    folder = tmp_path / "mt-gateway it's"
    folder.mkdir()
    path = folder / "rollout.toml"
    sections = []
    for i, name in enumerate(["chat-mt-english", *names]):
        orgs = "".join(f"{json.dumps(one)} = 5\n" for one in (f"o{i}", names[i - 1]))
        sections.append(
            f"[routes.{json.dumps(name)}]\nformat = 'openai_chat_completions'\nmodel = 'm'\n"
            f"previous_base_url = 'https://api.openai.com/v1'\nphase = 'pilot'\n"
            f"[routes.{json.dumps(name)}.orgs]\n{orgs}"
        )
    good = "\n".join(sections)
    path.write_text(good)
    text = playbook(path, parse(good.encode()), PlanState(), [], NOW)
    assert "…" not in text
    blocks = re.findall(r"^(`{3,})sh\n(.*?)^\1$", text, re.DOTALL | re.MULTILINE)
    commands = [line for _, block in blocks for line in block.splitlines()]
    assert text.count("rollout-console ") == len(commands) + 1, "one is named in the status table"
    shim = tmp_path / "bin" / "rollout-console"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" END\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    done = subprocess.run(
        [shell], input="\n".join(commands), capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stderr == ""
    given = [one.removesuffix("\0").split("\0") for one in done.stdout.split("END\0")[:-1]]
    assert len(given) == len(commands)
    wanted: list[tuple[str, str | None, str | None]] = [("rollback", None, None)]
    for i, name in enumerate(["chat-mt-english", *names]):
        if name == "--":
            continue  # an option parser drops it: no command is better than one that means more
        wanted += [("rollback", name, None)]
        wanted += [("rollback", name, org) for org in (f"o{i}", names[i - 1]) if org != "--"]
        wanted += [("resume", name, None)]
    found = []
    for words in given:
        options = build_parser().parse_args(words)
        assert Path(options.file) == path
        if options.command in ("rollback", "resume"):
            (org,) = options.org or (None,) if options.command == "rollback" else (options.org,)
            found.append((options.command, options.route, org))
        elif options.command == "probe":
            assert options.route == [found[-1][1]]
    assert found == wanted


@pytest.mark.parametrize("org", ["sk-telecom", "--yes", "```\nx", "![x](http://evil/b.png)"])
def test_a_pasted_rollback_rolls_back(tmp_path: Path, switch: Switch, org: str) -> None:
    text = switch.path.read_text().replace("acme = 25", f"{json.dumps(org)} = 25", 1)
    switch.path.write_text(text)
    file = parsed(switch)
    book = playbook(switch.path, file, PlanState(), [], NOW)
    lines = [line for line in book.splitlines() if line.startswith("rollout-console rollback")]
    route, one = lines[1], lines[2]
    shim = tmp_path / "rollout-console"
    root = Path(__file__).resolve().parents[2]
    shim.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(root))} exec {shlex.quote(sys.executable)} "
        '-m rollout_console "$@"\n'
    )
    shim.chmod(0o755)

    def paste(command: str) -> None:
        environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", command], check=True, capture_output=True, env=environ)

    paste(one)
    after = parsed(switch).routes["chat"]
    assert after.orgs[org].rolled_back
    assert not after.rolled_back
    paste(route)
    after = parsed(switch).routes["chat"]
    assert after.rolled_back
    assert not parsed(switch).rolled_back


# -- the commands ------------------------------------------------------------------------------


@pytest.fixture
def cli(file: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "-f", str(file)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def test_phase_and_playbook_in_a_shell(cli: Call, file: Path) -> None:
    code, out, _ = cli("phase", "--json")
    states = {one["route"]: one for one in json.loads(out)}
    assert (code, states["claude"]["phase"], states["claude"]["ready"]) == (0, "pilot", False)
    assert cli("phase", "claude", "--owner", "ann", "--contact", "#gw")[0] == 0
    code, out, err = cli("phase", "claude", "--to", "shadow", "--yes")
    assert (code, "not ready for shadow" in err, "[ ] pilot.cost" in out) == (1, True, True)
    assert cli("phase", "claude", "--tick", "pilot.cost", "--note", "fine")[0] == 0
    assert "[x] pilot.cost" in cli("phase", "claude")[1]
    code, out, _ = cli("phase", "claude", "--to", "shadow", "--dry-run")
    assert (code, "claude: phase pilot to shadow" in out, "[ ] pilot.shape" in out) == (
        1,
        True,
        True,
    )
    assert cli("phase", "claude", "--to", "shadow", "--yes", "--reason", "agreed")[0] == 0
    assert parse(file.read_bytes()).routes["claude"].phase == "shadow"
    assert cli("phase", "nope")[0] == 2
    assert cli("phase", "--tick", "pilot.cost")[0] == 2
    assert cli("playbook")[0] == 0
    assert "Owner: ann" in playbook_path(file).read_text()
    assert cli("playbook", "-o", "-")[1].startswith("# Support playbook of rollout.toml")
    assert cli("playbook", "--read-only")[0] == 1
    assert cli("playbook", "-o", "/no/such/folder/p.md")[0] == 1


def test_a_dry_run_says_what_it_would_do_and_does_nothing(cli: Call, file: Path) -> None:
    before = file.read_bytes()
    asked = ("--owner", "ann", "--contact", "#gw", "--tick", "pilot.cost", "--note", "fine")
    code, out, _ = cli("phase", "claude", *asked, "--dry-run", "--read-only")
    assert code == 0
    assert out.splitlines() == [
        "would, on claude, tick pilot.cost: fine",
        "would, on claude, name ann the owner",
        "would, on claude, name #gw as contacts",
    ]
    code, out, _ = cli("phase", "claude", "--untick", "pilot.cost", "--dry-run")
    assert (code, "take the tick of pilot.cost away" in out) == (0, True)
    code, out, _ = cli("phase", "claude", "--tick", "pilot.cost", "--to", "shadow", "--dry-run")
    assert code == 1
    assert "[ ] pilot.shape" in out
    assert "[ ] pilot.cost" not in out, "it would be ticked by then"
    for wrong in (("claude", "--tick", "pilot.shape"), ("nope", "--owner", "ann")):
        assert cli("phase", *wrong, "--dry-run")[0] != 0
    assert not PlanFile(file, WriteAccess()).path.exists()
    assert file.read_bytes() == before
