"""What a decision says."""

from typing import Any, NamedTuple

from msgspec import Struct

from rollout_gate.file.model import Side

_WITH_NAME = ("keys", "flags", "orgs")


class Facts(NamedTuple):
    """What the decisions of a route by one kind of rule have in common.

    ``rule`` ends in a dot where the name of an org, key alias or flag belongs to it.
    """

    rule: str
    revision: str
    route: str
    model: str
    format: str


class Decision(Struct, frozen=True, gc=False, weakref=False):
    """Where a request goes, and why. It cannot be changed; equal are those that say the same.

    ``points`` is the share in basis points; ``bucket`` is 0 to 9999, or -1 where no route was
    found to hash with. ``rule`` is what decided: ``rolled_back.file``, ``rolled_back.route``,
    ``rolled_back.org``, ``keys.ALIAS``, ``flags.NAME``, ``orgs.ORG``, ``default_percent``,
    ``unknown_route``, ``bad_argument`` or ``no_file``. ``revision`` is that of the file.
    Make one with ``of``.
    """

    # One is made for each request, so it is of the type that is made soonest (half the time of a
    # dataclass with slots), and of few parts: what follows the rule of the facts, and these.
    side: Side
    points: int
    bucket: int
    _name: str
    _facts: Facts

    @classmethod
    def of(
        cls,
        side: Side,
        points: int,
        bucket: int,
        rule: str,
        revision: str,
        route: str,
        model: str,
        format: str,  # noqa: A002 - the word of the file
    ) -> "Decision":
        """Return the decision that says this."""
        kind, dot, name = rule.partition(".")
        if kind not in _WITH_NAME:
            kind, dot, name = rule, "", ""
        facts = Facts(kind + dot, revision, route, model, format)
        return cls(side, points, bucket, name, facts)

    @property
    def rule(self) -> str:
        """What decided; the names are above."""
        return self._facts.rule + self._name

    @property
    def revision(self) -> str:
        """The revision of the file, as it was decided by; empty where there was none."""
        return self._facts.revision

    @property
    def route(self) -> str:
        """The route that was asked for; empty where it was no text."""
        return self._facts.route

    @property
    def model(self) -> str:
        """The model that the file names for the route; empty where it names none."""
        return self._facts.model

    @property
    def format(self) -> str:
        """The format of the route; empty where the file has no such route."""
        return self._facts.format

    @property
    def percent(self) -> float:
        """The share in percent, 0 to 100."""
        return self.points / 100

    def as_dict(self) -> dict[str, Any]:
        """Return all that it says, by name, the percent apart."""
        _, revision, route, model, kind = self._facts
        return {
            "side": self.side,
            "points": self.points,
            "bucket": self.bucket,
            "rule": self.rule,
            "revision": revision,
            "route": route,
            "model": model,
            "format": kind,
        }

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"Decision.of({said})"
