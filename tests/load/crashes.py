"""Crashes of writers: a kill and an error at every system call of a change, and kills in a race.

``python -m tests.load.crashes [SECONDS]`` (60 unless told, of the race) prints a table of what was
tried and what was lost, and exits with 1 if anything was. It needs strace, whose fault injection
(``-e inject``, strace(1)) makes the n-th call of a forked writer its last, or fail.
"""

import functools
import itertools
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rollout_console.changes.errors import Conflict
from rollout_console.changes.leftovers import temp_name
from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.errors import NothingToDo, OperationError
from rollout_console.history.actor import Actor
from rollout_console.history.errors import HistoryError
from rollout_console.history.location import history_of
from rollout_console.history.rows import Change
from rollout_gate import Gate
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.model import Route
from rollout_gate.file.parse import parse

SECONDS = 60.0
CALLS = (
    "openat,read,pread64,write,pwrite64,lseek,close,fsync,fdatasync,ftruncate,fcntl,flock,ioctl,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,stat,lstat,fstat,newfstatat,statx,"
    "access,faccessat2,readlink,readlinkat,getdents64,utimensat,chmod,fchmod,chown,fchown,"
    "getxattr,fgetxattr,listxattr,flistxattr,setxattr,fsetxattr"
)
"""What a change asks the system for; a machine without one of them does not know its name."""
ERRORS = ("EIO", "ENOSPC", "EACCES")
TEXT = b"""\
schema = 1
algorithm = "fractional-v3"

[tokenlab]
base_url = "https://api.tokenlab.sh"

[routes.chat]
format = "openai_chat_completions"
previous_base_url = "https://api.openai.com/v1"
[routes.chat.orgs]
acme = 25  # a comment
globex = 40
"""
EDITED = TEXT.replace(b"a comment", b"what an editor saved")
MODE = 0o640
WHO = Actor("jo", "gw-01")
_WRITERS = 4
_LEFT = re.compile(r"rollout\.(toml(\.(kept|broken)-.*)?|history\.sqlite3(-journal)?)")


@dataclass(frozen=True)
class Scenario:
    """A change, what it may make of acme's share and latch, and how its folder is prepared."""

    name: str
    act: Callable[[Switch], Done]
    shown: tuple[tuple[int, bool], ...]
    prepare: Callable[[Path], None]
    rescues: bool = False
    rows: int = 1


@dataclass
class Tally:
    """What was tried, and what was lost."""

    kill_points: int = 0
    faults: int = 0
    kills: int = 0
    changes: int = 0
    decisions: int = 0
    lost: list[str] = field(default_factory=list)
    """What was found wrong: a lost update, a history that is not that of the file, a leftover."""


def _seen(path: Path) -> None:
    switch = _opened(path)
    switch.apply(switch.planner.plan_set("chat", "globex", 3000), reason="before")


def _opened(path: Path) -> Switch:
    switch = Switch(path, history_of(path), WHO)
    switch.open_or_last_good()
    return switch


def _changed(path: Path) -> None:
    switch = _opened(path)
    switch.apply(switch.planner.plan_set("chat", "acme", 5000), reason="before")


def _broken(path: Path) -> None:
    _changed(path)
    path.write_bytes(b"[routes.chat\n" + path.read_bytes())


def _after_a_kill(path: Path) -> None:
    """A writer was killed right after it had taken out what an editor had just saved."""
    _seen(path)
    ours = path.read_bytes().replace(b"acme = 25", b"acme = 50")
    name = temp_name(parse(path.read_bytes()).revision, parse(ours).revision)
    edited = path.with_name(f"{name.replace(f'.{os.getpid()}-', '.1-0')}.tmp")
    edited.write_bytes(EDITED)
    edited.chmod(MODE)
    path.write_bytes(ours)


def _untouched(path: Path) -> None:
    """No console was here before."""


def _rollback(switch: Switch) -> Done:
    return switch.apply(switch.planner.plan_rollback("chat", "acme", "smells"), reason="smells")


def _rollback_of_two(switch: Switch) -> Done:
    plan = switch.planner.plan_rollbacks([("chat", "acme"), ("chat", "globex")], "smells")
    return switch.apply(plan, reason="smells")


def _raise_of_two(switch: Switch) -> Done:
    two: list[tuple[str, str | None]] = [("chat", "acme"), ("chat", "globex")]
    return switch.apply(switch.planner.plan_sets(two, lambda _route, _org: 7500), reason="step")


SCENARIOS = (
    Scenario("raise of two", _raise_of_two, ((7500, False),), _seen, rows=2),
    Scenario("rollback of two", _rollback_of_two, ((2500, True),), _seen, rows=2),
    Scenario("rollback", _rollback, ((2500, True),), _seen),
    Scenario("first change", _rollback, ((2500, True),), _untouched),
    Scenario(
        "set", lambda s: s.apply(s.planner.plan_set("chat", "acme", 7500)), ((7500, False),), _seen
    ),
    Scenario(
        "undo", lambda s: s.apply(s.planner.plan_undo(), reason="x"), ((2500, False),), _changed
    ),
    Scenario("rollback of a broken file", _rollback, ((5000, True),), _broken, rescues=True),
    # What the editor saved is put back first, or later, where that fails.
    Scenario("rollback after a kill", _rollback, ((2500, True), (5000, True)), _after_a_kill),
)


def crashes(tally: Tally, step: int = 1) -> None:
    """Kill, and fail, every ``step``-th call of each scenario, and look at what is left."""
    for scenario in SCENARIOS:
        with _folder(scenario) as path:
            calls = _count(scenario, path)
        for number in range(1, calls + 1, step):
            with _folder(scenario) as path:
                before = path.read_bytes()
                _run(scenario, path, f"inject={CALLS}:signal=KILL:when={number}")
                tally.kill_points += 1
                _look(scenario, path, before, None, f"killed at call {number}", tally.lost)
        for number in range(1, calls + 1, step):
            for error in ERRORS:
                with _folder(scenario) as path:
                    before = path.read_bytes()
                    outcome = _run(scenario, path, f"inject={CALLS}:error={error}:when={number}")
                    tally.faults += 1
                    _look(scenario, path, before, outcome, f"{error} at call {number}", tally.lost)


@contextmanager
def _folder(scenario: Scenario) -> Iterator[Path]:
    """A folder with a rollout file as the scenario wants it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rollout.toml"
        path.write_bytes(TEXT)
        path.chmod(MODE)
        scenario.prepare(path)
        yield path


def _count(scenario: Scenario, path: Path) -> int:
    with tempfile.NamedTemporaryFile() as log:
        outcome = _run(scenario, path, f"trace={CALLS}", log.name)
        assert outcome == "done ", f"{scenario.name}: {outcome}"
        return sum(b"(" in line for line in log.read().splitlines())


def _run(scenario: Scenario, path: Path, what: str, log: str = os.devnull) -> str:
    """Make the change in a fork under strace; return how it ended, empty if it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        outcome = ""
        try:
            outcome = f"done {'; '.join(scenario.act(_opened(path)).warnings)}"
        except (OperationError, RolloutError, HistoryError) as error:
            outcome = f"refused: {error}"
        except BaseException as error:
            outcome = f"raised {type(error).__name__}: {error}"
        for _ in range(2):  # the call that is made to fail may be this one
            with suppress(OSError):
                os.write(writing, outcome.encode())
                break
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, os.WUNTRACED)
    command = ["strace", "-o", log, "-e", f"trace={CALLS}", "-e", what, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        assert "attached" in attached, attached
        os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, 0)
        with os.fdopen(reading, "rb") as stream:
            return stream.read().decode()


def _look(
    scenario: Scenario, path: Path, before: bytes, outcome: str | None, when: str, lost: list[str]
) -> None:
    """Look at what is left, and go on with it as the next operator would."""

    def wrong(what: str) -> None:
        lost.append(f"{scenario.name}, {when}: {what}{f' ({outcome})' if outcome else ''}")

    now = path.read_bytes()
    unchanged = now in (before, EDITED)
    if not unchanged and _acme(now) not in scenario.shown:
        wrong(f"the file is neither as before nor as it should be: {now!r}")
        return
    if stat.S_IMODE(path.stat().st_mode) != MODE:
        wrong("the mode of the file is another")
    if outcome is not None:
        if outcome.startswith("raised"):
            wrong("not a sentence")
        if outcome.startswith("done") == unchanged:
            wrong(f"the file is {'unchanged' if unchanged else 'changed'}")
    try:
        next_one = _opened(path)
        if unchanged and scenario.rescues:
            scenario.act(next_one)
        next_one.apply(next_one.planner.plan_set("chat", "globex", 700), reason="next")
        rows, why = next_one.recent(9)
    except (OperationError, RolloutError) as error:
        wrong(f"the next change failed: {error}")
        return
    if scenario.rows > 1:
        for what in _broken_group(parse(now).routes["chat"], rows, scenario.rows):
            wrong(what)
    left = [one.name for one in path.parent.iterdir() if not _LEFT.fullmatch(one.name)]
    if left:
        wrong(f"left behind: {left}")
    mine = [row for row in rows if row.reason not in ("next", "before")]
    ours = [row for row in mine if row.action != "external"]
    if unchanged and ours and not scenario.rescues:
        wrong(f"the history says {ours[0].action}, which was not done")
    unrecorded = outcome is not None and "not in the history" in outcome
    if not (unchanged or unrecorded or (mine if outcome is not None else ours)):
        wrong(f"the history does not have the change {why}")
    if parse(path.read_bytes()).routes["chat"].org_points("globex") != 700:
        wrong("the next change was lost")
    if scenario.prepare is _after_a_kill and not any(
        b"what an editor saved" in one.read_bytes() for one in path.parent.glob("rollout.toml*")
    ):
        wrong("what an editor had saved is lost")


def _broken_group(route: Route, rows: Sequence[Change], wanted: int) -> Iterator[str]:
    """Look at a rollback of two orgs: both or neither are in the file, and in the history."""
    if route.org_rolled_back("acme") != route.org_rolled_back("globex"):
        yield "one of two is rolled back without the other"
    if len([row for row in rows if row.action == "rollback"]) not in (0, wanted):
        yield "the history has a part of a group"
    for newer, older in itertools.pairwise(rows):
        if newer.previous_revision != older.revision:
            yield f"row {newer.id} ({newer.action}) does not follow from row {older.id}"


def _acme(data: bytes) -> tuple[int, bool] | None:
    try:
        route: Route = parse(data).routes["chat"]
    except RolloutError:
        return None
    return route.org_points("acme"), route.org_rolled_back("acme")


def race(tally: Tally, seconds: float, least_kills: int = 0) -> None:
    """Kill racing writers at random; compare what they acknowledged with history and file.

    It ends after ``seconds``, where there were as many as ``least_kills`` by then.
    """
    rng = random.Random(5)
    folder = Path(tempfile.mkdtemp())
    path = folder / "rollout.toml"
    orgs = "".join(f"org-{number} = 0\npair-{number} = 0\n" for number in range(_WRITERS))
    path.write_bytes(TEXT + orgs.encode())
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    decided, deciding = os.pipe()
    reader = _forked(lambda: _decide(path, deciding))
    started = iter(range(1_000_000))

    def fork_writer(number: int) -> int:
        return _forked(functools.partial(_write, path, number, next(started), writing))

    pids = [fork_writer(number) for number in range(_WRITERS)]
    acknowledged: list[bytes] = []
    rows: dict[int, Change] = {}  # gathered as they come: a history keeps only the newest
    rest = b""
    until = time.monotonic() + seconds
    next_look = 0.0
    while time.monotonic() < until or tally.kills < least_kills:
        time.sleep(rng.uniform(0.0, 0.06))
        number = rng.randrange(_WRITERS)
        os.kill(pids[number], signal.SIGKILL)
        os.waitpid(pids[number], 0)
        tally.kills += 1
        pids[number] = fork_writer(number)
        rest = _drain(reading, rest, acknowledged)
        if time.monotonic() > next_look:
            next_look = time.monotonic() + 0.5
            rows.update(_rows(path))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    rest = _drain(reading, rest, acknowledged)
    os.kill(reader, signal.SIGTERM)
    os.waitpid(reader, 0)
    count, raised = os.read(decided, 10_000).decode().split(" ", 1)
    tally.decisions = int(count)
    if raised:
        tally.lost.append(f"a gate raised {raised}")
    revision = _opened(path).store.prepare([]).before.revision
    rows.update(_rows(path))
    tally.changes = len(acknowledged)
    tally.lost += _misread([rows[number] for number in sorted(rows)], revision)
    reasons = {row.reason for row in rows.values()}
    tally.lost += [
        f"{reason} was acknowledged and is lost"
        for reason in map(bytes.decode, acknowledged)
        if reason not in reasons
    ]
    left = [one.name for one in folder.iterdir() if not _LEFT.fullmatch(one.name)]
    if left:
        tally.lost.append(f"left behind after the race: {left}")
    shutil.rmtree(folder)


def _rows(path: Path) -> dict[int, Change]:
    return {row.id: row for row in history_of(path).rows(path, None)}


def _misread(rows: Sequence[Change], revision: str) -> Iterator[str]:
    """Compare a whole history with the only writers there were, and with the file at the end."""
    for one, other in itertools.pairwise(rows):
        if one.revision != other.previous_revision:
            yield f"row {other.id} ({other.action}) does not follow from row {one.id}"
    for row in rows:
        if not row.reason:
            yield f"row {row.id} ({row.action}) is of an edit that no writer made"
    if not rows or rows[-1].revision != revision:
        yield "the newest row does not have the revision of the file"


def _forked(run: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            run()
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    return pid


def _write(path: Path, number: int, run: int, acknowledging: int) -> None:
    """Change the share and the latch of an org of its own for ever; acknowledge each change."""
    rng = random.Random(run)
    switch = _opened(path)
    for count in range(1_000_000):
        reason = f"writer-{number}.{run}.{count}"
        try:
            switch.refresh()
            plan = rng.choice(list(_plans(switch, f"org-{number}", rng)))()
            for warning in switch.apply(plan, reason=reason).warnings:
                os.write(2, f"{reason}: {warning}\n".encode())
        except (Conflict, NothingToDo):
            continue
        os.write(acknowledging, f"{reason}\n".encode())


def _plans(switch: Switch, org: str, rng: random.Random) -> Iterator[Callable[[], Plan]]:
    yield lambda: switch.planner.plan_set("chat", org, rng.randrange(10_001))
    yield lambda: switch.planner.plan_rollback("chat", org, "smells")
    yield lambda: switch.planner.plan_resume("chat", org)
    pair = org.replace("org", "pair")
    yield lambda: switch.planner.plan_rollbacks([("chat", org), ("chat", pair)], "smell")
    yield lambda: switch.planner.plan_resume("chat", pair)
    points = rng.randrange(10_001)
    yield lambda: switch.planner.plan_sets(
        [("chat", org), ("chat", pair)], lambda _route, _org: points
    )


def _decide(path: Path, result: int) -> None:
    """Decide as an application does until SIGTERM; write how often, and what was raised."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    count, raised = 0, ""
    with Gate(path, poll_s=0.005) as gate:
        while not ended:
            try:
                gate.decide("chat", f"org-{count % _WRITERS}", key=f"k-{count}")
            except Exception as error:
                raised = f"{type(error).__name__}: {error}"
            count += 1
    os.write(result, f"{count} {raised}".encode())
    os._exit(0)


def _drain(reading: int, rest: bytes, into: list[bytes]) -> bytes:
    try:
        while True:
            *lines, rest = (rest + os.read(reading, 65_536)).split(b"\n")
            into += lines
    except BlockingIOError:
        return rest


def main(arguments: Sequence[str]) -> int:
    """Run it all and print the table; return the exit code."""
    tally = Tally()
    race(tally, float(arguments[0]) if arguments else SECONDS)
    crashes(tally)
    print(
        f"kill points {tally.kill_points:,}\nfaults      {tally.faults:,}\n"
        f"race        {tally.kills:,} kills of {_WRITERS} writers, {tally.changes:,} changes "
        f"acknowledged, {tally.decisions:,} decisions beside them\nlost        {len(tally.lost)}"
    )
    kinds = Counter(re.sub(r"\d+", "N", one) for one in tally.lost)
    for kind, count in kinds.most_common(20):
        first = next(one for one in tally.lost if re.sub(r"\d+", "N", one) == kind)
        print(f"  {count} x {first[:400]}")
    return 1 if tally.lost else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
