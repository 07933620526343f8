"""Errors of the domain.

RolloutError
├── FileError        the text of a rollout file cannot be used; carries every problem found
├── UnknownRoute     a route that the file does not have
├── UnknownOrg       an org that a route has no line for, where one is needed
├── UnknownName      an org, alias or flag that is in neither the file nor the access log
└── PercentError     a percent that is not 0 to 100 with at most two decimals
"""

from collections.abc import Sequence

import msgspec


class RolloutError(Exception):
    """Base class of the errors of this package; ``str()`` is one clear sentence."""


class Problem(msgspec.Struct, frozen=True):
    """One problem in a rollout file.

    ``line`` and ``column`` count from 1; 0 means that the position is not known.
    ``where`` is the dotted path of the field, empty for a syntax problem.
    """

    message: str
    line: int = 0
    column: int = 0
    where: str = ""

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}: " if self.line else ""
        return f"{place}{self.where + ' ' if self.where else ''}{self.message}"


class FileError(RolloutError):
    """The text is not a usable rollout file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - 1
        tail = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
        super().__init__(f"{self.problems[0]}{tail}")


class UnknownRoute(RolloutError):
    """A route was named that the file does not have."""

    def __init__(self, route: str, known: Sequence[str]) -> None:
        from difflib import get_close_matches  # lazy import: applications do not need it

        close = get_close_matches(route, known, 3, 0.6)
        near = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        shown = ", ".join(sorted(known)[:8]) or "none"
        super().__init__(f"the file has no route {route!r}; {near}it has: {shown}")


class UnknownOrg(RolloutError):
    """An org was named that the route has no line for."""

    def __init__(self, route: str, org: str, known: Sequence[str]) -> None:
        from difflib import get_close_matches  # lazy import: applications do not need it

        close = get_close_matches(org, known, 3, 0.6)
        shown = f"did you mean {' or '.join(map(repr, close))}?" if close else "see show"
        super().__init__(f"route {route!r} has no org {org!r}; {shown}")


class UnknownName(RolloutError):
    """A name that neither the file nor the access log has: most likely a typing error.

    ``makes_new`` is whether what was asked for can make a line for it.
    """

    def __init__(
        self, route: str, what: str, name: str, known: Sequence[str], *, makes_new: bool = True
    ) -> None:
        from difflib import get_close_matches  # lazy import: applications do not need it

        close = get_close_matches(name, dict.fromkeys(known), 3, 0.6)
        hints = [f"did you mean {' or '.join(map(repr, close))}?"] if close else []
        hints += ["--new makes a line for it"] if makes_new else [] if close else ["see show"]
        super().__init__(
            f"route {route!r} has no {what} {name!r}, in the file or in the log; {' '.join(hints)}"
        )


class PercentError(RolloutError):
    """A percent outside 0 to 100, or with more than two decimals."""
