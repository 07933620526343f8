"""The changed lines of two versions of the rollout file."""

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence


def changed_lines(before: bytes, after: bytes) -> tuple[str, ...]:
    """Return the lines that differ, with ``-`` and ``+``, of two texts in UTF-8.

    A patience diff: lines that are unique in both texts are anchors, and difflib compares only what
    is between two of them. Alone it takes seconds for hundreds of changes among 10,000 lines. The
    common prefix and suffix are stripped before, as most changes are of one line.
    """
    start = before.rfind(b"\n", 0, _shared(before, after)) + 1
    one, two = before[start:], after[start:]
    tail = _shared(one[::-1], two[::-1])
    # Align the suffix to the start of a line: all lines from there on are equal.
    kept = one.find(b"\n", len(one) - tail)
    end = len(one) - kept if kept >= 0 else 0
    old = one[: len(one) - end].decode("utf-8", "replace").split("\n")
    new = two[: len(two) - end].decode("utf-8", "replace").split("\n")
    found: list[str] = []
    for first, end, new_first, new_end in _between_anchors(old, new):
        lines = difflib.unified_diff(old[first:end], new[new_first:new_end], lineterm="", n=0)
        found += [line for line in lines if not line.startswith("@@")][2:]  # two lines of header
    return tuple(found)


def _between_anchors(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the ranges of lines between two anchors, in both texts, where there are any."""
    at = new_at = 0
    for anchor, new_anchor in (*_anchors(old, new), (len(old), len(new))):
        if anchor > at or new_anchor > new_at:
            yield at, anchor, new_at, new_anchor
        at, new_at = anchor + 1, new_anchor + 1


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Return the longest list of pairs of equal lines, unique in both texts, in order in both."""
    counts, new_counts = Counter(old), Counter(new)
    places = {line: at for at, line in enumerate(new) if new_counts[line] == 1}
    pairs = [
        (at, places[line]) for at, line in enumerate(old) if counts[line] == 1 and line in places
    ]
    # Patience sorting: the longest increasing subsequence of the places in the new text.
    lowest: list[int] = []
    tops: list[int] = []
    links: list[int] = []
    for index, (_, place) in enumerate(pairs):
        pile = bisect_left(lowest, place)
        links.append(tops[pile - 1] if pile else -1)
        lowest[pile : pile + 1], tops[pile : pile + 1] = [place], [index]
    found = []
    index = tops[-1] if tops else -1
    while index >= 0:
        found.append(pairs[index])
        index = links[index]
    return found[::-1]


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
