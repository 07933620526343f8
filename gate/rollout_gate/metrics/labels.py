"""Label values: bounded in number and length, and free of what breaks a scrape.

One label value that no exposition format can carry (a lone surrogate, a NUL) fails the scrape of
all metrics of a process, and each new value is memory for as long as the process lives. Names of
orgs come from requests, so both are bounded here.
"""

import unicodedata

OTHERS = "(others)"
"""The label value of all names that have none of their own."""

MOST_ORGS = 1000
"""How many orgs have label values of their own, by default."""

MOST_NAMES = 1000
"""How many routes, and models, have: those of a file are few."""

MOST_LENGTH = 256
"""Length in characters to which a label value is truncated; the console reads no longer org."""

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Unicode categories of what is invisible, or changes the direction: shown as an escape."""


def label_value(name: str) -> str:
    """Return a name as a label value; for all but hostile names it is the name."""
    cut = name[:MOST_LENGTH]
    if cut.isprintable():
        return cut
    return "".join(_shown(one) for one in cut)[:MOST_LENGTH]


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")


class BoundedNames:
    """Gives at most ``most`` names a label value of their own, by first come; not thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: set[str] = set()
        self._known: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._values)

    def known(self, name: str) -> str | None:
        """Return the label value of a name that was asked for before, None for another one."""
        return self._known.get(name)

    def value(self, name: str) -> str:
        """Return the label value of a name, OTHERS where there are too many."""
        found = self._known.get(name)
        if found is not None:
            return found
        value = label_value(name)
        if value not in self._values:
            if len(self._values) >= self._most:
                return OTHERS
            self._values.add(value)
        if len(name) <= MOST_LENGTH and len(self._known) < 2 * self._most:
            self._known[name] = value  # so that neither names nor their number fill the memory
        return value
