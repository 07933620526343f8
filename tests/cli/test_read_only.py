"""``--read-only``: whatever is asked, no byte beside the rollout file changes."""

from pathlib import Path

import pytest

from rollout_console.cli.main import run

WRITES = [
    ("set", "chat", "acme", "50", "--yes", "--reason", "because of it", "--override-guard"),
    ("rollback", "--yes"),
    ("resume", "chat", "initech", "--yes", "--reason", "because of it", "--override-guard"),
    ("undo", "--yes"),
    ("restore", "0000000", "--yes"),
    ("phase", "chat", "--tick", "pilot.cost"),
    ("phase", "chat", "--owner", "jo"),
    ("phase", "claude", "--to", "inventory", "--yes"),
    ("playbook",),
    ("playbook", "--output", "playbook.md"),
    ("guard", "--put-back", "chat"),
    ("export", "flagd", "--out", "flags.json"),
    ("export", "schema", "--out", "schema.json"),
    ("models", "--mark-seen", "--offline"),
    ("jobs", "poll", "--once"),
    ("jobs", "cancel", "ldtask_1", "--yes"),
    ("jobs", "forget", "chat", "order-1", "--org", "acme", "--yes"),
    ("init", "--route", "chat", "--format", "openai_responses", "--yes", "--offline"),
]
LOOKS = [("show",), ("history",), ("check", "--offline"), ("export", "flagd"), ("jobs", "list")]


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", WRITES, ids=" ".join)
def test_what_would_write_is_refused(
    words: tuple[str, ...], file: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(file.parent)
    before = _tree(file.parent)
    code = run(["--read-only", "-f", str(file), *words])
    assert code in (1, 2, 4), capsys.readouterr()
    assert "read-only" in capsys.readouterr().err or words[0] in ("undo", "restore")
    assert _tree(file.parent) == before


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_what_looks_writes_nothing_either(
    words: tuple[str, ...], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    before = _tree(file.parent)
    run(["--read-only", "-f", str(file), *words])
    assert _tree(file.parent) == before
