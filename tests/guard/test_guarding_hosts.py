"""The guard and a sick host or key alias: it is named, and no verdict is changed by it."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rollout_console.cli.commands.guard import _status, _turn_json, _turn_text
from rollout_console.guard.evidence.culprits import Culprit
from rollout_console.guard.loop import Turn
from rollout_console.guard.monitor import Monitor
from rollout_console.health.windows.labels import MOST_VALUES
from rollout_gate import timestamp
from rollout_gate.file.parse import parse
from tests.guard.test_guarding import Run, with_mode

ORGS = ("acme", "hooli", "stark", "umbrella", "globex.eu")
HOSTS = tuple(f"gw-{i:02}" for i in range(12))


class HostRun(Run):
    """A guard, and the draws of all its traffic: the same in each run of a test."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.rng = Random("hosts")


@pytest.fixture
def file(file: Path) -> Path:
    """A route with five orgs of traffic, and a share by key alias."""
    text = file.read_text().replace('window = "5m"', 'window = "60s"')
    text = text.replace("default_percent = 0  ", "default_percent = 10 ", 1)
    text = text.replace("\n[routes.chat.flags]", "batch = 5\n\n[routes.chat.flags]", 1)
    file.write_text(text)
    assert parse(file.read_bytes()).routes["chat"].keys["batch"] == 500
    return file


@pytest.fixture
def run(file: Path) -> Iterator[HostRun]:
    made = HostRun(with_mode(file, "hold"))
    made.now = ceil(made.now / 60) * 60 - 5.0
    made.turn()
    yield made
    made.guarding.end()


def play(
    run: HostRun,
    count: int,
    sick: Mapping[str, int],
    *,
    hosts: tuple[str, ...] = HOSTS,
    aliases: tuple[str, ...] = ("batch", "web", "app"),
    without_host: int = 0,
    side: str = "tokenlab",
) -> None:
    """Play seconds of 24 requests; of ``sick`` names so many of ten fail.

    Hosts take turns; orgs, aliases and errors are drawn.
    """
    rng, lines = run.rng, []
    for i in range(count * 24):
        at = run.now + i / 24
        org, host, alias = rng.choice(ORGS), hosts[i % len(hosts)], rng.choice(aliases)
        rate = max((sick[name] for name in (org, host, alias) if name in sick), default=0)
        line: dict[str, Any] = {
            "ts": timestamp(datetime.fromtimestamp(at, UTC)), "route": "chat", "org": org,
            "side": side, "model": "m", "status": 503 if rng.random() < rate / 10 else 200,
            "latency_ms": 100.0, "host": host, "key_alias": alias,
        }  # fmt: skip
        if without_host and i % without_host == 0:
            del line["host"], line["key_alias"]
        lines.append(json.dumps(line) + "\n")
    with (run.file.parent / "access.jsonl").open("a", encoding="utf-8") as log:
        log.writelines(lines)
    run.now += count


def culprits(turn: Turn, label: str = "host") -> list[Culprit]:
    return [one for one in turn.culprits["chat"] if one.label == label]


def names(turn: Turn, label: str = "host") -> list[str]:
    return [one.name for one in culprits(turn, label)]


def test_a_sick_host_is_named_in_the_verdict_the_alert_and_json(run: HostRun) -> None:
    play(run, 20, {"gw-07": 10})
    turn = run.turn()
    (one,) = culprits(turn)
    assert (one.name, one.of, one.others[0], one.errors) == ("gw-07", 12, 0, one.requests)
    words = "100% of 5xx come from host gw-07 (1 of 12 hosts)"
    verdict = turn.verdicts["chat"]
    assert verdict.kind == "rollback"
    assert verdict.reason.endswith(f"; {words}")
    (alert,) = [one for one in turn.alerts if one.host == "gw-07"]
    figures = f"{one.errors} of {one.requests} there, 0 of {one.others[1]} elsewhere"
    assert alert.sentence == (
        f"chat: {words}: {figures}; mend that host: a rollback takes all hosts back"
    )
    (event,) = [one for one in turn.events if one.text == alert.sentence]
    assert event.command == "", "there is nothing to roll back alone"
    found = _turn_json(turn, run.monitor, run.now)["routes"]["chat"]
    assert found["culprits"][0] | {"last_error": ""} == {
        "label": "host", "name": "gw-07", "signal": "gateway", "errors": one.errors,
        "requests": one.requests, "percent_of_errors": 100.0, "of": 12,
        "fails_on_previous": False, "last_error": "", "reason": f"{words}: {figures}",
    }  # fmt: skip
    assert f"  {words}: {figures}\n" in _turn_text(turn, run.now)
    assert turn.is_sick
    assert run.monitor.rollback_reason("chat", None, run.now) == verdict.reason


def test_a_host_is_named_before_its_route_asks_for_a_rollback(run: HostRun) -> None:
    hosts = (*HOSTS, *(f"gw-{i}" for i in range(20, 108)))
    play(run, 40, {"gw-07": 10}, hosts=hosts)  # 1% of the route
    turn = run.turn()
    assert turn.verdicts["chat"].kind != "rollback"
    assert names(turn) == ["gw-07"]
    assert turn.is_sick
    assert run.monitor.rollback_reason("chat", None, run.now).startswith("100% of 5xx come from")


def test_enforce_rolls_back_the_route_for_a_sick_host(file: Path) -> None:
    made = HostRun(with_mode(file, "enforce"))
    made.turn()
    play(made, 20, {"gw-07": 10})
    turn = made.turn()
    made.guarding.end()
    assert parse(made.file.read_bytes()).routes["chat"].rolled_back
    (event,) = [one for one in turn.events if one.kind == "rollback"]
    assert "come from host gw-07 (1 of 12 hosts)" in event.evidence


def test_two_sick_hosts_are_named_together(run: HostRun) -> None:
    play(run, 20, {"gw-07": 10, "gw-02": 10})
    turn = run.turn()
    assert sorted(names(turn)) == ["gw-02", "gw-07"]
    assert "100% of 5xx come from hosts gw-02 and gw-07 (2 of 12 hosts)" in (
        turn.verdicts["chat"].reason
    )
    assert sum(one.host is not None for one in turn.alerts) == 2


def test_a_sick_host_beside_a_sick_org(run: HostRun) -> None:
    play(run, 30, {"gw-07": 10, "hooli": 6})
    turn = run.turn()
    assert names(turn) == [], "it has the smaller part of the errors"
    assert [*turn.condemned["chat"]] == ["hooli"]
    made = run
    play(made, 60, {})  # the window goes by
    play(made, 30, {"gw-07": 10, "hooli": 3})
    turn = made.turn()
    assert names(turn) == ["gw-07"]


@pytest.mark.parametrize("rate", [1, 2, 5, 10])
def test_a_sick_route_names_nobody(run: HostRun, rate: int) -> None:
    for _ in range(15):
        play(run, 2, dict.fromkeys(HOSTS, rate))
        assert run.turn().culprits["chat"] == []
    assert run.turn().verdicts["chat"].kind == "rollback"


def test_a_sick_org_names_no_host(run: HostRun) -> None:
    for _ in range(15):
        play(run, 2, {"hooli": 10})
        assert run.turn().culprits["chat"] == []
    assert [*run.turn().condemned["chat"]] == ["hooli"]


def test_an_alias_with_a_share_can_be_taken_back_alone(run: HostRun) -> None:
    play(run, 20, {"batch": 10})
    turn = run.turn()
    (one,) = culprits(turn, "key_alias")
    assert (one.name, one.of) == ("batch", 3)
    (alert,) = [one for one in turn.alerts if one.key_alias == "batch"]
    (event,) = [event for event in turn.events if event.text == alert.sentence]
    assert event.command.endswith("set chat 0 --alias=batch")
    assert event.text.endswith("; take it back alone, by its own share")


def test_a_key_in_the_place_of_an_alias_is_in_no_command(file: Path) -> None:
    name = "sk-live-0123456789abcdef"
    file.write_text(file.read_text().replace("batch = 5", f'"{name}" = 5'))
    made = HostRun(with_mode(file, "hold"))
    made.now = ceil(made.now / 60) * 60 - 5.0
    play(made, 20, {name: 10}, aliases=(name, "web", "app"))
    turn = made.turn()
    made.guarding.end()
    assert names(turn, "key_alias") == [name]
    assert "0123456789abcdef" not in repr(turn.events)


def test_an_alias_of_a_condemned_org_is_that_org(run: HostRun) -> None:
    """An org with one alias is named once."""
    play(run, 20, {"hooli": 10}, aliases=("web",))
    log = run.file.parent / "access.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line["key_alias"] = f"of-{line['org']}"
    run.monitor.close()
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fresh = Monitor(run.file, parse(run.file.read_bytes()))
    fresh.catch_up(run.now)
    assert [*fresh.condemned(run.now)["chat"]] == ["hooli"]
    assert fresh.culprits(run.now)["chat"] == []


def test_a_host_that_fails_on_both_sides_needs_no_rollback(run: HostRun) -> None:
    play(run, 20, {"gw-07": 10})
    run.now -= 20
    play(run, 20, {"gw-07": 10}, side="previous")
    turn = run.turn()
    (one,) = culprits(turn)
    assert (one.name, one.fails_on_previous) == ("gw-07", True)
    (alert,) = [one for one in turn.alerts if one.host]
    assert alert.sentence.endswith("so mend it: a rollback does not help")


def test_lines_of_old_writers_have_no_host(run: HostRun) -> None:
    play(run, 20, {"gw-07": 10}, without_host=5)
    (one,) = culprits(run.turn())
    assert one.name == "gw-07"
    assert 0.5 < one.share < 1, "the lines without a host have their part"


@pytest.mark.parametrize("hosts", [("gw-01",), ("", "")])
def test_with_nothing_to_compare_nobody_is_named(run: HostRun, hosts: tuple[str, ...]) -> None:
    play(run, 20, dict.fromkeys(hosts, 5), hosts=hosts, aliases=("web",))
    turn = run.turn()
    assert turn.culprits["chat"] == []
    assert turn.verdicts["chat"].kind == "rollback"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("gw\x1b[31m\u202e07", "gw·[31m·07"),
        ("sk-live-0123456789abcdef", "sk-…"),
        ("gw\n07", "gw·07"),
        ("h" * 5000, "h" * 100),
    ],
)
@pytest.mark.parametrize("label", ["host", "key_alias"])
def test_a_name_is_shown_safely(run: HostRun, label: str, name: str, shown: str) -> None:
    if label == "host":
        play(run, 20, {name: 10}, hosts=(*HOSTS[:-1], name))
    else:
        play(run, 20, {name: 10}, aliases=("batch", "web", "app", name))
    turn = run.turn()
    (one,) = culprits(turn, label)
    words = "host {} (1 of 12 hosts)" if label == "host" else "key alias {} (1 of 4 key aliases)"
    said = f"100% of 5xx come from {words.format(shown)}"
    assert one.shown == shown
    (alert,) = [one for one in turn.alerts if one.key[0] == "culprit"]
    reason = run.monitor.rollback_reason("chat", None, run.now)
    text = _turn_text(turn, run.now)
    for found in (turn.verdicts["chat"].reason, alert.sentence, reason, text):
        assert said in found
    everything = [json.dumps(_turn_json(turn, run.monitor, run.now)), text, _status(turn)]
    everything += [reason, *(one.sentence for one in turn.alerts), repr(turn.events)]
    for found in everything:
        assert "0123456789abcdef" not in found
        assert "\x1b" not in found
        assert "\u202e" not in found


def test_too_many_hosts_name_none_and_say_so(run: HostRun) -> None:
    hosts = tuple(f"pod-{i}" for i in range(2 * MOST_VALUES + 500))
    play(run, 40, dict.fromkeys(ORGS, 5), hosts=(*hosts[: 24 * 30], "gw-07"))
    assert run.turn().unnamed["chat"] == []
    play(run, 120, dict.fromkeys(ORGS, 5), hosts=hosts)
    turn = run.turn()
    assert turn.unnamed["chat"] == ["host"]
    assert names(turn) == []
    assert turn.verdicts["chat"].reason.endswith("; more than 1,000 hosts: none is named")
