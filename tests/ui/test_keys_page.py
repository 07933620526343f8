"""The page of keys is what the bindings are."""

from tests.support.keys_page import PATH, made


def test_the_page_is_what_the_bindings_are() -> None:
    assert PATH.read_text(encoding="utf-8") == made(), "run python -m tests.support.keys_page"
