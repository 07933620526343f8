"""The rollout file as flagd's JSON, for applications that ask flagd instead of the gate.

Source: flagd's flag definition schema and its ``fractional`` operator, generation 3, as
openfeature-flagd-core 2.0.0 implements it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from rollout_gate.bucketing import ALGORITHM
from rollout_gate.file.model import RolloutFile, Route

SCHEMA = "https://flagd.dev/schema/v0/flags.json"
SIDES = {"tokenlab": "tokenlab", "previous": "previous"}
GENERATIONS = (
    "flagd decides as the gate does only in generation 3 of its fractional operator, which hashes"
    " canonical CBOR (openfeature-flagd-core 2.0.0, openfeature-provider-flagd 0.6.0); generations"
    " 1 (until March 2026) and 2 (openfeature-flagd-core 1, openfeature-provider-flagd 0.4.0 to"
    " 0.5.2, and the flagd daemon and providers of other languages as of autumn 2026) hash flag key"
    " and targeting key one after the other, and choose other subjects for every share between 0"
    " and 100"
)
CONTEXT = {
    "targetingKey": (
        "the sticky key, or the org where there is none; without one, a share between 0 and 100"
        " gives previous"
    ),
    "org": "the org's id",
    "key_alias": "the alias of the customer's API key, where there is one",
    "flags": "a list of the feature flags that are on",
}
"""The fields of the evaluation context that a flag's targeting reads."""

_ORG, _ALIAS = {"var": "org"}, {"var": "key_alias"}
# "merge" makes a list of a single string; "in" on a string itself would match substrings.
_FLAGS = {"merge": [{"var": "flags"}]}
_MOST = 10_000
Rule = Any
"""A JsonLogic value."""


def as_flagd(file: RolloutFile) -> dict[str, Any]:
    """Return flag definitions: one flag for each route, whose variants are the sides.

    With a context as CONTEXT describes it, every decision equals the gate's. The targeting key
    has to be given also where the org is the key: flagd-core 2.0.0 hashes a list only as the
    shorthand's ``[flagKey, targetingKey]``, so no rule can name the org in its place.
    """
    return {
        "$schema": SCHEMA,
        "flags": {name: _flag(file, route) for name, route in file.routes.items()},
        "metadata": {
            "revision": file.revision,
            "algorithm": ALGORITHM,
            "generations": GENERATIONS,
            **{f"context.{name}": about for name, about in CONTEXT.items()},
        },
    }


def _flag(file: RolloutFile, route: Route) -> dict[str, Any]:
    flag: dict[str, Any] = {
        "state": "ENABLED",
        "variants": SIDES,
        "defaultVariant": "previous",
        "metadata": {"model": route.model, "format": route.format},
    }
    if not file.rolled_back and not route.rolled_back:
        flag["targeting"] = _targeting(route)
    return flag


def _targeting(route: Route) -> Rule:
    branches: list[Rule] = []
    latched = [org for org, line in route.orgs.items() if line.rolled_back]
    if latched:
        branches += [_is_one_of(_ORG, latched), "previous"]
    for points, aliases in _by_share(route.keys.items()).items():
        branches += [_is_one_of(_ALIAS, aliases), _split(points)]
    # The first branch that matches decides, so the flags are sorted by share, the highest first.
    for flag, points in sorted(route.flags.items(), key=lambda pair: -pair[1]):
        branches += [{"in": [flag, _FLAGS]}, _split(points)]
    for points, orgs in _by_share(_own_shares(route)).items():
        branches += [_is_one_of(_ORG, orgs), _split(points)]
    return {"if": [*branches, _split(route.default_points)]}


def _own_shares(route: Route) -> Iterator[tuple[str, int]]:
    """Yield the orgs whose share is not the default, which is the last branch anyway."""
    default = route.default_points
    for org, line in route.orgs.items():
        if line.points is not None and not line.rolled_back and line.points != default:
            yield org, line.points


def _by_share(shares: Iterable[tuple[str, int]]) -> dict[int, list[str]]:
    """Group names by share: one branch a share, not a name, keeps evaluation short."""
    found: dict[int, list[str]] = {}
    for name, points in shares:
        found.setdefault(points, []).append(name)
    return found


def _is_one_of(asked: Rule, names: list[str]) -> Rule:
    return {"in": [asked, names]}


def _split(points: int) -> Rule:
    if points in (0, _MOST):
        return "tokenlab" if points else "previous"
    # The growing side is the first bucket range, so that raising a share only ever adds subjects.
    return {"fractional": [["tokenlab", points], ["previous", _MOST - points]]}
