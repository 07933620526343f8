"""When each share was last raised: evidence from before a step says nothing of the step."""


class Raises:
    """The newest raise of every route and org, in epoch seconds.

    A raise of None stands for all: of a route, or of everything.
    """

    def __init__(self) -> None:
        self._at: dict[tuple[str | None, str | None], float] = {}

    def note(self, route: str | None, org: str | None, at: float) -> None:
        """Record a raise, unless a newer one of the same is known."""
        place = (route, org)
        self._at[place] = max(at, self._at.get(place, 0.0))

    def newest(self, route: str, org: str | None) -> float:
        """Return when ``org`` on ``route`` was last raised, 0 where that is not known.

        For the whole route (``org`` None) it is the newest raise on it.
        """
        if org is None:
            return max((at for (r, _), at in self._at.items() if r in (None, route)), default=0.0)
        places = ((route, org), (route, None), (None, None))
        return max(self._at.get(place, 0.0) for place in places)
