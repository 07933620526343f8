"""What is gone from a file so that more goes to TokenLab."""

import pytest

from rollout_gate.file.errors import RolloutError
from rollout_gate.file.parse import parse
from rollout_gate.file.truncation import Version, absent, missing

HEAD = """
schema = 1
algorithm = "fractional-v3"
"""
FULL = """
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "https://staging.example"
[routes.chat]
format = "openai_chat_completions"
default_percent = 100
[routes.chat.orgs]
acme = { rolled_back = true }
globex = 5
[routes.chat.orgs.initech]
percent = 50
rolled_back = true
[routes.chat.keys]
batch = 0
[routes.chat.flags]
beta = 0
[routes.claude]
format = "anthropic_messages"
default_percent = 10
rolled_back = true
"""


END = "[last]\nline = 1\n"
"""What stood at the end of the whole text and is gone of one that was cut off."""


def gone(before: str, after: str) -> str:
    return missing(version(before + END), version(after))


def version(text: str) -> Version:
    return Version(parse(text.encode()), text)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("acme = { rolled_back = true }\n", "routes.chat.orgs.acme"),
        ("globex = 5\n", "routes.chat.orgs.globex"),
        ("percent = 50\nrolled_back = true\n", "routes.chat.orgs.initech"),
        ("batch = 0\n", "routes.chat.keys.batch"),
        ("beta = 0\n", "routes.chat.flags.beta"),
        ('base_url = "https://staging.example"\n', "tokenlab.base_url"),
    ],
)
def test_a_line_whose_absence_sends_more_to_tokenlab(line: str, found: str) -> None:
    assert gone(FULL, FULL.replace(line, "")) == found


def test_a_latch_at_the_end_of_a_table_is_cut_off_with_it() -> None:
    assert gone(FULL, FULL.removesuffix("rolled_back = true\n")) == "routes.claude.rolled_back"
    cut = FULL[: FULL.index("rolled_back = true\n[routes.chat.keys]")]
    assert gone(FULL, cut) == "routes.chat.orgs.initech.rolled_back"
    latched = FULL.replace("schema = 1", "schema = 1\nrolled_back = true")
    assert gone(latched, FULL) == "rolled_back"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("acme = { rolled_back = true }", "acme = 25"),
        ("acme = { rolled_back = true }", "acme = { percent = 25 }"),
        ("percent = 50\nrolled_back = true", "percent = 50\nrolled_back = false"),
        ("default_percent = 10\nrolled_back = true", "default_percent = 10\nrolled_back = false"),
        ("globex = 5", "globex = 100"),
        ("batch = 0", "batch = 100"),
        ("staging", "other"),
    ],
)
def test_what_is_said_is_not_gone(old: str, new: str) -> None:
    assert old in FULL
    assert gone(FULL, FULL.replace(old, new)) == ""


@pytest.mark.parametrize("name", ["acme", "globex"])
def test_a_line_whose_absence_sends_less_or_as_much_may_go(name: str) -> None:
    calm = HEAD + (
        '[routes.chat]\nformat = "openai_chat_completions"\n[routes.chat.orgs]\n'
        "acme = { rolled_back = true }\nglobex = 50\nother = 10\n"
    )
    lines = [line for line in calm.splitlines() if not line.startswith(name)]
    assert gone(calm, "\n".join(lines)) == ""


def test_a_route_that_is_gone_leaves_its_requests_to_the_address_of_the_sdk() -> None:
    assert gone(FULL, FULL[: FULL.index("[routes.claude]")]) == "routes.claude"


def test_so_does_its_previous_address() -> None:
    address = 'previous_base_url = "https://api.example/v1"\n'
    assert gone(FULL + address, FULL) == "routes.claude.previous_base_url"


def test_what_is_taken_out_of_a_text_that_goes_on_behind_it_was_not_cut_off() -> None:
    one, other = version(FULL), version(FULL.replace("acme = { rolled_back = true }\n", ""))
    assert missing(one, other) == ""
    assert not absent(one, other)


def test_what_has_no_effect_yet_is_absent_all_the_same() -> None:
    before = version(FULL.replace("schema = 1", "schema = 1\nrolled_back = true"))
    calm = HEAD + '[tokenlab]\nbase_url = "https://staging.example"\n'
    calm += '[routes.chat]\nformat = "openai_chat_completions"\n'
    after = version(calm + '[routes.claude]\nformat = "anthropic_messages"\n')
    assert missing(before, after) == ""
    assert absent(before, after)


def test_of_every_beginning_of_a_file_none_sends_more_unseen() -> None:
    """Cut anywhere, it is no file, or sends no more than before, or is seen to lack something."""
    before = version(FULL)
    for end in range(len(FULL)):
        text = FULL[:end]
        try:
            found = version(text)
        except RolloutError:
            continue
        if missing(before, found):
            continue
        after = found.file
        assert after.base_url == before.file.base_url
        for name, route in after.routes.items():
            old = before.file.routes[name]
            for org in (*old.orgs, "another"):
                was = 0 if old.rolled_back or old.org_rolled_back(org) else old.org_points(org)
                now = (
                    0 if route.rolled_back or route.org_rolled_back(org) else route.org_points(org)
                )
                assert now <= was, (end, name, org)
