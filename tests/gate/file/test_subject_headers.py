"""``[serve]``: the names of headers that applications already send."""

import pytest

from rollout_gate.file.errors import FileError
from rollout_gate.file.model import SubjectHeaders
from rollout_gate.file.parse import parse

FILE = """\
schema = 1
algorithm = "fractional-v3"
[serve]
{line}
[routes.chat]
format = "openai_chat_completions"
"""


def test_names_are_of_any_case() -> None:
    line = 'org_header = "X-Org-Id"\nkey_header = "x_user"\nflags_header = "Feature-Flags"'
    found = parse(FILE.format(line=line).encode())
    assert found.subject_headers == SubjectHeaders("x-org-id", "x_user", flags="feature-flags")
    assert found.warnings == ()
    assert parse(FILE.format(line="").encode()).subject_headers == SubjectHeaders()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('org_header = ""', "is empty"),
        ("org_header = 7", "must be a string"),
        ('org_header = "X Org"', "must be the name of a header"),
        ('org_header = "X-Org:"', "must be the name of a header"),
        ('org_header = "X-Org\\n"', "must be the name of a header"),
        ('org_header = "Authorization"', "may be a secret"),
        ('key_header = "cookie"', "may be a secret"),
        ('org_header = "X-Rollout-Token"', "may be a secret"),
        ('org_header = "Host"', "says no subject"),
    ],
)
def test_what_is_no_header_of_a_subject(line: str, says: str) -> None:
    with pytest.raises(FileError) as raised:
        parse(FILE.format(line=line).encode())
    assert says in str(raised.value)
    assert "line 4, column" in str(raised.value)


def test_an_unknown_key_is_a_warning() -> None:
    (warning,) = parse(FILE.format(line='org_heder = "X-Org"').encode()).warnings
    assert "did you mean 'org_header'" in str(warning)
