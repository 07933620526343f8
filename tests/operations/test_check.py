"""The offline checks: one broken thing each, and the rule that finds it."""

from pathlib import Path

import pytest

from console.operations.check import check_offline


def test_the_sample_is_good(file: Path) -> None:
    assert [result for result in check_offline(file) if not result.ok] == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("[routes.chat]", "[routes.chat", "file.valid"),
        ("acme = 25", "acme = 101", "file.valid"),
        ("phase = ", "fase = ", "file.known_keys"),
        ("https://api.tokenlab.sh", "https://api.tokenlab.sh/v1", "route.base_url"),
        ("https://api.tokenlab.sh", "http://api.tokenlab.sh", "route.base_url"),
        ("https://api.tokenlab.sh", "https://u:p@api.tokenlab.sh", "route.base_url"),
        ("api.openai.com/v1", "api.openai.com", "route.base_url"),
        ("api.openai.com/v1", "api.openai.com/v1/v1", "route.base_url"),
        ("api.anthropic.com", "api.anthropic.com/v1", "route.base_url"),
        ('previous_base_url = "https://api.anthropic.com"', "", "route.base_url"),
        ('model = "gpt-5.4"', "", "route.model"),
        ('phase = "rollout"', 'phase = "inventory"', "route.phase"),
    ],
)
def test_each_rule_finds_its_fault(file: Path, old: str, new: str, rule: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    bad = [result for result in check_offline(file) if not result.ok]
    assert rule in {result.rule for result in bad}
    assert all(result.fix and result.where and result.reason for result in bad)
    assert "u:p" not in str(bad)


def test_a_missing_file_is_a_result_too(tmp_path: Path) -> None:
    (only,) = check_offline(tmp_path / "none.toml")
    assert (only.rule, only.ok) == ("file.readable", False)
