"""When each share was last raised, and since when evidence against each route counts."""

from math import inf


class Ages:
    """The newest raise of every route and org, and each route's evidence reset; epoch seconds.

    None is a wildcard: all orgs of a route, or all routes. ``known_since`` is the time since which
    every raise is recorded; a share without one may have been raised at that time.
    """

    def __init__(self, known_since: float = -inf) -> None:
        self.known_since = known_since
        self._raised: dict[tuple[str | None, str | None], float] = {}
        self._reset: dict[str | None, float] = {}

    def note_raise(self, route: str | None, org: str | None, at: float) -> None:
        """Record a raise, unless a newer one of the same share is known."""
        place = (route, org)
        self._raised[place] = max(at, self._raised.get(place, -inf))

    def reset_evidence(self, route: str | None, at: float) -> None:
        """Discard evidence against a route from before a time."""
        self._reset[route] = max(at, self._reset.get(route, -inf))

    def newest_raise(self, route: str, org: str | None) -> float:
        """Return when ``org`` on ``route`` was last raised, at the latest.

        For the whole route (``org`` None) it is the newest raise on it.
        """
        if org is None:
            found = [at for (r, _), at in self._raised.items() if r in (None, route)]
        else:
            places = ((route, org), (route, None), (None, None))
            found = [at for place in places if (at := self._raised.get(place)) is not None]
        return max(found, default=self.known_since)

    def evidence_since(self, route: str) -> float:
        """Return the time since which evidence against a route counts; -inf without a reset."""
        return max(self._reset.get(route, -inf), self._reset.get(None, -inf))
