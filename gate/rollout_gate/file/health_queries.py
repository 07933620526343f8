"""PromQL of a rollout file's ``[health.queries]``: its placeholders, and what is wrong with a text.

Only the form is looked at, quotes, brackets and placeholders: PromQL itself is Prometheus' to read.
"""

import re
from collections.abc import Iterator

QUERIES = (
    "requests", "repeated", "duration", "duration_ms", "first_token", "newest", "down",
)  # fmt: skip
"""What is asked of Prometheus, in this order."""
MOST_QUERY = 4000
"""Length of a query in characters, above which it is an error."""
STEPS_S = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)
"""The steps that there are, in seconds: each divides a minute."""

_CLOSES = {")": "(", "]": "[", "}": "{"}
_PLACEHOLDER = re.compile(r"\$([A-Za-z_]\w*)?")
_INCREASE = re.compile(r"\$(increase|increase_of_known)\(")
_PLACEHOLDERS = "$step, $window, $increase(SELECTOR) and $increase_of_known(SELECTOR)"
_STRETCH = 2
"""How many steps ``$window`` has: functions such as increase() need two samples in it."""


def expanded(query: str, step_s: int) -> str:
    """Return a query with its placeholders filled in for steps of ``step_s`` seconds.

    ``$increase(SELECTOR)`` is by how much each counter rose in the step, in whole numbers: without
    the extrapolation of increase(), and over a scrape that was missed. A counter that fell was
    reset, and counts from 0. A series that is new counts from 0 where its target was scraped
    before, and not at all where the target is new: what it counted before then is not known.
    ``$increase_of_known(SELECTOR)`` counts no new series at all: what exports series only while
    they change, such as a collector that lets them expire, shows old ones anew with all they had.
    """
    step, window = f"{step_s}s", f"{window_s(step_s)}s"
    found, at = [], 0
    while (macro := _INCREASE.search(query, at)) is not None:
        end = _closing(query, macro.end())
        selector = query[macro.end() : end].strip()
        before = f"last_over_time({selector}[{window}] offset {step})"
        # Of what is pushed there is no up: another series of the same name tells as much.
        scraped = f"on (job, instance) ({before} or max_over_time(up[{window}] offset {step}) > 0)"
        after = before if macro[1] == "increase_of_known" else scraped
        found += [
            query[at : macro.start()],
            f"(({selector} - {before}) >= 0 or ({selector} and {after}))",
        ]
        at = end + 1
    text = "".join([*found, query[at:]])
    return text.replace("$step", step).replace("$window", window)


def window_s(step_s: int) -> int:
    """Return how many seconds ``$window`` is for steps of ``step_s`` seconds."""
    return _STRETCH * step_s


def covered_s(query: str, step_s: int) -> int:
    """Return how many seconds a value of a query is of: those of ``$window`` where it has that."""
    return window_s(step_s) if "$window" in query else step_s


def problem_of(query: str) -> str:
    """Return what is wrong with the form of a query; empty where nothing is."""
    if len(query) > MOST_QUERY:
        return f"is too long: {len(query)} characters, at most {MOST_QUERY}"
    if bad := next((sign for sign in query if not sign.isprintable() and sign not in "\n\t\r"), ""):
        return f"has an invisible character, {bad!r}"
    open_at: list[str] = []
    for at, sign in _unquoted(query):
        if at < 0:
            return f"has a quote {sign} that is not closed"
        if sign in _CLOSES.values():
            open_at.append(sign)
        elif sign in _CLOSES and (not open_at or open_at.pop() != _CLOSES[sign]):
            return f"has a {sign} that closes nothing"
        elif sign == "$" and (problem := _placeholder_problem(query, at)):
            return problem
    return f"has a {open_at[-1]} that is not closed" if open_at else ""


def _placeholder_problem(query: str, at: int) -> str:
    found = _PLACEHOLDER.match(query, at)
    name = found[1] if found is not None else None
    if name in ("step", "window"):
        return ""
    if name not in ("increase", "increase_of_known"):
        return f"has ${name or ''}, which is none of {_PLACEHOLDERS}"
    macro = _INCREASE.match(query, at)
    if macro is None:
        return f"has ${name} without brackets: write ${name}(SELECTOR)"
    inside = query[macro.end() : _closing(query, macro.end())]
    signs = {sign for _, sign in _unquoted(inside)}
    if not inside.strip() or signs & set("()[]$"):
        return f'has ${name} of what is no selector: write it as ${name}(NAME{{label="value"}})'
    return ""


def _closing(query: str, first: int) -> int:
    """Return where the bracket closes that is open at ``first``; the end where it does not."""
    depth = 0
    for at, sign in _unquoted(query[first:]):
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            return first + at
    return len(query)


def _unquoted(query: str) -> Iterator[tuple[int, str]]:
    """Yield each sign outside of quotes with its place; -1 and the quote of one without an end."""
    at = 0
    while at < len(query):
        sign = query[at]
        if sign in "\"'`":
            end = at + 1
            while end < len(query) and query[end] != sign:
                end += 2 if query[end] == "\\" and sign != "`" else 1
            if end >= len(query):
                yield -1, sign
                return
            at = end
        elif sign == "#":  # a comment, to the end of its line
            end = query.find("\n", at)
            at = len(query) if end < 0 else end
        else:
            yield at, sign
        at += 1
