"""The checks: a broken sample for each rule, and the rule that finds it alone."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.cli.arguments import build_parser
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.profiles import ProfileList
from rollout_console.credentials.vault.vault import empty_vault
from rollout_console.models.catalogue import Catalogue
from rollout_console.readiness.checks.offline import check_offline
from rollout_console.readiness.checks.online import check_online
from rollout_console.readiness.checks.result import Result
from rollout_console.sim.provider_metadata import MARK
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.reach import answers
from rollout_gate.file.model import DEFAULT_BASE_URL
from tests.support.waiting import soon

BROKEN = Path(__file__).resolve().parents[2] / "sample_configs" / "broken"
OFFLINE = sorted(path.stem for path in BROKEN.glob("*.toml"))
ONLINE = sorted(path.stem for path in (BROKEN / "online").glob("*.toml"))


def failing(results: list[Result]) -> set[str]:
    bad = [result for result in results if not result.ok]
    assert all(result.fix and result.where and result.reason for result in bad)
    return {result.rule for result in bad}


def test_the_sample_is_good(file: Path) -> None:
    assert failing(check_offline(file)) == set()


@pytest.mark.parametrize("name", OFFLINE)
def test_each_broken_sample_breaks_its_own_rule_alone(name: str) -> None:
    assert failing(check_offline(BROKEN / f"{name}.toml")) == {name.partition("-")[0]}


def test_every_offline_rule_has_a_broken_sample(file: Path, tmp_path: Path) -> None:
    rules = {result.rule for result in check_offline(file)}
    assert rules - {name.partition("-")[0] for name in OFFLINE} == {
        "file.readable", "file.replaceable",
    }  # fmt: skip
    (only,) = check_offline(tmp_path / "none.toml")
    assert (only.rule, only.ok) == ("file.readable", False)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("https://api.tokenlab.sh", "http://api.tokenlab.sh", "tokenlab.base_url"),
        ("https://api.tokenlab.sh", "https://u:p@api.tokenlab.sh", "tokenlab.base_url"),
        ("https://api.tokenlab.sh", "https://api.tokenlab.sh?x=1", "tokenlab.base_url"),
        ("api.anthropic.com", "api.anthropic.com/v1beta", "route.base_url"),
        ('model = "gpt-5.4"', "", "route.model"),
        ("max_5xx_percent = 2.0", "max_5xx_percent = 60.0", "guard.limits"),
    ],
)
def test_other_ways_to_break_a_rule(file: Path, old: str, new: str, rule: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    results = check_offline(file)
    assert rule in failing(results)
    assert "u:p" not in str(results)


def test_a_file_with_another_name_is_told(file: Path) -> None:
    assert "file.replaceable" not in failing(check_offline(file))
    file.with_name("backup.toml").hardlink_to(file)
    assert "file.replaceable" in failing(check_offline(file))


def test_what_of_the_log_can_be_used_is_said(file: Path) -> None:
    def said() -> Result:
        return next(one for one in check_offline(file) if one.rule == "health.lines")

    log, good = (
        file.parent / "access.jsonl",
        (
            '{"ts":"2026-11-25T10:00:00Z","route":"chat","org":"a","side":"tokenlab","status":200,'
            '"latency_ms":1.0}\n'
        ),
    )
    assert (said().ok, said().reason) == (True, "there is no log yet")
    log.write_text(good * 300 + "torn\n")
    assert said().ok
    assert said().reason == (
        "1 of the newest 301 lines cannot be used; the first: JSON is malformed: invalid character"
        " (byte 4)"
    )
    log.write_text(good + good.replace("200", '"200"'))
    assert not said().ok
    assert said().reason.startswith("1 of the newest 2 lines cannot be used; the first: status: ")
    log.unlink()
    log.mkdir()
    assert (said().ok, said().reason) == (
        False,
        f"{log} cannot be read: it is not a file; trying again",
    )
    file.write_text(file.read_text().replace('"access.jsonl"', '"access*"'))
    (file.parent / "access-one.jsonl").write_text(good)
    assert said().ok, "a folder that a pattern matches is no log"
    (file.parent / "access-two.jsonl").symlink_to("access-two.jsonl")
    assert not said().ok
    assert "access-two.jsonl cannot be read: Too many levels of symbolic links" in said().reason


@pytest.mark.parametrize(
    "url",
    [
        "https://API.tokenlab.sh/v1", "https://api.tokenlab.sh:443/v1", "https://api.tokenlab.sh./v1",
        "https://api.tokenlab.sh/v1/", "https://api.tokenlab.sh//v1", "HTTPS://api.tokenlab.sh/v1",
        "https://api%2Etokenlab.sh/v1", "http://api.tokenlab.sh/v1",
    ],
)  # fmt: skip
def test_tokenlab_is_known_however_it_is_written(file: Path, url: str) -> None:
    file.write_text(file.read_text().replace("https://api.openai.com/v1", url))
    assert "route.previous_elsewhere" in failing(check_offline(file))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.tokenlab.sh.evil.example/v1", "https://api.tokenlab.sh:8443/v1",
        "https://xapi.tokenlab.sh/v1",
    ],
)  # fmt: skip
def test_another_host_is_another(file: Path, url: str) -> None:
    file.write_text(file.read_text().replace("https://api.openai.com/v1", url))
    assert failing(check_offline(file)) == set()


@pytest.mark.parametrize("url", ["https://[", "https://api.tokenlab.sh:x/v1", "https://a:99999999"])
def test_what_is_no_url_is_a_result(file: Path, url: str) -> None:
    for base in ("https://api.openai.com/v1", "https://api.tokenlab.sh"):
        file.write_text(file.read_text().replace(base, url))
        check_offline(file)


@pytest.mark.parametrize(
    ("model", "good"),
    [
        ("claude-sonnet-4-6", False),
        ("anthropic/claude-sonnet-4-6", False),
        ("Claude-sonnet-4-6", False),
        ("us.anthropic.claude-sonnet-4-6", False),
        ("google/Gemini-3.5-pro", False),
        ("gpt-5.4", True),
        ("openai/gpt-5.4", True),
        ("not-claude", True),
    ],
)
def test_a_native_model_is_known_however_it_is_written(file: Path, model: str, good: bool) -> None:
    file.write_text(file.read_text().replace('"gpt-5.4"', f'"{model}"'))
    assert failing(check_offline(file)) == (set() if good else {"route.native_format"})


def test_a_route_without_traffic_may_wait_for_its_model(file: Path) -> None:
    text = file.read_text().replace('model = "claude-sonnet-4-6"', "").replace("acme = 1\n", "")
    file.write_text(text.replace('phase = "pilot"', 'phase = "inventory"'))
    assert failing(check_offline(file)) == set()


# -- online ----------------------------------------------------------------------------------------


def room_of(sim: SimServer, tmp_path: Path, key: str = "sk-sim-demo") -> ApiKeys:
    given = Given(variables={"api_key": key, "management_token": "mt-sim-demo"})
    profiles = ProfileList(tmp_path / "profiles.json")
    return ApiKeys(empty_vault(given), profiles, "prod", sim.base_url)


def ask(sim: SimServer, room: ApiKeys, path: Path, tmp_path: Path, days: int = 90) -> list[Result]:
    models = Catalogue(sim.base_url, tmp_path / "cache")
    return asyncio.run(check_online(room, models, path, days))


def placed(text: str, sim: SimServer, tmp_path: Path) -> Path:
    """A sample that means the simulator by TokenLab, and by the previous providers too."""
    text = text.replace(DEFAULT_BASE_URL, sim.base_url)
    for host, base in (("https://api.openai.com", ""), ("https://api.anthropic.com", ""),
                       ("https://videos.example.com", "")):  # fmt: skip
        text = text.replace(host, sim.previous_base_url + base)
    path = tmp_path / "rollout.toml"
    path.write_text(text)
    return path


def test_everything_in_order_is_said_to_be(sim: SimServer, file: Path, tmp_path: Path) -> None:
    path = placed(file.read_text(), sim, tmp_path)
    results = ask(sim, room_of(sim, tmp_path), path, tmp_path)
    assert failing(results) == set()
    assert {"key.accepted", "key.in_order", "previous.answers"} <= {r.rule for r in results}


@pytest.mark.parametrize("name", ONLINE)
def test_each_online_sample_breaks_its_own_rule_alone(
    sim: SimServer, tmp_path: Path, name: str
) -> None:
    path = placed((BROKEN / "online" / f"{name}.toml").read_text(), sim, tmp_path)
    assert failing(check_offline(path)) == set(), "an online sample is good offline"
    found = failing(ask(sim, room_of(sim, tmp_path), path, tmp_path))
    assert found == {name.partition("-")[0]}


def test_a_key_that_may_not_use_the_model(sim: SimServer, file: Path, tmp_path: Path) -> None:
    path = placed(file.read_text(), sim, tmp_path)
    mine = sim.state.keys["key_demo"]
    mine.models = ["gpt-5.4"]
    try:
        results = ask(sim, room_of(sim, tmp_path), path, tmp_path)
        assert failing(results) == {"key.model_allowed"}
        (bad,) = (result for result in results if not result.ok)
        assert bad.where == "routes.claude.model"
        named = re.search(r"rollout-console (keys \w+)", bad.fix)
        assert named is not None
        build_parser().parse_args([*named.group(1).split(), "prod", "gpt-5.4"])
        mine.models = []
        mine.limit = Decimal(0)
        assert {"key.in_order"} <= failing(ask(sim, room_of(sim, tmp_path), path, tmp_path))
        mine.limit = None
        mine.expires_at = datetime.now(UTC) - timedelta(days=1)
        found = failing(ask(sim, room_of(sim, tmp_path), path, tmp_path))
        assert {"key.in_order", "key.accepted"} <= found
    finally:
        mine.models, mine.limit, mine.expires_at = [], None, None


def test_a_wrong_key_and_no_key(sim: SimServer, file: Path, tmp_path: Path) -> None:
    path = placed(file.read_text(), sim, tmp_path)
    assert failing(ask(sim, room_of(sim, tmp_path, "sk-canary-wrong"), path, tmp_path)) == {
        "key.accepted"
    }
    room = room_of(sim, tmp_path)
    room.vault = empty_vault(Given(variables={"management_token": "mt-sim-demo"}))
    assert failing(ask(sim, room, path, tmp_path)) == {"credential.api_key"}


def test_the_plan_decides_when_a_sunset_matters(sim: SimServer, tmp_path: Path) -> None:
    text = (BROKEN / "online" / "model.active.toml").read_text()
    path = placed(text, sim, tmp_path)
    (bad,) = (r for r in ask(sim, room_of(sim, tmp_path), path, tmp_path, 3650) if not r.ok)
    assert "ends on 2026-12-31, within 3,650 days" in bad.reason
    (bad,) = (r for r in ask(sim, room_of(sim, tmp_path), path, tmp_path, 0) if not r.ok)
    assert "is deprecated" in bad.reason
    assert "move to" in bad.fix


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"kind": "garbage"}, {"kind": "drop"}, {"status": 429}]
)
def test_an_api_in_trouble_is_a_result_and_no_crash(
    sim: SimServer, file: Path, tmp_path: Path, fault: dict[str, object]
) -> None:
    path = placed(file.read_text(), sim, tmp_path)
    sim.state.faults.add(fault)
    found = failing(ask(sim, room_of(sim, tmp_path), path, tmp_path))
    assert {"api.answers", "catalogue.answers"} <= found


def test_a_sick_previous_side_is_told(sim: SimServer, file: Path, tmp_path: Path) -> None:
    path = placed(file.read_text(), sim, tmp_path)
    sim.state.faults.add({"status": 503, "side": "previous"})
    assert failing(ask(sim, room_of(sim, tmp_path), path, tmp_path)) == {"previous.answers"}


@pytest.fixture
def endless() -> Iterator[Callable[[bytes, bytes, float], str]]:
    """Say something to whoever connects, and then the same again and again; return the URL."""
    sockets: list[socket.socket] = []

    def start(first: bytes, then: bytes, every_s: float) -> str:
        def say(caller: socket.socket) -> None:
            with caller, suppress(OSError):
                caller.sendall(first)
                while True:
                    caller.sendall(then)
                    time.sleep(every_s)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=say, args=(own.accept()[0],), daemon=True).start()

        own = socket.create_server(("127.0.0.1", 0))
        sockets.append(own)
        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{own.getsockname()[1]}"

    yield start
    for one in sockets:
        one.close()


async def test_a_previous_side_without_an_end_is_asked_for_its_status_alone(
    endless: Callable[[bytes, bytes, float], str],
) -> None:
    head = b"HTTP/1.1 401 no\r\ncontent-type: text/plain\r\n"
    dripping = endless(head + b"content-length: 9999\r\n\r\n", b"x", 0.05)
    flood = endless(head + b"\r\n", b"x" * 65_536, 0.0)
    with soon():
        assert await answers("openai_responses", dripping) == (True, "answers 401")
        assert await answers("openai_responses", flood) == (True, "answers 401")
    headers = endless(b"HTTP/1.1 200 ok\r\n", b"x: y\r\n", 0.1)
    said = await answers("openai_responses", headers, timeout_s=0.5)
    assert said == (False, "does not answer in 0.5 s")
    assert (await answers("openai_responses", "http://["))[0] is False


def test_no_result_tells_where_the_gateway_sent_it(
    sim: SimServer, file: Path, tmp_path: Path
) -> None:
    path = placed(file.read_text(), sim, tmp_path)
    sim.state.faults.add({"kind": "metadata"})
    sim.state.faults.add({"status": 400, "path": "/v1/management"})
    assert MARK not in str(ask(sim, room_of(sim, tmp_path), path, tmp_path))
