"""The changed lines of two versions of the rollout file."""

import difflib


def changed_lines(before: bytes, after: bytes) -> tuple[str, ...]:
    """Return the lines that differ, with ``-`` and ``+``, of two texts in UTF-8.

    The common prefix and suffix are stripped before difflib, for speed.
    """
    start = before.rfind(b"\n", 0, _shared(before, after)) + 1
    one, two = before[start:], after[start:]
    tail = _shared(one[::-1], two[::-1])
    # Align the suffix to the start of a line: all lines from there on are equal.
    kept = one.find(b"\n", len(one) - tail)
    end = len(one) - kept if kept >= 0 else 0
    old = one[: len(one) - end].decode("utf-8", "replace").split("\n")
    new = two[: len(two) - end].decode("utf-8", "replace").split("\n")
    lines = difflib.unified_diff(old, new, lineterm="", n=0)
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _shared(one: bytes, other: bytes) -> int:
    """Return the length in bytes of the common prefix of two texts, by binary search."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
