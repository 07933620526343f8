"""Text from outside, as a terminal may show it."""

from rollout_console.common import safe_text as module
from rollout_console.common.safe_text import visible


def test_long_texts_of_a_server_are_not_kept() -> None:
    """A cache of answers grows with every look at a server whose answers differ."""
    before = module._cached.cache_info().currsize
    assert visible("é\x1b" + "A" * 100_000) == "é·" + "A" * 100_000
    assert visible("A" * 100_000) == "A" * 100_000
    assert module._cached.cache_info().currsize == before
    assert visible("é\u202eb") == visible("é\u202eb") == "é·b"
    assert module._cached.cache_info().currsize <= before + 1
