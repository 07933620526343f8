"""Orgs from a file: lines, a column, an access log; what is no org is named with its line."""

from pathlib import Path

import pytest

from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.org_list import read_orgs

CASES = {
    "lines": (b"acme\nglobex.eu\n\nacme\n initech \n", "", ["acme", "globex.eu", "initech"]),
    "no last newline, CRLF, BOM": (b"\xef\xbb\xbfacme\r\nb", "", ["acme", "b"]),
    "unicode": ("käse & co\n日本\n".encode(), "", ["käse & co", "日本"]),
    "one column with a header": (b"org\nacme\nb\n", "", ["acme", "b"]),
    "quoted": (b'id,org\n1,"a, ""b"""\n', "", ['a, "b"']),
    "semicolons": (b"id;Tenant ID\n1;acme\n2;b\n", "", ["acme", "b"]),
    "tabs, named": (b"id\tplan\n1\tgold\n2\tfree\n", "plan", ["gold", "free"]),
    "access log": (b'{"org": "acme", "route": "chat"}\n{"org": "b"}\n', "", ["acme", "b"]),
    "numbers": (b'{"org_id": 17}\n{"org_id": 18}\n', "", ["17", "18"]),
    "with quotes": (b'"acme"\n"b"\n', "", ["acme", "b"]),
}


@pytest.mark.parametrize("name", CASES)
def test_orgs_in_the_order_of_the_file_each_once(name: str, tmp_path: Path) -> None:
    data, field, orgs = CASES[name]
    path = tmp_path / "orgs"
    path.write_bytes(data)
    assert read_orgs(path, org_field=field)[0] == orgs


def test_what_is_no_org_is_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "orgs.txt"
    path.write_bytes(b"acme\na\x1b[1m\n*\nsk-canary-7f3a9c55e1aa\n\xff\n")
    orgs, skipped = read_orgs(path)
    assert orgs == ["acme"]
    assert sorted(line for _, _, line in skipped.all()) == [2, 3, 4]
    assert skipped.all()[0][1] == 2, "the line that is not UTF-8 is no name either"
    assert "canary" not in str(skipped.all())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "--org-field"),
        (b'{"x": 1}\n', "--org-field"),
        (b"*\n", "names no org; line 1"),
        (b'h - - [x] "GET / HTTP/1.1" 200 1\n', "--from-openai-log"),
    ],
)
def test_without_orgs_it_says_what_to_do(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "orgs"
    path.write_bytes(data)
    with pytest.raises(ScaffoldError, match=said):
        read_orgs(path)
