"""When each share was last raised, and since when evidence against each route counts."""

from collections import defaultdict
from math import inf
from typing import Any

from rollout_console.common.durations import set_back


class Ages:
    """The newest raise of every route and org, and the resets of their evidence; epoch seconds.

    None is a wildcard: all orgs of a route, or all routes. ``known_since`` is the time since which
    every raise is recorded; a share without one may have been raised at that time.
    """

    def __init__(self, known_since: float = -inf) -> None:
        self.known_since = known_since
        self._raised: dict[tuple[str | None, str | None], float] = {}
        self._reset: dict[str | None, float] = {}
        self._orgs_reset: dict[str, dict[str, float]] = defaultdict(dict)

    def note_raise(self, route: str | None, org: str | None, at: float) -> None:
        """Record a raise, unless a newer one of the same share is known."""
        place = (route, org)
        self._raised[place] = max(at, self._raised.get(place, -inf))

    def reset_evidence(self, route: str | None, at: float, org: str | None = None) -> None:
        """Discard evidence from before a time: of a route, or of one org on it."""
        known: dict[Any, float] = self._reset
        key: str | None = route
        if route is not None and org is not None:
            known, key = self._orgs_reset[route], org
        known[key] = max(at, known.get(key, -inf))

    def take(self, other: "Ages") -> None:
        """Take over the raises and resets of another, where they are newer."""
        for (route, org), at in other._raised.items():
            self.note_raise(route, org, at)
        for route, at in other._reset.items():
            self.reset_evidence(route, at)
        for name, orgs in other._orgs_reset.items():
            for org, at in orgs.items():
                self.reset_evidence(name, at, org)

    def set_back(self, now: float, by: float) -> None:
        """Date what is in the future by ``by`` seconds less: the clock was set back."""
        if self.known_since != inf:  # inf: not known
            self.known_since = set_back(self.known_since, now, by)
        tables: list[dict[Any, float]] = [self._raised, self._reset, *self._orgs_reset.values()]
        for table in tables:
            for key, at in table.items():
                table[key] = set_back(at, now, by)

    def newest_raise(self, route: str, org: str | None) -> float:
        """Return when ``org`` on ``route`` was last raised, at the latest.

        For the whole route (``org`` None) it is the newest raise on it.
        """
        found = self.recorded_raise(route, org)
        return self.known_since if found == -inf else found

    def recorded_raise(self, route: str, org: str | None) -> float:
        """Return the same where a raise is recorded, else -inf."""
        if org is None:
            found = [at for (r, _), at in self._raised.items() if r in (None, route)]
        else:
            places = ((route, org), (route, None), (None, None))
            found = [at for place in places if (at := self._raised.get(place)) is not None]
        return max(found, default=-inf)

    def evidence_since(self, route: str) -> float:
        """Return the time since which evidence against a route counts; -inf without a reset."""
        return max(self._reset.get(route, -inf), self._reset.get(None, -inf))

    def orgs_reset(self, route: str, since: float) -> dict[str, float]:
        """Return the orgs of a route whose evidence was reset after a time, and when."""
        known = self._orgs_reset.get(route)
        return {org: at for org, at in known.items() if at > since} if known else {}
