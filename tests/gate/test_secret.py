"""What looks like a credential is kept nowhere, and what does not is left as it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_gate import secret
from rollout_gate.secret import is_credential, redacted

GOOGLE = "AIza" + "SyA1234567890abcdefghijklmnopqrstuvw"
FORMS = {
    "sk-proj-abcdef123456": "sk-…",
    "mt-abcdef": "mt-…",
    "NAME_sk-abcdef1234567": "NAME_sk-…",
    "SK-PROJ-ABCDEF1234": "SK-P…",
    GOOGLE: "AIza…",
    "ghp_" + "a" * 30: "ghp_…",
    "xoxb-123456789012-abc": "xoxb…",
    "AKIA" + "ABCDEFGH12345678": "AKIA…",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln": "eyJh…",
    "Bearer abcdefgh.ijkl": "Bearer …",
    "https://user:pa55word@host/x": "https://user:…@host/x",
    "https://hooks.slack.com/services/" + "T00/B00/XXXX": "https://hooks.slack.com/services/…",
    "password=hunter2": "password=…",
    "OPENAI_API_KEY=abcd1234": "OPENAI_API_KEY=…",
    '"client_secret": "abcd1234"': '"client_secret": "…"',
    "-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----": "-----BEGIN PRIVATE KEY-----…",
}


@pytest.mark.parametrize(("text", "shown"), FORMS.items())
def test_a_credential_is_redacted_wherever_it_stands(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(f"leaked: {text} at 14:00") == f"leaked: {shown} at 14:00"
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "5xx after 14:00", "the key is lost: retry", "token: expired yesterday", "max_tokens: 5000",
        "http://127.0.0.1:8000/v1", "a key: none", "basic checks done", "secretary@example.com",
        "eyJ", "AIza", "xox", "mask-abcdefg",
    ],
)  # fmt: skip
def test_other_words_are_left_as_they_are(text: str) -> None:
    assert redacted(text) == text
    assert not is_credential(text)


def test_a_name_that_is_a_credential_is_known() -> None:
    assert is_credential(GOOGLE)
    assert is_credential("sk-abcdefgh12345678")
    assert not is_credential("sk-telecom")


MARKS = re.compile(
    r"(?:sk|mt)-|AIza|gh[oprsu]_|github_pat_|xox|AKIA|ASIA|eyJ|bearer |basic |://|slack|-----BEGIN"
    r"|passw|pwd|passphrase|secret|key|token",
    re.IGNORECASE,
)
PARTS = [
    "sk-",
    "MT-",
    "aiza",
    "GhO_",
    "xo",
    "x",
    "pa\u017f\u017fw",
    "\u212aey",
    "tok",
    "en",
    "\u00e9",
]


@given(st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=3)), max_size=6).map("".join))
def test_a_text_without_a_mark_is_known_without_a_pattern(text: str) -> None:
    assert secret._has_mark(text) == (MARKS.search(text) is not None)
