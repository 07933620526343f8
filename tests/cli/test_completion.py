"""Completion in real shells: commands, options, and the names that the rollout file has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollout_console.cli.main import run
from tests.support.parts import need
from tests.support.terminal import terminal

FILE = """\
schema = 1
algorithm = "fractional-v3"
[routes.chat]
format = "openai_chat_completions"
[routes.chat.orgs]
acme = 25
"globex.eu" = 5
"$(touch stolen)" = 5
"two words" = 5
"-dash" = 5
[routes.claude]
format = "anthropic_messages"
[routes.claude.orgs]
initech = 1
"""
LINES = {
    "roll": {"rollback"},
    "rollback ": {"chat", "claude"},
    "rollback chat ": {"acme", "globex.eu"},
    "rollback claude ": {"initech"},
    "rollback --reason x chat g": {"globex.eu"},
    "-f rollout.toml rollback claude ": {"initech"},
    "decide chat --org a": {"acme"},
    "export ": {"flagd", "schema"},
    "rollback chat acme --dry": {"--dry-run"},
    "rollback nowhere ": set(),
    "set chat g": {"globex.eu"},
    "set chat acme g": {"globex.eu"},
    "set chat --al": {"--alias", "--all"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rollout.toml"
    path.write_text(FILE)
    return path


def _env(path: Path) -> dict[str, str]:
    bin_folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "ROLLOUT_FILE": str(path)}


def _bash(path: Path, line: str) -> set[str]:
    script = """
    source <(rollout-console completion bash)
    COMP_WORDS=(rollout-console "$@"); COMP_CWORD=$#
    _shtab_rollout_console 2>/dev/null
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    words = line.split(" ")
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env=_env(path), cwd=path.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def _fish(path: Path, line: str) -> set[str]:
    script = 'rollout-console completion fish | source; complete -C "rollout-console $LINE"'
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env={**_env(path), "LINE": line},
        cwd=path.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {row.split("\t")[0] for row in done.stdout.splitlines()}


@pytest.mark.parametrize(("line", "offered"), LINES.items())
def test_bash_offers_what_fits(path: Path, line: str, offered: set[str]) -> None:
    need("bash")
    assert _bash(path, line) == offered
    assert not (path.parent / "stolen").exists(), "a name of the file was run as a command"


def test_fish_offers_what_fits(path: Path) -> None:
    need("fish")
    for line, offered in LINES.items():
        assert _fish(path, line) == offered, line
    assert not (path.parent / "stolen").exists()


@pytest.mark.slow
def test_zsh_offers_what_fits(path: Path) -> None:
    need("zsh")
    (path.parent / ".zshrc").write_text(
        f"export PATH={_env(path)['PATH']}\nPS1='> '\nautoload -U compinit\ncompinit -u\n"
        'eval "$(rollout-console completion zsh)"\n'
    )
    env = {"ROLLOUT_FILE": str(path), "ZDOTDIR": str(path.parent), "HOME": str(path.parent)}
    with terminal("zsh", (100, 30), env, path.parent) as shell:
        shell.until(lambda screen: screen.startswith(">"))
        for typed, whole in (
            ("rollback cl", "rollback claude"),
            ("rollback chat g", "rollback chat globex.eu"),
            ("-f rollout.toml rollback claude i", "-f rollout.toml rollback claude initech"),
            ("decide chat --org a", "decide chat --org acme"),
        ):
            shell.type(f"rollout-console {typed}")
            shell.press("Tab")
            shell.until(lambda screen, whole=whole: f"> rollout-console {whole}" in screen)  # type: ignore[misc]
            shell.press("C-c")
            # Keys that come before the line editor is back may be dropped, or change places.
            shell.until(lambda screen: screen.rstrip().endswith("\n>"))
        shell.type("rollout-console rollback ")
        shell.press("Tab", "Tab")
        shell.until(lambda screen: "chat" in screen and "claude" in screen.rsplit(">", 1)[1])
    assert not (path.parent / "stolen").exists()


def test_a_broken_file_offers_no_names_and_no_error(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text("schema = ")
    assert run(["-f", str(path), "completion", "--names", "routes"]) == 0
    assert capsys.readouterr() == ("\n", "")


def test_which_shell_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion"]) == 2
    assert capsys.readouterr().err == "rollout-console: which shell? bash, zsh or fish\n"
