"""``probe`` in a shell, its cost, its log, and where the previous side's key comes from."""

import json
import resource
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from rollout_console.cli.commands import probe
from rollout_console.cli.main import run
from rollout_console.credentials.vault.environment import take_from_environment
from rollout_console.credentials.vault.previous import previous_key, route_variable
from rollout_console.health.log.probe_log import ProbeLine, append_probe, last_probes
from rollout_console.readiness.probes import most_cost, most_of_request
from rollout_console.sim.provider_metadata import MARK
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.models import Price
from rollout_gate.access_log import timestamp
from rollout_gate.file.model import DEFAULT_BASE_URL
from rollout_gate.secret import Secret
from tests.tokenlab.test_probe import saying

__all__ = ["saying"]

Call = Callable[..., tuple[int, str, str]]

CLIPS = """
[routes.clips]
format = "video"
model = "runway-video-1"
previous_base_url = "https://videos.example.com"
"""


@pytest.fixture
def own() -> Iterator[SimServer]:
    with SimServer(seed=9) as server:
        yield server


@pytest.fixture
def cli(
    file: Path, own: SimServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Call:
    text = file.read_text().replace(DEFAULT_BASE_URL, own.base_url)
    for host in ("https://api.openai.com", "https://api.anthropic.com"):
        text = text.replace(host, own.previous_base_url)
    file.write_text(text + CLIPS)
    monkeypatch.setattr("rollout_console.tokenlab.media_probe.POLL_S", 0.05)

    def call(*arguments: str, **environ: str) -> tuple[int, str, str]:
        # The command takes credentials out of its environment.
        given = {
            "TOKENLAB_API_KEY": "sk-sim-demo", "OPENAI_API_KEY": "canary-openai",
            "ANTHROPIC_API_KEY": "canary-anthropic", **environ,
        }  # fmt: skip
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        code = run(["probe", *arguments, "-f", str(file)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert "canary" not in out + err
        return code, out, err

    return call


def test_both_sides_next_to_each_other(cli: Call, own: SimServer, file: Path) -> None:
    code, out, _ = cli("--yes", "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (0, True)
    assert {(p["route"], p["side"], p["stream"]) for p in told["probes"]} == {
        (route, side, stream) for route in ("chat", "claude") for side in ("tokenlab", "previous")
        for stream in (False, True)
    }  # fmt: skip
    assert float(told["cost_usd"]) == pytest.approx(
        float(sum(record.cost for record in own.state.usage))
    )
    assert {s["reason"].split(":")[0] for s in told["skipped"]} == {
        "media costs real money", "media is made once, never on both sides",
    }  # fmt: skip
    assert own.state.credential_leaks == 0
    log = file.parent / "access.probes.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 8
    assert all(line["probe"] is True and line["org"] == "" for line in lines)
    assert not (file.parent / "access.jsonl").exists(), "a probe is no traffic"
    probes = last_probes(log)
    assert set(probes) == {(r, s) for r in ("chat", "claude") for s in ("tokenlab", "previous")}
    said = log.read_text()
    assert "ready" not in said
    assert "http" not in said


@pytest.mark.slow
def test_the_cost_is_said_first_and_has_a_ceiling(cli: Call, own: SimServer) -> None:
    code, out, err = cli("--dry-run", "--json")
    assert code == 0
    assert "at most $0.0" in err
    assert all(float(row["most_usd"]) >= 0 for row in json.loads(out))
    code, _, err = cli("clips", "--yes", "--ceiling", "0.01")
    assert (code, "nothing was sent: up to $0.0300 is over the ceiling" in err) == (1, True)
    code, _, err = cli("chat")
    assert (code, "add --yes" in err) == (1, True)
    assert list(own.state.usage) == []
    code, out, _ = cli("clips", "--yes", "--json")
    assert (code, json.loads(out)["cost_usd"]) == (0, "0.03")
    assert len(own.state.usage) == 1


def test_a_price_that_is_not_known_is_not_spent(cli: Call, own: SimServer, file: Path) -> None:
    file.write_text(file.read_text().replace('"gpt-5.4"', '"gpt-5.44"'))
    code, _, err = cli("chat", "--yes")
    assert (code, "the price of chat is not known" in err) == (1, True)


def test_a_sick_side_fails_and_says_what(cli: Call, own: SimServer) -> None:
    own.state.faults.add({"status": 503, "side": "previous"})
    code, out, _ = cli("chat", "--yes", "--no-stream")
    assert code == 1
    assert "ok    chat           tokenlab" in out
    assert "FAIL  chat           previous" in out
    assert "status 503 server_error" in out


def test_a_schedule_goes_on_through_trouble(
    cli: Call, own: SimServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = file.read_bytes()
    rounds: list[str] = []

    def next_round(seconds: float) -> None:
        assert seconds == 60
        rounds.append("slept")
        if len(rounds) == 1:
            file.write_text("[broken")
        elif len(rounds) == 2:
            file.write_bytes(good)
            own.state.faults.add({"status": 503})
        elif len(rounds) == 3:
            own.state.faults.clear()
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(probe, "time", SimpleNamespace(sleep=next_round))  # not for all threads
    code, out, err = cli("chat", "--every", "1m", "--yes", "--json", "--no-stream")
    assert code == 130
    assert "not valid TOML" in err
    assert "price of chat is not known" in err
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["ok"] for one in told] == [True, True]


def test_a_schedule_survives_what_nobody_thought_of(
    cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[float] = []

    def next_round(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            raise KeyboardInterrupt

    async def broken(*_: object, **__: object) -> None:
        raise TypeError("canary")

    monkeypatch.setattr(probe, "time", SimpleNamespace(sleep=next_round))  # not for all threads
    monkeypatch.setattr("rollout_console.readiness.probes.probe", broken)
    code, _, err = cli("chat", "--every", "1m", "--yes")
    assert (code, len(rounds)) == (130, 2)
    assert "internal error: TypeError" in err


def test_a_schedule_never_makes_media(
    cli: Call, own: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[float] = []

    def next_round(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(probe, "time", SimpleNamespace(sleep=next_round))  # not for all threads
    code, _, err = cli("clips", "chat", "--every", "1m", "--yes", "--side", "tokenlab")
    assert (code, len(rounds)) == (130, 3)
    assert err.count("media is made once, never by a schedule") == 3
    assert {record.model.id for record in own.state.usage} == {"gpt-5.4"}
    code, _, err = cli("--media", "--every", "1m", "--yes")
    assert (code, "media is made once, never by a schedule" in err) == (2, True)
    assert len(rounds) == 3


def test_a_credential_that_comes_back_as_an_id_is_neither_told_nor_logged(
    cli: Call, own: SimServer, file: Path, saying: Callable[..., str]
) -> None:
    ids = {"x_request_id": "canary-openai", "x_billing_transaction_id": "xx sk-sim-demo"}
    url = saying(b'{"error":{"message":"no"}}', "application/json", 401, **ids)
    file.write_text(file.read_text().replace(own.previous_base_url, url))
    for arguments in (("chat", "--yes"), ("chat", "--yes", "--json")):
        code, out, err = cli(*arguments, "--side", "previous")
        assert code == 1
        assert "sk-sim-demo" not in out + err
    logged = (file.parent / "access.probes.jsonl").read_text()
    assert "canary" not in logged
    assert "sk-sim" not in logged


USD = Decimal


@pytest.mark.parametrize(
    ("price", "text", "request_"),
    [
        (Price("per_1m_tokens", USD(1), USD(4)), "0.000122", None),
        (Price("", USD(1), USD(4)), "0.000122", None),
        (Price("per_1m_tokens", USD(1), USD(4), most=USD(10), varies=True), "0.00074", None),
        (Price("per_1m_tokens", USD(1), USD(4), varies=True), None, None),
        (Price("per_1k_tokens", USD(1), USD(4)), None, None),
        (Price("per_1m_tokens", USD(1), None, USD(1)), None, None),
        (Price("per_request", per_request=USD(1)), "1", "1"),
        (Price("per request", per_request=USD(1)), "1", "1"),
        (Price("per_request", per_request=USD(1), least=USD("0.5"), most=USD(3)), "3", "3"),
        (Price("per_request", per_request=USD(1), varies=True), None, None),
        (Price("per_request", per_request=USD(1), most=USD(2), varies=True), "2", "2"),
        (Price("per_request", least=USD(1)), None, None),
        (Price("per_request", least=USD(1), most=USD(2)), "2", "2"),
        (Price("per_second", per_request=USD(1)), None, None),
        (Price("per_image", least=USD(1), most=USD(2)), None, None),
        (Price("", per_request=USD(1)), None, None),
        (Price(), None, None),
    ],
)
def test_the_most_is_the_most_or_is_not_known(
    price: Price, text: str | None, request_: str | None
) -> None:
    """26 bytes and a frame of 32 tokens go in, 16 tokens come out."""
    found = (most_cost(price, "x" * 26, 16), most_of_request(price))
    assert found == tuple(None if one is None else USD(one) for one in (text, request_))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pricing", "most"),
    [
        ({"unit": "per_request", "per_request": "0.01"}, "0.01"),
        ({"unit": "per_request", "per_request": "0.01", "max_price": "5"}, None),
        ({"unit": "per_second", "per_request": "0.01"}, None),
        ({"unit": "per_request", "per_request": "-1"}, None),
        ({"unit": "per_request", "min_price": "0.01"}, None),
    ],
)
def test_what_may_cost_more_is_not_sent(
    cli: Call, own: SimServer, monkeypatch: pytest.MonkeyPatch, pricing: dict[str, object],
    most: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr("rollout_console.sim.catalogue.Model.pricing", lambda _: pricing)
    code, _, err = cli("clips", "--yes")
    assert code == (1 if most is None else 0)
    assert ("nothing was sent" in err) == (most is None)
    assert len(own.state.usage) == (0 if most is None else 1)


def test_a_failure_of_one_way_is_not_hidden_by_the_other(tmp_path: Path) -> None:
    log = tmp_path / "access.probes.jsonl"

    def probed(*, stream: bool, model: str = "m", problem: str = "") -> None:
        line = ProbeLine(
            ts=timestamp(), route="r", org="", probe=True, side="tokenlab", model=model,
            status=200, latency_ms=1, stream=stream, problems=(problem,) if problem else (),
        )  # fmt: skip
        assert append_probe(log, line) == ""

    probed(stream=False, problem="no id")
    probed(stream=True)
    assert last_probes(log)[("r", "tokenlab")].problems == ("no id",)
    probed(stream=False)
    assert last_probes(log)[("r", "tokenlab")].problems == ()
    probed(stream=True, problem="it broke off")
    probed(stream=False, model="another")
    assert last_probes(log)[("r", "tokenlab")].problems == (), "that was of another model"


def test_a_line_that_is_cut_is_told_and_does_not_take_the_next_with_it(tmp_path: Path) -> None:
    log = tmp_path / "access.probes.jsonl"
    first, second = (
        ProbeLine(
            ts=timestamp(), route="r", org="", probe=True, side="tokenlab", model="m",
            status=status, latency_ms=1, stream=False,
        )
        for status in (200, 503)
    )  # fmt: skip
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # a write beyond this limit is partial, like one to a disk that is full
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
        assert append_probe(log, first) == f"{log} cannot be written: No space left on device"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert log.stat().st_size == 20
    assert append_probe(log, second) == ""
    assert last_probes(log)[("r", "tokenlab")].status == 503


def test_the_most_it_can_cost_is_in_bytes() -> None:
    price = Price(input_per_1m=Decimal(1), output_per_1m=Decimal(0))
    cost = most_cost(price, "日本語" * 1000, 16)
    assert cost is not None
    assert cost >= Decimal(9000) / 1_000_000


def test_routing_metadata_is_in_no_output(cli: Call, own: SimServer, file: Path) -> None:
    own.state.faults.add({"kind": "metadata"})
    for arguments in (("--yes",), ("--yes", "--json")):
        _, out, err = cli(*arguments)
        assert MARK not in out + err
    assert MARK not in (file.parent / "access.probes.jsonl").read_text()


def test_read_only_sends_nothing(cli: Call, own: SimServer) -> None:
    code, _, err = cli("--yes", "--read-only")
    assert (code, "read-only" in err) == (1, True)
    assert list(own.state.usage) == []


def test_a_previous_key_and_its_sources(tmp_path: Path) -> None:
    assert route_variable("my chat-2") == "ROLLOUT_PREVIOUS_KEY_MY_CHAT_2"
    path = tmp_path / "key"
    path.write_text("from-file\n")
    environ = {
        "OPENAI_API_KEY": "usual", "ROLLOUT_PREVIOUS_KEY_CHAT": "own",
        "GEMINI_API_KEY_FILE": str(path), "ANTHROPIC_API_KEY": "sk-tokenlab",
        "ROLLOUT_PREVIOUS_KEY_GONE_FILE": "/none",
    }  # fmt: skip
    given = take_from_environment(environ)
    assert not {"OPENAI_API_KEY", "ROLLOUT_PREVIOUS_KEY_CHAT", "ANTHROPIC_API_KEY"} & set(environ)
    assert "usual" not in repr(given)

    def key(route: str, kind: str) -> tuple[str, str]:
        found, said = previous_key(given, route, kind, Secret("sk-tokenlab"))
        return (found.reveal() if found else ""), said

    assert key("chat", "openai_responses") == ("own", "$ROLLOUT_PREVIOUS_KEY_CHAT")
    assert key("x", "openai_responses") == ("usual", "$OPENAI_API_KEY")
    assert key("g", "gemini_generate_content") == ("from-file", "$GEMINI_API_KEY_FILE")
    found, said = key("c", "anthropic_messages")
    assert (found, "TokenLab's own" in said) == ("", True)
    assert "sk-tokenlab" not in said
    assert "cannot be read" in key("gone", "openai_responses")[1]
    assert "set $ROLLOUT_PREVIOUS_KEY_V" in key("v", "video")[1]


@pytest.mark.slow
def test_a_request_that_was_not_sent_has_no_answer_and_no_line(
    cli: Call, own: SimServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After headers and a drip the streamed request is not sent: it has nothing of the first."""
    monkeypatch.setattr("rollout_console.readiness.probes.LIMIT_S", 1.0)
    own.state.faults.add({"kind": "drip", "path": "/v1/chat/completions"})
    code, out, _ = cli("chat", "--yes", "--json", "--side", "tokenlab")
    sent, unsent = json.loads(out)["probes"]
    assert code == 1
    assert unsent["problems"] == ["not sent: the request before it got no answer"]
    assert (sent["status"], bool(sent["request_id"])) == (200, True), "its headers came"
    assert (unsent["status"], unsent["latency_ms"]) == (0, 0.0)
    assert (unsent["request_id"], unsent["task_id"]) == (None, None)
    kept = last_probes(file.parent / "access.probes.jsonl")["chat", "tokenlab"]
    assert kept.problems == tuple(sent["problems"])
