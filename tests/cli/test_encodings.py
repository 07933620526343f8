"""Commands whose output cannot carry every sign: they print ASCII and escapes, and never fail."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rollout_console.changes.switch import Switch
from rollout_console.history.actor import Actor
from rollout_console.history.location import history_of

LOOKS = (
    ["show"], ["history"], ["decide", "chat", "--org", "é▸"], ["check", "--offline"],
    ["playbook"], ["phase", "chat"], ["--read-only", "guard", "--once"], ["export", "flagd"],
    ["--help"],
)  # fmt: skip
ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def odd(file: Path) -> Path:
    """A file with an org that ASCII does not have, and a history."""
    file.write_text(file.read_text().replace('"globex.eu"', '"é日▸"', 1))
    switch = Switch(file, history_of(file), Actor("jo", "gw-01"))
    switch.open()
    switch.apply(switch.planner.plan_rollback("chat", "é日▸", "40% → bad"), reason="40% → bad")
    return file


def run(file: Path, words: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "rollout_console", "-f", str(file), *words],
        capture_output=True, env={**os.environ, **env}, timeout=60,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("env", [ASCII, C_LOCALE])
@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_what_is_printed_is_ascii(odd: Path, words: list[str], env: dict[str, str]) -> None:
    done = run(odd, words, env)
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert b"\x1b" not in done.stdout + done.stderr, "no command writes colours"
    assert done.returncode == run(odd, words, {"PYTHONIOENCODING": "utf-8"}).returncode


def test_signs_have_their_substitute_and_names_an_escape(odd: Path) -> None:
    shown = run(odd, ["show"], ASCII).stdout
    assert b"\\xe9\\u65e5>" in shown
    assert b"< rolled back" in shown
    assert b"rollback chat / \\xe9\\u65e5>  (40% > bad" in run(odd, ["history"], ASCII).stdout


def test_what_is_piped_in_a_c_locale_is_as_it_is_and_a_terminal_gets_ascii(odd: Path) -> None:
    env = {"LC_ALL": "C"}
    assert "é日▸".encode() in run(odd, ["show"], env).stdout, "data, for files and programs"
    assert run(odd, ["--ascii", "show"], env).stdout.isascii()
    assert run(odd, ["show", "--ascii"], env).stdout.isascii()
    master, other = pty.openpty()
    words = [sys.executable, "-m", "rollout_console", "-f", str(odd), "show"]
    with subprocess.Popen(words, stdout=other, env={**os.environ, **env}) as child:
        os.close(other)
        data = b""
        while b"claude" not in data:
            data += os.read(master, 65_536)
        assert child.wait() == 0
    os.close(master)
    assert data.isascii()
    assert b"< rolled back" in data
