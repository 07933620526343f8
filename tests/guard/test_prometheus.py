"""Verdicts, holds and rollbacks by a real Prometheus in place of the access log."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from rollout_console.changes.switch import Switch
from rollout_console.cli.main import run
from rollout_console.guard.alerts import Alert, Alerts, alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.loop import GuardLoop
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.proof import QUIET_S, Proof
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate.bucketing import ALGORITHM
from rollout_gate.file.parse import parse
from tests.health.prometheus.odd_server import Odd, odd_server, unused_port
from tests.support.prometheus import Exporter, Prometheus, scraped
from tests.support.waiting import soon, until

REQUESTS = "rollout_gate_requests_total"
DURATION = "rollout_gate_request_duration_seconds"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Exporter]]:
    with scraped(tmp_path_factory.mktemp("world")) as (prometheus, (exporter,)):
        exporter.gauge("rollout_gate_revision_info", {"host": "a", "revision": "1"}, 1)
        exporter.count(REQUESTS, labels("warm", "acme"))
        until(lambda: prometheus.has(REQUESTS))
        yield prometheus, exporter


def labels(route: str, org: str, cls: str = "ok", side: str = "tokenlab") -> dict[str, str]:
    outcome = "ok" if cls == "ok" else "error"
    return {"route": route, "org": org, "side": side, "class": cls, "outcome": outcome}


def write(folder: Path, url: str, route: str, *, mode: str = "enforce", health: str = "") -> Path:
    """Write a rollout file of one route, which asks Prometheus each second."""
    path = folder / "rollout.toml"
    path.write_text(
        f'schema = 1\nalgorithm = "{ALGORITHM}"\n'
        f'[health]\nprometheus = "{url}"\nprometheus_step = "1s"\n{health}'
        f'[guard]\nmode = "{mode}"\nwindow = "60s"\n[ramp]\nbake = "1s"\nsteps = [1, 50, 100]\n'
        f'[routes.{route}]\nformat = "openai_chat_completions"\nmodel = "m"\n'
        'previous_base_url = "http://127.0.0.1:9/v1"\n'
        "default_percent = 50\n[routes.{0}.orgs]\nacme = 50\nglobex = 50\n".format(route)
    )
    return path


def monitor_of(path: Path) -> Monitor:
    return Monitor(path, parse(path.read_bytes()))


def verdict(monitor: Monitor, route: str, org: str | None = None) -> str:
    now = time.time()
    monitor.go_on(now)
    return monitor.health(route, org, now).verdict.words


@pytest.mark.slow
def test_a_route_that_is_well_is_ok_and_one_that_fails_is_rolled_back(
    world: tuple[Prometheus, Exporter], tmp_path: Path
) -> None:
    prometheus, exporter = world
    path = write(tmp_path, prometheus.url, "storm")
    switch = Switch(path, History(tmp_path / "history.sqlite3"), Actor("jo", "gw-01"))
    switch.open()
    monitor = monitor_of(path)
    loop = GuardLoop(switch, monitor)
    loop.start(time.time())

    def kind() -> str:
        return loop.turn(BalanceWatch(), {}, time.time()).verdicts["storm"].kind

    try:
        orgs = ("acme", "globex", "initech")
        while_sending(exporter, "storm", dict.fromkeys(orgs, "ok"), lambda: kind() == "ok")
        assert not monitor.file.is_latched("storm")
        while_sending(
            exporter, "storm", dict.fromkeys(orgs, "gateway"),
            lambda: kind() and monitor.file.is_latched("storm"),
        )  # fmt: skip
        newest = switch.history.rows(path)[0]
        assert newest.action == "rollback"
        assert "5xx" in newest.reason
        # The proof waits for steps that begin after the rollback.
        since = newest.at.timestamp()

        def drained() -> bool:
            exporter.count(REQUESTS, labels("storm", "acme", side="previous"), 5)
            return bool(kind()) and monitor.proof("storm", None, since, time.time()).drained

        until(drained)
    finally:
        loop.end()


@pytest.mark.slow
def test_one_org_that_fails_is_condemned_alone(
    world: tuple[Prometheus, Exporter], tmp_path: Path
) -> None:
    prometheus, exporter = world
    monitor = monitor_of(write(tmp_path, prometheus.url, "blame"))
    try:
        orgs = {"acme": "gateway", **dict.fromkeys(("globex", "initech", "umbrella"), "ok")}
        while_sending(
            exporter, "blame", orgs,
            lambda: "rollback: 5xx 100%" in verdict(monitor, "blame", "acme")
            and verdict(monitor, "blame") == "ok" and verdict(monitor, "blame", "globex") == "ok",
        )  # fmt: skip
        assert list(monitor.condemned(time.time())["blame"]) == ["acme"]
    finally:
        monitor.close()


@pytest.mark.slow
def test_latency_is_judged_on_the_safe_side_of_a_bucket(
    world: tuple[Prometheus, Exporter], tmp_path: Path
) -> None:
    prometheus, exporter = world
    path = write(tmp_path, prometheus.url, "slow")
    path.write_text(path.read_text().replace('window = "60s"', 'window = "60s"\nmax_p95_ms = 7000'))
    monitor = monitor_of(path)
    who = {"route": "slow", "org": "acme", "side": "tokenlab"}
    try:

        def judged(latency_s: float) -> str:
            exporter.observe(DURATION, {**who, "class": "ok"}, latency_s)
            return verdict(monitor, "slow")

        # Between 6 s and 8 s, on either side of 7 s: no health, and no rollback.
        while_sending(exporter, "slow", {"acme": "ok"}, lambda: "hold: p95 8" in judged(6.5))
        for _ in range(60):
            assert "rollback" not in judged(6.5)
        while_sending(exporter, "slow", {"acme": "ok"}, lambda: "rollback: slow" in judged(8.5))
    finally:
        monitor.close()


@pytest.mark.slow
def test_without_an_answer_nothing_is_ok_and_nothing_is_rolled_back(tmp_path: Path) -> None:
    with scraped(tmp_path / "own") as (prometheus, (exporter,)):
        monitor = monitor_of(write(tmp_path, prometheus.url, "chat"))
        try:
            assert verdict(monitor, "chat") == "hold: asking Prometheus"
            first = alerts_now(monitor, BalanceWatch(), {}, "", time.time())
            assert not [one for one in first if one.key[0] == "log"], "it was only just asked"
            orgs = {"acme": "gateway", "globex": "gateway"}
            sick = lambda: "rollback: 5xx 100%" in verdict(monitor, "chat")  # noqa: E731
            while_sending(exporter, "chat", orgs, sick)
            prometheus.kill()
            until(lambda: "cannot be reached" in verdict(monitor, "chat"))
            now = time.time()
            assert verdict(monitor, "chat").startswith("hold: Prometheus: requests: 127.0.0.1")
            assert monitor.condemned(now)["chat"] == {}
            assert "cannot be reached" in monitor.held(
                "chat", "acme", 5000, 10_000, BalanceWatch(), now
            )
            assert any(
                one.key == ("log",) and one.level == "alarm" and "Prometheus" in one.sentence
                for one in alerts_now(monitor, BalanceWatch(), {}, "", now)
            )
            prometheus.start()
            while_sending(exporter, "chat", orgs, sick)
        finally:
            monitor.close()


@pytest.mark.slow
def test_a_server_that_is_not_scraped_holds_raises_and_no_rollback(tmp_path: Path) -> None:
    with scraped(tmp_path / "own", exporters=2) as (prometheus, (one, other)):
        for exporter in (one, other):
            exporter.gauge("rollout_gate_revision_info", {"host": "a", "revision": "1"}, 1)
        monitor = monitor_of(write(tmp_path, prometheus.url, "chat"))
        unscraped = "Prometheus: 1 server cannot be scraped"

        def sentences() -> list[str]:
            found = alerts_now(monitor, BalanceWatch(), {}, "", time.time())
            return [alert.sentence for alert in found if alert.key[0] == "log"]

        def proof() -> Proof:
            monitor.go_on(time.time())
            return monitor.proof("chat", None, since, time.time())

        try:
            orgs = dict.fromkeys(("acme", "globex", "initech"), "ok")
            while_sending(one, "chat", orgs, lambda: verdict(monitor, "chat") == "ok")
            other.status = 500
            while_sending(one, "chat", orgs, lambda: verdict(monitor, "chat") != "ok")
            assert verdict(monitor, "chat") == f"hold: {unscraped}"
            held = monitor.held("chat", "acme", 5000, 10_000, BalanceWatch(), time.time())
            assert held == unscraped
            held = monitor.held("chat", "umbrella", 0, 100, BalanceWatch(), time.time())
            assert held == unscraped
            assert sentences() == [f"{unscraped}: requests there are not seen"]
            # Nobody sees whether the other server has gone over to the previous side.
            since = time.time()
            one.count(REQUESTS, labels("chat", "acme", side="previous"), 50)
            until(lambda: proof() and monitor.as_of(time.time()) > since + QUIET_S + 1)
            assert proof().text.startswith(f"not known: {unscraped} · last TokenLab request ")
            assert not proof().drained
            while_sending(
                one, "chat", dict.fromkeys(orgs, "gateway"),
                lambda: verdict(monitor, "chat").startswith("rollback: 5xx"),
            )  # fmt: skip
            held = monitor.held("chat", "acme", 5000, 10_000, BalanceWatch(), time.time())
            assert held.startswith("5xx")
            one.status = 500  # no target can be scraped
            until(lambda: monitor.no_figures(time.time()) and verdict(monitor, "chat"))
            assert verdict(monitor, "chat") == "hold: Prometheus: 2 servers cannot be scraped"
            assert sentences() == ["Prometheus: 2 servers cannot be scraped"]
        finally:
            monitor.close()


@pytest.mark.slow
def test_a_server_that_is_scraped_again_is_not_known_to_be_well_at_once(tmp_path: Path) -> None:
    with scraped(tmp_path / "own", exporters=2) as (prometheus, (one, other)):
        for exporter in (one, other):
            exporter.gauge("rollout_gate_revision_info", {"host": "a", "revision": "1"}, 1)
        monitor = monitor_of(write(tmp_path, prometheus.url, "chat"))
        seen = list[tuple[bool, str, str]]()

        def look() -> str:
            """Note whether a rollback is said to have drained, and what a raise is held by."""
            for org in orgs:
                other.count(REQUESTS, labels("chat", org, "gateway"), 5)
            now, words = time.time(), verdict(monitor, "chat")
            held = monitor.held("chat", "globex", 5000, 10_000, BalanceWatch(), now)
            seen.append((monitor.proof("chat", None, since, now).drained, held, words))
            return words

        try:
            since = time.time() + 60
            orgs = dict.fromkeys(("acme", "globex", "initech"), "ok")
            while_sending(one, "chat", orgs, lambda: verdict(monitor, "chat") == "ok")
            other.status = 500
            while_sending(one, "chat", orgs, lambda: "scraped" in verdict(monitor, "chat"))
            since = time.time()

            def outlasts() -> bool:
                one.count(REQUESTS, labels("chat", "acme", side="previous"), 5)
                return bool(look()) and monitor.as_of(time.time()) > since + 2 * QUIET_S

            until(outlasts)
            other.status = 200  # it has sent to TokenLab, and failed, all the time
            until(lambda: look().startswith("rollback: 5xx"))
            assert not any(drained for drained, _, _ in seen)
            assert all(held for _, held, _ in seen), "a raise was free while a target was missing"
            assert any("1 server could not be scraped lately" in words for *_, words in seen)
        finally:
            monitor.close()


def test_that_nothing_is_seen_any_more_is_another_alert_and_ends_none_by_figures() -> None:
    alerts = Alerts()
    sick = Alert(("verdict", "chat", "5xx"), "alarm", "chat: rollback: 5xx 100%", "chat")
    some = Alert(("log", "unscraped"), "alarm", "Prometheus: 1 server cannot be scraped")
    none = Alert(("log",), "alarm", "Prometheus: cannot be reached")
    assert alerts.look([sick, some], 1000.0)[0] == alerts.open
    alerts.acknowledge(("log", "unscraped"), "jo")
    began, ended = alerts.look([none], 1010.0, blind=True)
    assert [one.sentence for one in began] == [none.sentence]
    assert not began[0].acknowledged_by
    _, ended = alerts.look([none], 1100.0, blind=True)
    assert [one.key for one in ended] == [("log", "unscraped")], "blind: not known to be over"
    assert sick.key in alerts.keys, "it is still shown"
    began, _ = alerts.look([sick], 1110.0)
    assert began == [], "nor does it begin again"
    _, ended = alerts.look([], 1180.0)
    assert [one.key for one in ended] == [none.key, sick.key] or [one.key for one in ended] == [
        sick.key, none.key,
    ]  # fmt: skip


@pytest.mark.slow
def test_partial_answers_hold(tmp_path: Path) -> None:
    good = {"route": "chat", "org": "acme", "side": "tokenlab", "class": "ok"}

    def answer(odd: Odd, asked: Mapping[str, str]) -> None:
        at, query = float(asked["end"]), asked["query"]
        if "timestamp" in query:
            odd.matrix(({}, [[at, str(at - 1)]]))
        elif "requests_total" in query:
            odd.matrix((good, [[at, "200"]]), *more["series"](at), **more["fields"])
        else:
            odd.matrix()

    more: dict[str, Any] = {"series": lambda at: (), "fields": {}}
    with odd_server(answer) as server:
        monitor = monitor_of(write(tmp_path, server.url, "chat"))
        try:
            until(lambda: verdict(monitor, "chat") == "ok")
            more["fields"] = {"warnings": ["store gw-2 is away"]}
            until(lambda: "requests is answered in part: store gw-2" in verdict(monitor, "chat"))
            more["fields"] = {}
            until(lambda: verdict(monitor, "chat") == "ok")
            more["series"] = lambda at: (({**good, "org": "x"}, [[at, "NaN"]]),)
            until(lambda: "1 of 2 series cannot be used" in verdict(monitor, "chat"))
            more["series"] = lambda at: [
                ({**good, "org": f"org{n}"}, [[at, "1"]]) for n in range(10_000)
            ]
            until(lambda: verdict(monitor, "chat") == "ok" and monitor.lines > 10_000)
            assert verdict(monitor, "chat", "org7") != "ok"
        finally:
            monitor.close()


def test_a_clock_that_differs_holds(tmp_path: Path) -> None:
    def answer(odd: Odd, asked: Mapping[str, str]) -> None:
        body = {"status": "success", "data": {"resultType": "matrix", "result": []}}
        odd.say(json.dumps(body).encode(), Date=formatdate(time.time() - 120, usegmt=True))

    with odd_server(answer) as server:
        monitor = monitor_of(write(tmp_path, server.url, "chat"))
        try:
            until(lambda: "s behind this host's: set the clocks" in verdict(monitor, "chat"))
        finally:
            monitor.close()


@pytest.mark.slow
def test_a_source_without_orgs_judges_routes_and_holds_orgs(
    world: tuple[Prometheus, Exporter], tmp_path: Path
) -> None:
    prometheus, exporter = world
    health = (
        "[health.queries]\n"
        f"requests = 'sum by (route, side, class) ($increase({REQUESTS}))'\n"
        f"newest = 'max(timestamp({REQUESTS}))'\n"
    )
    monitor = monitor_of(write(tmp_path, prometheus.url, "noorgs", health=health))
    try:
        while_sending(
            exporter, "noorgs", {"acme": "ok"}, lambda: verdict(monitor, "noorgs") == "ok"
        )
        assert verdict(monitor, "noorgs", "acme") == "hold: Prometheus has no figures by org"
        while_sending(
            exporter, "noorgs", {"acme": "gateway"},
            lambda: verdict(monitor, "noorgs").startswith("rollback: 5xx"),
        )  # fmt: skip
    finally:
        monitor.close()


def while_sending(
    exporter: Exporter, route: str, orgs: Mapping[str, str], true: Callable[[], object]
) -> None:
    """Return once ``true``, with requests of orgs until then; each has the class of its requests.

    What came before the file was written is no evidence: it is of another share.
    """

    def sent() -> object:
        for org, cls in orgs.items():
            exporter.count(REQUESTS, labels(route, org, cls), 5)
        return true()

    until(sent)


class Cli:
    """Runs commands on one file."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path, self._capsys = path, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = run(["-f", str(self._path), *arguments])
        out, err = self._capsys.readouterr()
        return code, out, err


@pytest.mark.slow
def test_commands_ask_prometheus(
    world: tuple[Prometheus, Exporter], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prometheus, exporter = world
    path = write(tmp_path, prometheus.url, "cmd", mode="hold")
    cli = Cli(path, capsys)
    monitor = monitor_of(path)
    while_sending(
        exporter, "cmd", {"acme": "ok", "initech": "ok", "globex": "gateway"},
        lambda: "rollback" in verdict(monitor, "cmd", "globex"),
    )  # fmt: skip
    monitor.close()
    guarded: list[tuple[int, Any]] = []

    def is_all_seen() -> bool:  # a busy machine may miss a scrape
        code, out, _ = cli("guard", "--once", "--json")
        guarded.append((code, json.loads(out)))
        return not guarded[-1][1]["log"]["why"]

    until(is_all_seen)
    code, found = guarded[-1]
    assert code == 1
    assert found["routes"]["cmd"]["orgs"]["globex"]["verdict"] == "rollback"
    assert found["log"] == {
        "source": "prometheus", "lines": found["log"]["lines"], "unusable": 0, "why": "",
    }  # fmt: skip
    assert found["log"]["lines"] >= 15
    code, _, err = cli("set", "cmd", "globex", "100", "--yes")
    assert code != 0
    assert "the guard holds this raise: cmd / globex: 5xx" in err


def test_a_rollback_waits_for_no_prometheus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with odd_server(lambda *_: time.sleep(60)) as silent:
        path = write(tmp_path, silent.url, "chat")
        with soon():
            code, out, _ = Cli(path, capsys)("rollback", "chat", "--yes")
        assert code == 0
        assert "done" in out
        assert parse(path.read_bytes()).is_latched("chat")


def test_a_raise_is_held_where_nobody_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, f"http://127.0.0.1:{unused_port()}", "chat", mode="hold")
    cli = Cli(path, capsys)
    code, _, err = cli("set", "chat", "acme", "100", "--yes")
    assert code != 0
    assert "the guard holds this raise: chat / acme: Prometheus: requests: 127.0.0.1" in err
    code, out, _ = cli("guard", "--once", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["routes"]["chat"]["verdict"] == "hold"
    assert "cannot be reached" in found["log"]["why"]
