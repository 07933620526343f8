"""When each share was last changed: evidence from before that says nothing of it."""

from math import inf


class Ages:
    """The newest raise of every route and org, and from when on evidence counts; epoch seconds.

    A raise of None stands for all: of a route, or of everything. ``known_since`` is the time from
    which on every raise is here; a share that has none may have been raised just then.
    """

    def __init__(self, known_since: float = -inf) -> None:
        self.known_since = known_since
        self._raised: dict[tuple[str | None, str | None], float] = {}
        self._reset: dict[str | None, float] = {}

    def note_raise(self, route: str | None, org: str | None, at: float) -> None:
        """Record a raise, unless a newer one of the same is known."""
        place = (route, org)
        self._raised[place] = max(at, self._raised.get(place, -inf))

    def reset_evidence(self, route: str | None, at: float) -> None:
        """Let what was seen of a route before a time be no evidence against it."""
        self._reset[route] = max(at, self._reset.get(route, -inf))

    def newest_raise(self, route: str, org: str | None) -> float:
        """Return when ``org`` on ``route`` was last raised, or may have been.

        For the whole route (``org`` None) it is the newest raise on it.
        """
        if org is None:
            found = [at for (r, _), at in self._raised.items() if r in (None, route)]
        else:
            places = ((route, org), (route, None), (None, None))
            found = [at for place in places if (at := self._raised.get(place)) is not None]
        return max(found, default=self.known_since)

    def evidence_since(self, route: str) -> float:
        """Return from when on evidence against a route counts."""
        return max(self._reset.get(route, -inf), self._reset.get(None, -inf))
