"""ASCII alone on every screen, for a C locale, and terminals whose fonts lack the signs."""

import ast
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual._compositor import LayoutUpdate
from textual.pilot import Pilot

import rollout_console
from rollout_console.changes.switch import Switch
from rollout_console.cli.credentials import fixed_vault
from rollout_console.common.glyphs import is_locale_without_utf8, table, wants_ascii
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY, DEMO_TOKEN
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.ascii_filter import ascii_text, is_ascii, terminal_encoding
from rollout_console.ui.settings import Settings, load_settings
from rollout_gate import AccessLine, AccessLog, timestamp
from tests.jobs.ledgers import create, write
from tests.support.waiting import until_shown

ROOT = Path(rollout_console.__file__).parent
WALK = (
    "z", "z", "s", "space", "c", "slash", "x", "escape", "escape", "n", "j", "r", "escape",
    "e", "escape", "plus", "escape", "exclamation_mark", "escape", "colon", "escape",
    "question_mark", "escape",
    "2", "j", "slash", "escape", "d", "escape", "n", "escape", "question_mark", "escape",
    "3", "j", "enter", "escape", "slash", "escape",
    "4", "j", "enter", "escape", "c",
    "5", "w", "right_square_bracket", "v", "v", "v", "p", "h", "space", "space", "r", "escape",
    "6", "j", "enter", "escape", "slash", "escape", "o", "escape",
    "7", "j", "enter", "y", "escape", "slash", "escape", "x", "escape", "f", "escape", "d",
    "escape",
    "8", "v", "m", "j", "d", "p", "c", "enter", "escape", "m", "enter", "escape", "e", "escape",
    "slash", "escape", "question_mark", "escape",
    "1",
)  # fmt: skip


def storm(file: Path, *orgs: str) -> None:
    """Write five minutes of both sides, with errors in the last of them."""
    now = time.time()
    with_errors = [503, 200, 429, 401, 503]
    log = AccessLog(file.parent / "access.jsonl")
    for ago in range(300, 0, -2):
        ts = timestamp(datetime.fromtimestamp(now - ago, UTC))
        for side in ("tokenlab", "previous"):
            sick = ago < 60 and side == "tokenlab"
            for org in orgs:
                log.append(
                    AccessLine(ts=ts, route="chat", org=org, side=side, model="m",
                               status=with_errors[ago % 5] if sick else 200, latency_ms=50.0 + ago,
                               outcome="truncated" if ago % 50 == 0 else "ok")
                )  # fmt: skip
    log.close()


def app_of(file: Path, sim: SimServer) -> ConsoleApp:
    file.write_text(file.read_text().replace("https://api.tokenlab.sh", sim.base_url))
    who = Actor("jo", "gw-01")
    switch = Switch(file, History(file.parent / "h.sqlite3"), who)
    switch.open()
    for percent in (3_000, 2_000):
        switch.apply(switch.planner.plan_set("chat", "acme", percent), reason="a step")
    switch.apply(switch.planner.plan_rollback("chat", "acme", "5xx 40%"), reason="5xx 40%")
    vault = fixed_vault({"api_key": DEMO_KEY, "management_token": DEMO_TOKEN}, {})
    monitor = Monitor(file, switch.open().file)
    settings = Settings(ascii=True)
    return ConsoleApp(switch, monitor, settings, user="jo", host="gw-01", vault=vault)


def composed(pilot: Pilot[None]) -> LayoutUpdate:
    """Return what is written to the terminal, as Textual composes it."""
    update = pilot.app.screen._compositor.render_update(full=True)
    assert isinstance(update, LayoutUpdate)
    return update


def drawn(pilot: Pilot[None]) -> list[str]:
    """Return the lines that are written."""
    update = composed(pilot)
    return ["".join(one.text for strip in strips for one in strip) for strips in update.strips]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
async def test_every_cell_of_every_screen_is_ascii(
    file: Path, sim: SimServer, size: tuple[int, int]
) -> None:
    storm(file, "acme", "globex.eu", "hooli")
    lost: dict[str, Any] = {"state": "unknown", "task_id": None, "status": 504, "job_id": "▸1"}
    again: dict[str, Any] = {"fingerprint": b"f" * 16, "route": "chat", "now": time.time()}
    write(file.parent, create("a", **again, ago=90, **lost), create("b", **again, progress=7))
    app = app_of(file, sim)
    screens = set()
    async with app.run_test(size=size) as pilot:
        await until_shown(pilot, lambda: app._monitor.lines > 800)
        await until_shown(pilot, lambda: bool(app.session.alerts.open))
        await until_shown(pilot, lambda: app.session.balance.latest is not None)
        for key in ("", *WALK):
            if key:
                await pilot.press(key)
            await pilot.pause(0.05)  # toasts, and what a worker brings
            lines = drawn(pilot)
            screens.add(type(app.screen).__name__)
            assert all(map(str.isascii, lines)), (key, lines)
            assert all(cell_len(one) == size[0] for one in lines), (key, lines)
    assert screens >= {
        "HomeScreen", "KeysScreen", "ModelsScreen", "RoutesScreen", "LiveScreen", "HistoryScreen",
        "JobsScreen", "MoneyScreen",
        "HelpScreen", "Palette", "ConfirmDialog", "JobDialog",
    }, screens  # fmt: skip


@pytest.mark.parametrize(("locale", "shown"), [("C.UTF-8", "é日本"), ("C", "?????")])
async def test_outside_text_stays_where_the_terminal_has_it(
    file: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch, locale: str, shown: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    storm(file, "é日本")
    async with app_of(file, sim).run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: any(shown in line for line in drawn(pilot)))


def test_signs_are_as_wide_in_ascii() -> None:
    for sign, plain in table().items():
        assert plain.isascii(), chr(sign)
        assert cell_len(chr(sign)) == len(plain), chr(sign)


def literals(path: Path) -> set[str]:
    """Return the characters of a module's texts that are not docstrings."""
    tree = ast.parse(path.read_text())
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return {
        sign
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
        for sign in node.value
        if not sign.isascii() and sign.isprintable()
    }


def test_every_sign_of_the_source_has_a_substitute() -> None:
    found = {
        sign: path.relative_to(ROOT)
        for path in ROOT.rglob("*.py")
        if path.name != "glyphs.py" and "sim" not in path.parts
        for sign in literals(path)
    }
    assert len(found) > 20
    assert {sign: path for sign, path in found.items() if ord(sign) not in table()} == {}


@pytest.mark.parametrize("signs", ["▁▂▃▄▅▆▇█", "█▓▚▒░▞", "⠒•·┄┊", "↑↓↩↻!~", "▲△"])
def test_signs_that_are_told_apart_stay_apart(signs: str) -> None:
    assert len(set(signs.translate(table()))) == len(signs)


def test_text_keeps_its_width_whatever_the_encoding_lacks() -> None:
    for text in ("é日本▸", "e\u0301x", "🔎 find", "👩\u200d🚀 crew", "▁█⠒", "a" * 9):
        for encoding in ("ascii", "latin-1", "utf-8", "no-such"):
            assert cell_len(ascii_text(text, encoding)) == cell_len(text), (text, encoding)
    assert ascii_text("é日▸", "latin-1") == "é??>"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"LANG": "C"}, True),
        ({"LANG": ""}, False),
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, True),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ({"LANG": "en_US.utf8"}, False),
        ({"LANG": "en_US"}, True),
        ({"LANG": "en_US.ISO-8859-1"}, True),
        ({"LANG": "C.UTF-8", "TERM": "linux"}, True),
        ({"LANG": "C.UTF-8", "TERM": "dumb"}, True),
        ({"LANG": "C.UTF-8", "TERM": "vt220"}, True),
        ({"LANG": "C.UTF-8", "TERM": "vte-256color"}, False),
        ({"LANG": "C.UTF-8", "TERM": "xterm-256color"}, False),
    ],
)
def test_locale_and_terminal_ask_for_ascii(environ: dict[str, str], wanted: bool) -> None:
    assert wants_ascii(environ) is wanted
    found = is_ascii(environ, "utf-8", told=False, setting=None)
    assert found is wanted
    assert is_ascii(environ, "utf-8", told=False, setting=False) is False
    assert is_ascii(environ, "utf-8", told=True, setting=False) is True
    assert is_ascii(environ, "ascii", told=False, setting=False) is True, "it cannot be written"
    shown = "ascii" if is_locale_without_utf8(environ) else "utf-8"
    assert terminal_encoding(environ, "UTF-8") == shown
    assert terminal_encoding(environ, "iso8859-1") == "iso8859-1"


def test_the_setting(tmp_path: Path) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "rollout-console"
    folder.mkdir(parents=True)
    for text, found, troubles in (
        ("ascii = true", True, 0),
        ("ascii = false", False, 0),
        ("", None, 0),
        ("ascii = 1", None, 1),
    ):
        (folder / "config.toml").write_text(text)
        settings = load_settings()
        assert (settings.ascii, len(settings.troubles)) == (found, troubles)
