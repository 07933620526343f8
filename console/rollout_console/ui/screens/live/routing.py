"""The live screen's list of evidence against the routing: which lines prove it, and of whom."""

from collections.abc import Sequence

import msgspec

from rollout_console.common.safe_text import visible
from rollout_console.guard.misrouted import MisroutedRequests
from rollout_console.guard.traffic import Routing
from rollout_gate.secret import redacted

_MOST = 100
"""Limit of the rows of one kind."""


class RoutingRow(msgspec.Struct, frozen=True):
    """One finding: misrouted requests, writers behind, or a share far from its percent.

    ``count`` are requests, or the hosts that are behind; ``hosts`` are those of most requests
    first. ``since`` is epoch seconds, None where it is not known.
    """

    key: tuple[str, ...]
    what: str
    count: int
    route: str
    org: str
    hosts: Sequence[str]
    since: float | None
    last_at: float
    sentence: str
    is_alarm: bool = False


def routing_rows(routing: Routing) -> list[RoutingRow]:
    """Return the rows of all findings, gravest first."""
    rows = [
        RoutingRow(
            ("misrouted", one.route, one.org, one.side), "misrouted", one.requests, one.route,
            one.org, _hosts(one), one.since, one.last_at, one.sentence, is_alarm=True,
        )
        for one in routing.misrouted[:_MOST]
    ]  # fmt: skip
    rows += [
        RoutingRow(
            ("behind", late.revision), "behind", len(late.hosts), "", "", late.hosts, late.since,
            late.last_at, late.sentence,
        )
        for late in routing.behind[:_MOST]
    ]  # fmt: skip
    rows += [
        RoutingRow(
            ("share", far.route, far.org), "share", far.requests, far.route, far.org, (), None,
            far.last_at, far.sentence,
        )
        for far in routing.far_shares[:_MOST]
    ]  # fmt: skip
    return rows


def hosts_text(row: RoutingRow) -> str:
    """Return the first host, and how many more there are."""
    if not row.hosts:
        return "–"
    more = f" +{len(row.hosts) - 1}" if len(row.hosts) > 1 else ""
    return redacted(visible(row.hosts[0])) + more


def _hosts(one: MisroutedRequests) -> list[str]:
    counts: dict[str, int] = {}
    for (host, _), count in one.decided_by.items():
        if host:
            counts[host] = counts.get(host, 0) + count
    return sorted(counts, key=lambda host: (-counts[host], host))
