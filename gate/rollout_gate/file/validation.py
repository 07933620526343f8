"""Validate the fields of one TOML table, collecting every problem instead of stopping at one."""

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from rollout_gate.file.errors import PercentError, Problem
from rollout_gate.file.freeze_windows import FORMS, Freeze, parse_freeze
from rollout_gate.file.health_queries import problem_of
from rollout_gate.file.percent import basis_points
from rollout_gate.file.positions import Layout, Path

_DURATION = re.compile(r"([1-9][0-9]{0,6})(s|m|h|d)")
_PRICE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,18})?", re.ASCII)
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?", re.ASCII)
_MOST_PRICE = 10**6
_MOST_AMOUNT = 10**9
HEADER_PATTERN = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
"""The names of HTTP headers: a token of RFC 9110, 5.6.2."""
_NO_SUBJECT = frozenset((
    "authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key",
    "x-rollout-token",
    "host", "connection", "content-length", "content-type", "transfer-encoding",
))  # fmt: skip
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOST_SHOWN = 60


class Problems:
    """Errors and warnings by path; their positions are computed lazily, only if there are any."""

    def __init__(self) -> None:
        self.errors: list[tuple[Path, str]] = []
        self.warnings: list[tuple[Path, str]] = []

    def located(self, scan: Callable[[], Layout]) -> tuple[list[Problem], list[Problem]]:
        """Return errors and warnings, each with its line and column, in the file's order."""
        if not self.errors and not self.warnings:
            return [], []
        layout = scan()

        def locate(found: Iterable[tuple[Path, str]]) -> list[Problem]:
            problems = [
                Problem(message, *layout.place(path), where=dotted(path)) for path, message in found
            ]
            return sorted(problems, key=lambda p: (p.line, p.column))

        return locate(self.errors), locate(self.warnings)


class Fields:
    """One table of the file.

    Each reader method returns the value, or records an error and returns the default.
    """

    def __init__(self, table: dict[str, Any], path: Path, problems: Problems) -> None:
        self._table = table
        self._path = path
        self._problems = problems
        self._known: set[str] = set()

    def error(self, path: Path, message: str) -> None:
        """Record an error at ``path`` below this table."""
        self._problems.errors.append(((*self._path, *path), message))

    def warn(self, path: Path, message: str) -> None:
        """Record a warning at ``path`` below this table."""
        self._problems.warnings.append(((*self._path, *path), message))

    def has(self, name: str) -> bool:
        """Return whether the table has a key."""
        return name in self._table

    def names(self) -> list[str]:
        """Return every key; all of them count as known."""
        self._known.update(self._table)
        return list(self._table)

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return every key with its raw value; all of them count as known."""
        self._known.update(self._table)
        return self._table.items()

    def table(self, name: str) -> "Fields":
        """Return the sub-table ``name``; an empty one where it is missing."""
        value = self._take(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.error((name,), f"must be a table, not {kind_of(value)}")
            value = {}
        return Fields(value, (*self._path, name), self._problems)

    def text(self, name: str, default: str) -> str:
        """Return a string, the default where it is missing."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.error((name,), f"must be a string, not {kind_of(value)}")
            return default
        return value

    def name(self, name: str) -> str:
        """Return a string that is not empty, as it is not what was meant; empty where missing."""
        value = self._take(name)
        if value is not None and not isinstance(value, str):
            self.error((name,), f"must be a string, not {kind_of(value)}")
        elif value == "":
            self.error((name,), "is empty; write a name, or leave it out")
        return value if isinstance(value, str) else ""

    def header(self, name: str) -> str:
        """Return the name of an HTTP header (RFC 9110, 5.1), lower-case; empty where missing.

        It is none that carries a credential: what a subject is made of is logged.
        """
        text = self.name(name)
        if text and re.fullmatch(HEADER_PATTERN, text) is None:
            like = 'the name of a header such as "X-Org-Id"'
            self.error((name,), f"must be {like}, not {show(text)}")
        elif text.lower() in _NO_SUBJECT:
            self.error((name,), f"must not be {text}, which says no subject, and may be a secret")
        else:
            return text.lower()
        return ""

    def promql(self, name: str, *, may_be_empty: bool) -> str | None:
        """Return a query of Prometheus, an empty one where it is turned off; None where missing."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.error((name,), f"must be a string, not {kind_of(value)}")
            return None
        if not value.strip():
            if not may_be_empty:
                self.error(
                    (name,), "is empty; without it there is no figure: write it, or leave it out"
                )
            return ""
        if problem := problem_of(value):
            self.error((name,), problem)
            return None
        return value

    def path(self, name: str, default: str) -> str:
        """Return a file path, which is not empty and has no NUL byte."""
        text = self.text(name, default)
        if not text or "\0" in text:
            self.error((name,), "must be a path")
            return default
        return text

    def base_url(self, name: str, default: str) -> str:
        """Return a base URL with scheme http or https and a host; nothing else is validated.

        It may be empty, which means none, where the default is.
        """
        url = self.text(name, default)
        if url == default:
            return url
        try:
            parts = urlsplit(url)
            _ = parts.port  # parsed lazily: raises ValueError for a bad port
        except ValueError as error:
            self.error((name,), f"is no URL: {error}")
            return default
        if any(char.isspace() or not char.isprintable() for char in url):
            self.error((name,), "is no URL: there is a space or an invisible character in it")
            return default
        if parts.scheme not in ("http", "https") or not parts.hostname:
            what = f"{show(url)} has none" if url else "it is empty"
            self.error((name,), f"must begin with http:// or https:// and have a host; {what}")
            return default
        return url

    def choice(self, name: str, allowed: Sequence[str], default: str | None) -> str:
        """Return one of ``allowed``; a missing one is an error where there is no default."""
        value = self._take(name)
        if value is None and default is not None:
            return default
        listed = ", ".join(allowed)
        if value is None:
            self.error((), f"needs {name!r}: one of {listed}")
        elif value not in allowed:
            self.error((name,), f"must be one of {listed}, not {show(value)}")
        else:
            return str(value)
        return allowed[0]

    def flag(self, name: str) -> bool:
        """Return a bool, false where it is missing."""
        value = self._take(name)
        if value is not None and not isinstance(value, bool):
            self.error((name,), f"must be true or false, not {kind_of(value)}")
        return value is True

    def percent(self, name: str, default: int) -> int:
        """Return a percent in basis points."""
        value = self._take(name)
        if value is None:
            return default
        try:
            return basis_points(value)
        except PercentError as error:
            self.error((name,), str(error))
            return default

    def limit(self, name: str, default: float) -> float:
        """Return a limit in percent, above 0 and below 100."""
        number = self._number(name)
        if number is None:
            return default
        if not 0 < number < 100:
            self.error((name,), f"must be above 0 and below 100, not {show(number)}")
            return default
        return float(number)

    def whole(self, name: str, default: int, *, least: int) -> int:
        """Return an integer, ``least`` to 10**9."""
        number = self._number(name)
        if number is None:
            return default
        if number != number.to_integral_value() or not least <= number <= 10**9:
            self.error((name,), f"must be a whole number from {least}, not {show(number)}")
            return default
        return int(number)

    def money(self, name: str, default: Decimal) -> Decimal:
        """Return an amount of US dollars, 0 to 10**9."""
        number = self._number(name)
        if number is None:
            return default
        if not 0 <= number <= 10**9:
            self.error((name,), f"must be an amount from 0, not {show(number)}")
            return default
        return number

    def price(self, name: str) -> Decimal | None:
        """Return a price in US dollars, a number or a decimal string; None where it is missing."""
        return self._decimal(name, "a price", "2.50", _PRICE, _MOST_PRICE)

    def amount(self, name: str) -> Decimal | None:
        """Return an amount above 0 and under 10**9, a number or a decimal string.

        None where it is wrong or missing, which is an error as well.
        """
        if name not in self._table:
            self._take(name)
            self.error((), f'needs {name!r}: an amount of US dollars such as "2500"')
            return None
        found = self._decimal(name, "an amount", "2500", _AMOUNT, _MOST_AMOUNT)
        if found is not None and not found:
            self.error((name,), f"must be an amount above 0, not {show(self._table[name])}")
            return None
        return found

    def _decimal(
        self, name: str, what: str, like: str, form: re.Pattern[str], most: int
    ) -> Decimal | None:
        value = self._table.get(name)
        if isinstance(value, str):
            self._known.add(name)
            if form.fullmatch(value) is None:
                self.error((name,), f'must be {what} such as "{like}", not {show(value)}')
                return None
            return Decimal(value)
        number = self._number(name)
        if number is None:
            return None
        # A number of any exponent is TOML: exact sums must not grow with it.
        if not 0 <= number < most or form.fullmatch(f"{number:f}") is None:
            self.error((name,), f"must be {what} under {most}, not {show(number)}")
            return None
        return number

    def duration(self, name: str, default: int, *, least: int, most: int) -> int:
        """Parse a duration such as ``"90s"``, ``"5m"``, ``"1h"`` into seconds."""
        value = self._take(name)
        if value is None:
            return default
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            self.error(
                (name,), f'must be a duration such as "90s", "5m" or "1h", not {show(value)}'
            )
            return default
        seconds = int(found.group(1)) * _SECONDS[found.group(2)]
        if not least <= seconds <= most:
            self.error((name,), f"must be from {least} s to {most} s, not {show(value)}")
            return default
        return seconds

    def steps(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return a strictly rising ladder of shares, in basis points."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, list) or not value:
            self.error((name,), "must be an array of percents such as [1, 10, 100]")
            return default
        try:
            points = tuple(basis_points(step) for step in value)
        except PercentError as error:
            self.error((name,), f"has a step that {error}")
            return default
        if points[0] == 0 or any(b <= a for a, b in itertools.pairwise(points)):
            self.error((name,), "must rise from step to step, starting above 0")
            return default
        return points

    def freezes(self, name: str, default: tuple[Freeze, ...]) -> tuple[Freeze, ...]:
        """Return a list of freeze windows."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.error((name,), f"must be an array of texts such as {FORMS}")
            return default
        try:
            return tuple(parse_freeze(one) for one in value)
        except ValueError as error:
            self.error((name,), f"has a window that cannot be used: {error}")
            return default

    def pinned(self, name: str, only: int | str) -> None:
        """Validate a field that has one possible value today; a missing one is a warning."""
        value = self._take(name)
        if value is None:
            self._problems.warnings.append(
                ((*self._path, name), f"is missing; read as {show(only)}: write it down")
            )
        elif value != only or isinstance(value, bool):
            self.error((name,), f"must be {show(only)}, not {show(value)}")

    def warn_unknown(self) -> None:
        """Record a warning for each unknown key, one that no reader asked for."""
        for name in self._table:
            if name not in self._known:
                near = difflib.get_close_matches(name, self._known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self._problems.warnings.append(
                    ((*self._path, name), f"is not a key of this format and is ignored{hint}")
                )

    def _take(self, name: str) -> Any:
        self._known.add(name)
        return self._table.get(name)

    def _number(self, name: str) -> Decimal | None:
        value = self._take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self.error((name,), f"must be a number, not {kind_of(value)}")
            return None
        number = Decimal(value)
        if not number.is_finite():
            self.error((name,), "must be a number, not NaN or infinity")
            return None
        return number


def kind_of(value: object) -> str:
    """Return the name of a value's TOML type, with its article."""
    if isinstance(value, bool):
        return "a bool"
    kinds = {str: "a string", int: "a number", Decimal: "a number", list: "an array"}
    return {**kinds, dict: "a table"}.get(type(value), "a date or time")


def show(value: object) -> str:
    """Return a value as an error message shows it: short, and quoted if it is text."""
    if not isinstance(value, str | int | Decimal):
        return kind_of(value)
    try:
        text = repr(value) if isinstance(value, str) else str(value).lower()
    except ValueError:  # CPython converts no int of over 4,300 digits (CVE-2020-10735)
        return "a number too long to show"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def dotted(path: Path) -> str:
    """Return a path as a dotted TOML key, parts quoted where needed."""
    plain = re.compile(r"[A-Za-z0-9_-]+")
    parts = (part if plain.fullmatch(part) else repr(part) for part in path)
    return ".".join(parts)
