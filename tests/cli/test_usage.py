"""What is misspelled on a command line: the nearest name, and the usage of that command."""

from pathlib import Path

import pytest

from rollout_console.cli.exit_codes import USAGE
from rollout_console.cli.main import run


@pytest.mark.parametrize(
    ("line", "usage", "said"),
    [
        ("rolback chat", "", "there is no command 'rolback'; did you mean rollback?"),
        ("frobnicate", "", "there is no command 'frobnicate'; there are demo, sim, init, show,"),
        ("keys lst", "keys", "there is no command 'lst'; did you mean list?"),
        ("keys list --sort nam", "keys list", "--sort: there is no choice 'nam'; did you mean"),
        ("set chat acme 5 --reson x", "set", "no option '--reson' here; did you mean --reason?"),
        ("set chat acme 5 --y", "set", "there is no option '--y' here"),
        ("resume a b c", "resume", "there is no argument 'c' here"),
        ("resume -- a b c", "resume", "there is no argument "),
        ("--fil x show", "", "there is no option '--fil' here; did you mean --file?"),
        ("show --jsn", "show", "there is no option '--jsn' here; did you mean --json?"),
        ("export flgd", "export", "there is no choice 'flgd'; did you mean flagd?"),
        ("decide chat", "decide", "the following arguments are required: --org"),
        ("resume sk-canary0123456789abcdef0123 x y", "resume", "a credential is not given"),
        ("show --sk-canary0123456789abcdef0123", "show", "a credential is not given"),
        ("sk-canary0123456789abcdef0123", "", "a credential is not given"),
    ],
)
def test_a_usage_error_names_what_was_meant(
    line: str, usage: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(line.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (USAGE, "")
    name = f"rollout-console {usage}".strip()
    assert err.startswith(f"usage: {name} [")
    assert f"{name}: error: " in err.splitlines()[-1]
    assert said in err
    assert "canary" not in err


BAD = "\udcff"  # how a byte that is no UTF-8 arrives in an argument


def test_bytes_that_are_no_utf_8_end_no_rollback_and_no_history(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = file.with_name(f"r{BAD}.toml")
    file.rename(named)
    where = ["-f", str(named)]
    assert run(["rollback", "chat", "--yes", "--reason", f"{BAD} smells", *where]) == 0
    assert run(["undo", "--yes", "--reason", "over", *where]) == 0
    assert run(["history", *where]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("smells") == 1
    assert len([line for line in out.splitlines() if "chat" in line and "done" not in line]) == 2


@pytest.mark.parametrize(
    "words", [["phase", "chat", "--owner", BAD, "--yes"], ["set", "chat", "acme", BAD, "--yes"],
              ["decide", "chat", "--org", "a", "--key", BAD], ["keys", "create", BAD]],
)  # fmt: skip
def test_bytes_that_are_no_utf_8_are_refused_elsewhere(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    before = file.read_bytes()
    with pytest.raises(SystemExit, match="2"):
        run([*words, "-f", str(file)])
    assert "it is not UTF-8" in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ("set", "chat", "acme", "10", "--dry-run"),
        ("set", "chat", "--dry-run", "acme", "10"),
        ("set", "--dry-run", "chat", "acme", "10"),
        ("set", "chat", "acme", "--dry-run", "--yes", "10"),
        ("set", "--dry-run", "--", "chat", "acme", "10"),
    ],
    ids=" ".join,
)
def test_options_may_stand_between_the_names(
    words: tuple[str, ...], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-f", str(file), *words]) == 0
    assert "+acme = 10" in capsys.readouterr().out
