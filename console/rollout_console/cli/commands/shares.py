"""The shares that ``set`` names: one, several with one percent or each its own, or all of a route.

``set ROUTE ORG... PERCENT``, ``set ROUTE ORG=PERCENT...`` and ``set ROUTE --all PERCENT``. The last
word decides: a percent has no equals sign, so that an org's name may have one in the first form.
"""

from argparse import Namespace
from collections.abc import Mapping

from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.held import Objections
from rollout_console.common.errors import Misused
from rollout_gate.file.errors import PercentError
from rollout_gate.file.model import Route
from rollout_gate.file.percent import parse_percent


def named_shares(options: Namespace) -> dict[str | None, int]:
    """Return the basis points of each org that is named; of None for all orgs with a line.

    Raises Misused or PercentError for what cannot be meant.
    """
    last = options.percent
    if options.all:
        return {None: percent_of(last)}
    if "=" not in last:
        return dict.fromkeys(options.org, percent_of(last))
    shares: dict[str | None, int] = {}
    for word in (*options.org, last):
        org, equals, percent = word.rpartition("=")
        if not equals or not org:
            raise Misused(
                f"{word!r} is no ORG=PERCENT: give that for each org, or one percent after them all"
            )
        points = percent_of(percent)
        if shares.setdefault(org, points) != points:
            raise Misused(f"{org!r} is named twice, with two percents")
    return shares


def is_org_and_percent(word: str) -> bool:
    """Return whether a word reads as ``ORG=PERCENT``, which may be an org's whole name as well."""
    org, _, percent = word.rpartition("=")
    try:
        return bool(org) and parse_percent(percent) >= 0
    except PercentError:
        return False


def percent_of(text: str) -> int:
    """Return a percent in basis points; raises PercentError, which says what it is about."""
    try:
        return parse_percent(text)
    except PercentError as error:
        said = str(error)
        raise PercentError(said if said[0] == "'" else f"the percent {said}") from None


def plan_shares(
    options: Namespace,
    switch: Switch,
    shares: Mapping[str | None, int],
    objections: Objections | None,
) -> Plan:
    """Plan the shares of several orgs; what ``objections`` hold is left out, unless that is all."""
    targets = [(options.route, org) for org in shares]

    def to(_route: Route, org: str) -> int:
        return shares[None] if None in shares else shares[org]

    plan = switch.planner.plan_sets(targets, to, new=set(targets))
    held = objections.held_of(plan) if objections and plan.parts and plan.direction == "up" else {}
    if 0 < len(held) < len(plan.parts):
        return switch.planner.plan_sets(targets, to, new=set(targets), held=held)
    return plan
