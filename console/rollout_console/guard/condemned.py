"""Orgs that are condemned or gone: what a route's verdict leaves out, and a raise may include."""

from collections.abc import Mapping

from rollout_console.changes.traffic_diff import Subject
from rollout_console.common.durations import target_text
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import Verdict
from rollout_gate.file.model import Route

_MOST_NAMED = 4
OTHERS = "(others)"
"""In the gate's metrics, all orgs, or routes, that have no label value of their own."""

Sick = Mapping[str, Verdict]
"""The condemned orgs of a route, and their verdicts."""


def gone_orgs(route: Route) -> frozenset[str]:
    """Return the orgs of which nothing goes to TokenLab: latched, or at 0% on their line.

    On a route with aliases or flags an org at 0% may have traffic there nonetheless.
    """
    shared = any(route.keys.values()) or any(route.flags.values())
    return frozenset(
        org
        for org, share in route.orgs.items()
        if share.rolled_back or (share.points == 0 and not shared)
    )


def may_have_traffic(route: Route, org: str) -> bool:
    """Return whether a share lets some of an org's traffic go to TokenLab, latches ignored.

    OTHERS are no org that could be rolled back.
    """
    if org == OTHERS:
        return False
    shared = any(route.keys.values()) or any(route.flags.values())
    return shared or route.org_points(org) > 0


def sick_among(sick: Sick, route: Route | None, subject: Subject) -> Sick:
    """Return the condemned orgs that a share of several orgs may include.

    The default is that of orgs without a percent of their own; an alias or a flag is of any org.
    """
    if subject != "others" or route is None:
        return sick
    return {
        org: verdict
        for org, verdict in sick.items()
        if org not in route.orgs or route.orgs[org].points is None
    }


def sick_words(sick: Sick) -> str:
    """Name the first of the condemned orgs with its reason, and say how many more there are."""
    org, verdict = next(iter(sick.items()))
    more = f", and {len(sick) - 1} more" if len(sick) > 1 else ""
    return f"{visible(org)}: {verdict.reason}{more}"


def sick_list(route: str, sick: Sick) -> list[str]:
    """Return the verdict of each condemned org in words, at most _MOST_NAMED, then their number."""
    words = [f"{visible(target_text(route, org))} {one.words}" for org, one in sick.items()]
    more = len(words) - _MOST_NAMED
    return words if more <= 0 else [*words[:_MOST_NAMED], f"and {more} more orgs of {route}"]
