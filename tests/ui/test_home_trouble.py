"""Trouble on home: the alarm line, the keys that go to it, folds that hide nothing, the order."""

import re
from pathlib import Path

import pytest

from rollout_console.guard.alerts import Alert, Alerts
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.screens.home.alarm_line import AlarmLine
from rollout_console.ui.screens.home.notices import Notices
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.rollout_table import RolloutTable
from rollout_gate.file.parse import parse
from tests.support.waiting import until_shown
from tests.ui.test_home import (
    Running,
    alarm,
    app_of,
    confirm,
    log_lines,
    notices,
    running,
    screen_text,
)

ORGS = ("org-0", "org-1", "org-2")
NOW = 1_790_000_000.0


@pytest.mark.slow
async def test_an_alarm_is_a_line_and_a_bell_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[bool] = []
    app = app_of(file)
    monkeypatch.setattr(app, "bell", lambda: rung.append(True))
    async with running(app) as pilot:
        await pilot.pause(1.2)
        assert not rung
        assert not app.home.has_class("-trouble")
        log_lines(file, 40, 503, orgs=ORGS)
        await until_shown(
            pilot, lambda: re.search(r"chat: 5xx 100% in \d+ s, 40 of 40, limit 2%", alarm(pilot))
        )
        assert app.home.has_class("-alarm")
        await pilot.pause(2.2)
        assert len(rung) == 1
        assert not app._notifications, "a toast would cover what the line says already"
        assert [alert.route for alert in app.session.alerts.open] == ["chat"]
        await pilot.press("R")
        await confirm(pilot)
        await until_shown(pilot, lambda: not app.home.has_class("-trouble"))


async def test_an_alarm_is_a_line_on_every_screen_and_no_toast(file: Path) -> None:
    app = app_of(file)
    async with running(app) as pilot:
        await pilot.press("3")
        await until_shown(pilot, lambda: not app.home.is_current)
        log_lines(file, 40, 503, orgs=ORGS)

        def shown() -> str:
            (line,) = app.screen.query(".alarm").results(TextLine)
            return line.text if line.display and line.region.y == 1 else ""

        await until_shown(pilot, lambda: re.search(r"▲ chat: 5xx 100% in \d+ s, 40 of 40", shown()))
        assert "1 home" in shown(), "n is another key there"
        for key in ("2", "4", "6", "7"):
            await pilot.press(key)
            await until_shown(
                pilot, lambda: re.search(r"▲ chat: 5xx 100% in \d+ s, 40 of 40", shown())
            )
        assert not app._notifications, "a toast would cover what is there"
        await pilot.press("1")
        await until_shown(pilot, lambda: app.home.is_current and app.home._alarm_sight.is_ready)
        await pilot.press("a", "6")
        await until_shown(pilot, lambda: not app.home.is_current)
        assert shown() == ""


BESIDE = ("2", "3", "4", "5", "6", "7", "8")


def alarm_beside(pilot: Running) -> str:
    """What the alarm line of a screen over home says; empty where it is not shown."""
    (line,) = pilot.app.screen.query(".alarm").results(TextLine)
    return line.text if line.display and line.region.y == 1 else ""


async def test_a_file_that_cannot_be_used_is_said_on_every_screen(file: Path) -> None:
    good = file.read_bytes()
    async with running(app_of(file), size=(80, 24)) as pilot:
        await pilot.press("2")
        await until_shown(pilot, lambda: pilot.app.screen.query(".alarm"))
        assert alarm_beside(pilot) == ""
        file.write_bytes(b"schema = 1\n[routes.chat\nx")
        for key in BESIDE:
            await pilot.press(key)
            await until_shown(
                pilot, lambda: "▲ rollout.toml: line 2, column 13: not valid" in alarm_beside(pilot)
            )
        file.write_bytes(good)
        await until_shown(pilot, lambda: alarm_beside(pilot) == "")
        file.unlink()
        await until_shown(pilot, lambda: "rollout.toml does not exist" in alarm_beside(pilot))


async def test_a_rollback_that_failed_is_said_on_every_screen(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(file)
    async with running(app, size=(80, 24)) as pilot:
        log_lines(file, 40, 503, route="claude", orgs=ORGS)
        await until_shown(pilot, lambda: "claude: 5xx" in alarm(pilot))
        app.home.rollback_failed([("chat", "acme")], "NOT ROLLED BACK", "the disk is full")
        for key in BESIDE:
            await pilot.press(key)
            await until_shown(pilot, lambda: pilot.app.screen.query(".alarm"))
            assert alarm_beside(pilot).startswith(
                " ▲ NOT ROLLED BACK: chat / acme: the disk is full"
            )
        app.home.rollback_failed([("chat", "acme")], "", "")
        assert alarm_beside(pilot).startswith(" ▲ claude: 5xx")


async def test_the_keys_of_trouble_go_to_it_wherever_it_is(file: Path) -> None:
    app = app_of(file)
    async with running(app) as pilot:
        table = app.home.query_one(RolloutTable)
        await pilot.press("slash", *"initech", "enter")
        log_lines(file, 40, 503, orgs=ORGS)
        log_lines(file, 40, 503, route="claude", orgs=ORGS)
        await until_shown(pilot, lambda: "1 of 2" in alarm(pilot))
        await pilot.press("n")
        assert table.selected is not None
        assert (table.selected.route, table.selected.org) == ("chat", None), "through the filter"
        await pilot.press("n")
        assert "claude: 5xx 100%" in alarm(pilot)
        assert "2 of 2" in alarm(pilot)
        assert table.selected.route == "claude"
        await pilot.press("N", "a")
        assert "chat: 5xx" in alarm(pilot), "nobody can have seen it"
        assert "not acknowledged: the alarm line has just changed; a again" in notices(pilot)
        await until_shown(pilot, lambda: app.home._alarm_sight.is_ready)
        await pilot.press("a")
        assert "claude: 5xx" in alarm(pilot), "the one before is acknowledged"
        assert "acknowledged: chat: 5xx 100%" in notices(pilot)
        assert {one.acknowledged_by for one in app.session.alerts.open} == {"", "jo@gw-01"}
        await until_shown(pilot, lambda: app.home._alarm_sight.is_ready)
        await pilot.press("a")
        await until_shown(pilot, lambda: not app.home.has_class("-trouble"))
        history = app.session.switch.history
        await until_shown(pilot, lambda: len(history.rows(file)) == 2)
        assert {row.action for row in history.rows(file)} == {"acknowledge"}
        await pilot.press("u")
        await until_shown(pilot, lambda: "there is no change of rollout.toml" in notices(pilot))
        await pilot.press("n", "a")
        assert "no alarm is shown" in notices(pilot)


async def test_a_folded_route_hides_no_sick_org(file: Path) -> None:
    app = app_of(file)
    async with running(app) as pilot:
        log_lines(file, 300, orgs=("acme", "globex.eu"), failing="globex.eu")
        await until_shown(pilot, lambda: "chat / globex.eu: 5xx" in alarm(pilot))
        await pilot.press("k", "enter")
        shown = screen_text(pilot)
        assert "+chat (4)" in shown
        rows = app.home.query_one(RolloutTable).rows
        assert [row.org for row in rows if row.route == "chat"] == [None, "globex.eu"]
        assert "1 org sick" in shown
        await pilot.press("slash", *"sick", "enter")
        assert "filter 'sick': 1 of " in notices(pilot)
        await pilot.press("escape", "n")
        assert app.home.query_one(RolloutTable).selected.org == "globex.eu"  # type: ignore[union-attr]


async def test_rows_are_sorted_by_what_matters(file: Path) -> None:
    app = app_of(file)
    async with running(app) as pilot:
        log_lines(file, 20)
        log_lines(file, 40, 503, route="claude", orgs=ORGS[:1])
        await until_shown(pilot, lambda: "claude: 5xx" in alarm(pilot))

        def names() -> list[str]:
            return [row.label or row.route for row in app.home.query_one(RolloutTable).rows]

        in_file = names()
        assert in_file[0] == "chat"
        await pilot.press("s")
        assert names()[:2] == ["claude", "org-0"], "the worst first"
        await pilot.press("s", "s")
        chat = names()[names().index("chat") + 1 :]
        assert chat.index("acme") < chat.index("initech"), "the greater percent first"
        await pilot.press("s")
        assert names()[1:4] == ["acme", "flag beta-testers", "globex.eu"]
        await pilot.press("s")
        assert names() == in_file


def line_of(alarms: AlarmLine, width: int = 80) -> str:
    return "".join(text for text, _ in alarms.pieces(width))


def test_since_when_is_said_of_what_began_while_it_was_watched_alone(file: Path) -> None:
    rollout = parse(file.read_bytes())
    alarms = AlarmLine(1000.0)
    storm = Alert(("verdict", "chat", "gateway"), "alarm", "chat: 5xx 40%", "chat", since=1100.0)
    for now in (1001.0, 1090.0, 1100.0):  # a long log is still being read
        alarms.look([storm], rollout, now, now < 1101)
    assert "since before 00:18 UTC" in line_of(alarms)
    alarms.look(
        [Alert(("log",), "alarm", "no request is seen", since=1200.0)], rollout, 1200.0, False
    )
    assert "no request is seen · since 00:20 UTC" in line_of(alarms)


def test_an_alarm_keeps_its_first_clauses_in_a_narrow_line(file: Path) -> None:
    alarms = AlarmLine(0.0)
    said = "claude: TokenLab refuses the key: 401/403 on 84%; roll back, or give it a working key"
    alarms.look(
        [Alert(("verdict",), "alarm", "x", "claude", "auth", since=99.0, fact=said)],
        parse(file.read_bytes()), 99.0, False,
    )  # fmt: skip
    assert line_of(alarms).startswith(" ▲ claude: TokenLab refuses the key: 401/403 on 84% · since")
    assert len(line_of(alarms)) <= 80
    assert said in line_of(alarms, 200)


def test_an_alert_that_is_not_so_any_more_is_told_as_one_of_before(file: Path) -> None:
    rollout, alerts, line = parse(file.read_bytes()), Alerts(), AlarmLine(0.0)
    storm = Alert(
        ("verdict", "chat", "gateway"), "alarm", "chat: ROLL BACK: 5xx 40%", "chat", "gateway",
        fact="chat: 5xx 40% in 55 s",
    )  # fmt: skip
    late = Alert(("verdict", "claude", "auth"), "alarm", "claude: 401 on 84%", "claude", "auth")

    def said(now: float, *found: Alert) -> str:
        alerts.look(found, now)
        line.look(alerts.open, rollout, now, False)
        return line_of(line)

    assert said(100.0, storm).startswith(" ▲ chat: 5xx 40% in 55 s · since")
    assert said(102.0).startswith(" ▲ chat: 5xx 40% in 55 s · since"), "one look may miss it"
    assert said(112.0).startswith(" △ last seen 12 s ago: chat: 5xx 40% in 55 s")
    assert said(113.0, late).startswith(" ▲ claude: 401 on 84%"), "what is so now comes first"
    assert said(114.0, late, storm).startswith(" ▲ chat: 5xx 40% in 55 s"), "it is the older"
    assert said(200.0) == "", "and it is over after a minute"


def test_each_reverted_rollback_is_told_though_the_one_before_was_dismissed() -> None:
    notices = Notices()
    said = "A rollback was reverted: rollout.toml was changed by sam"
    for _ in range(2):
        notices.trouble("reverted", said)
        assert "reverted" in notices._troubles
        assert not notices._hidden
        notices.dismiss()
        assert "reverted" not in notices._troubles


def test_a_message_has_both_lines_where_it_is_alone(file: Path) -> None:
    """In 80 columns it was cut where it says what stays rolled back, above a line to spare."""
    monitor, notices = Monitor(file, parse(file.read_bytes())), Notices()
    words = "done: everything resumed in rollout.toml (still rolled back: chat, claude / soylent)"
    notices.tell(words, NOW)
    first, second = ("".join(text for text, _ in one) for one in notices.lines(monitor, NOW, 80))
    assert first.strip() + " " + second.strip() == words
    assert len(first) <= 80
    assert notices.lines(monitor, NOW, 120) == (((" ", ""), (words, "$success")), ())
    notices.trouble("file", "rollout.toml: line 3: not valid TOML")
    first, second = ("".join(text for text, _ in one) for one in notices.lines(monitor, NOW, 80))
    assert (first.strip(), second.strip()[:14]) == (words, "! rollout.toml")
