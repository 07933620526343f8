"""What several tests need: a file to work on, a history of its own, the simulator."""

import gc
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import count, groupby
from math import ceil
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest
import textual.screen
from hypothesis import HealthCheck, settings

from rollout_console.changes.switch import Switch
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY, ApiKey, Settlement
from tests.kinds import Effects, kind_of
from tests.support import collector
from tests.support.commands import Commands
from tests.support.parts import need
from tests.support.passphrases import quick_passphrases
from tests.support.stylesheets import share_parsed_rules
from tests.support.waiting import until

effects = Effects()
_numbers = count()
ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "sample_configs" / "rollout.toml"
_AT_START = frozenset(os.listdir(ROOT))

# Bytecode is written, whatever the caller's environment says, by the workers and by all that the
# tests start: without it each of them compiles every module that it imports anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Hypothesis times examples by the wall clock, which under load says nothing about them.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")

# Folders of tests are in memory (tmpfs), where the machine has enough: files are flushed to disk
# (fsync) at each change of a rollout file, and in each etcd and history that tests make.
_MEMORY = Path("/dev/shm")
if (
    _MEMORY.is_dir()
    and shutil.disk_usage(_MEMORY).free >= 4 << 30
    and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC  # as Docker mounts it; tests run scripts
):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

gc.disable()  # until pytest has imported all tests: nothing of them is garbage

# A signal that is ignored is so in all that is started, too: nohup and a shell's `&` ignore some.
for _number, _default in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)

# Frame rate of the apps that Pilot drives: updates are coalesced into 10 frames a second, where
# Textual has 60, as layout and painting are a third of such an app's CPU time. A console in a
# terminal, as an operator has it, draws at the full rate.
setattr(textual.screen, "UPDATE_PERIOD", 1 / 10)  # noqa: B010 - it is Final for mypy
share_parsed_rules()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module without a test that is asked for, of units or timed ones: it takes long."""
    wanted = str(config.getoption("markexpr"))
    if not (collection_path.name.startswith("test_") and collection_path.suffix == ".py"):
        return None
    if wanted.startswith("unit"):
        return True if kind_of(collection_path) != "unit" else None
    if wanted == "timed":
        return True if "mark.timed" not in collection_path.read_text(encoding="utf-8") else None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import all test modules, each worker from one of its own on, where all are to be collected.

    In a fresh checkout none is compiled: side by side in the same order each worker would compile
    them all, and all that they import.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker or session.config.args != session.config.getini("testpaths"):
        return
    root = Path(__file__).parent
    modules = sorted(root.glob("**/test_*.py"))
    first = len(modules) * int(worker.removeprefix("gw")) // _workers()
    for path in modules[first:] + modules[:first]:
        if not pytest_ignore_collect(path, session.config):
            with suppress(Exception):  # collecting it says what is wrong
                import_module(".".join(path.relative_to(root.parent).with_suffix("").parts))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test's kind, and give each worker its part of the slow ones, not at its end.

    Side by side, a slow test that begins last would be waited for alone.
    """
    for item in items:
        item.add_marker(kind_of(item.path))
    items[:] = _spread(items, _workers())


def _workers() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def _spread(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Order items in equal parts, one a worker, with slow ones spread over the first half of each.

    The scheduler (``--dist worksteal``) gives each worker such a part, and those that are idle
    take from the end of others' parts. Slow tests mostly wait and quick ones mostly compute, so
    both kinds are mixed, and slow ones of a module, which wait for the same things, are few in a
    row: where all workers waited at once, no core would have work.
    """
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    quick = [item for item in items if item.get_closest_marker("slow") is None]
    groups: list[list[pytest.Item]] = []
    for _, of_module in groupby(slow, lambda item: item.path):
        several = list(of_module)
        size = ceil(len(several) / workers)
        groups += (several[at : at + size] for at in range(0, len(several), size))
    random.Random(0).shuffle(groups)  # each worker has to come to the same order
    found: list[pytest.Item] = []
    for i in range(workers):
        begin, end = (len(quick) * at // workers for at in (i, i + 1))
        computing, waiting = quick[begin:end], groups[i::workers]
        between = len(computing) // 2 // max(len(waiting), 1)
        for group in waiting:
            found += group + computing[:between]
            del computing[:between]
        found += computing
    return found


def pytest_collection_finish() -> None:
    """Freeze what was imported and collected, most of a worker's objects."""
    collector.begin()


def pytest_runtest_logfinish() -> None:
    """Freeze what is left of the tests so far, such as imported SDKs, once it takes time."""
    collector.freeze_where_slow()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Collect what is left, for exceptions of finalizers: once, where pytest would five times.

    And fail where a test wrote into the checkout, from where it may be committed.
    """
    collector.freeze()
    new = {name for name in set(os.listdir(ROOT)) - _AT_START if not name.startswith(".")}
    if new and "PYTEST_XDIST_WORKER" not in os.environ:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nwritten into the checkout, where a test used no tmp_path: {sorted(new)}")


def _shared_certificates() -> None:
    """Load the certificates of authorities once: each HTTP client would, for 20 ms of its 21.

    They are certifi's, or those that the caller's environment names.
    """
    made, shared = ssl.create_default_context, dict[str, ssl.SSLContext]()
    bundles = {certifi.where(), os.environ.get("SSL_CERT_FILE")}

    def create(*arguments: Any, cafile: str | None = None, **more: Any) -> ssl.SSLContext:
        if cafile is None or cafile not in bundles or arguments or more:
            return made(*arguments, cafile=cafile, **more)
        if cafile not in shared:
            shared[cafile] = made(cafile=cafile)
        return shared[cafile]

    ssl.create_default_context = create  # type: ignore[assignment]


_shared_certificates()


@pytest.fixture(autouse=True)
def _units_stay_in_their_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a unit test that forks, starts a process or uses a socket: it is of another kind."""
    if request.node.get_closest_marker("unit") is None:
        yield
        return
    seen = effects.begin()
    yield
    effects.end()
    if seen:
        pytest.fail(f"this is no unit test, it used {', '.join(seen)}: see tests/kinds.py")


@pytest.fixture(autouse=True)
def _own_folders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the settings and the history of the user who runs it.

    One that asks for no folder, as most units, is made none unless something is written there.
    """
    if "tmp_path" in request.fixturenames:
        folder = request.getfixturevalue("tmp_path")
    else:
        base = request.getfixturevalue("tmp_path_factory").getbasetemp()
        folder = base / f"unasked-{next(_numbers)}"
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(folder / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    for name in ("ROLLOUT_FILE", "TOKENLAB_API_KEY", "TOKENLAB_MANAGEMENT_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The sample rollout file, in a folder of its own."""
    folder = tmp_path / "etc"
    folder.mkdir()
    path = folder / "rollout.toml"
    path.write_bytes(SAMPLE.read_bytes())
    return path


@pytest.fixture
def switch(file: Path, tmp_path: Path) -> Switch:
    """A switch on the sample file, opened."""
    made = Switch(file, History(tmp_path / "state" / "history.sqlite3"), Actor("jo", "gw-01"))
    made.open()
    return made


@pytest.fixture(scope="session")
def sim() -> Iterator[SimServer]:
    """The simulator, over loopback."""
    with SimServer(seed=3) as server:
        yield server


@pytest.fixture
def quick() -> Iterator[None]:
    """New encrypted stores ask for little work to open them."""
    with quick_passphrases():
        yield


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """The server that starts commands of the console, each in a process of its own."""
    with Commands() as server:
        yield server


@pytest.fixture
def api(sim: SimServer) -> Iterator[httpx.Client]:
    """A client of the simulator."""
    with httpx.Client(base_url=sim.base_url, trust_env=False) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_left_in_the_simulator(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests share one simulator; what one sets or makes in it is not for the next."""
    yield
    if "sim" in request.fixturenames:
        state = request.getfixturevalue("sim").state
        state.faults.clear()
        until(lambda: state.in_flight == 0)  # as of a client that did not wait for its answer
        state.settlement = Settlement()
        state.keys.clear()
        state.add_key(ApiKey("key_demo", "demo", DEMO_KEY))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key in the same file."""
    need("openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(path.with_suffix(".key")), "-out", str(path.with_suffix(".crt"))),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.with_suffix(".crt").read_bytes() + path.with_suffix(".key").read_bytes())
    return path
