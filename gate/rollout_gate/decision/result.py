"""The result of a decision: the side, and what it was decided by."""

from typing import Any, NamedTuple

from msgspec import Struct

from rollout_gate.file.model import Side

_WITH_NAME = ("keys", "flags", "orgs")


class Facts(NamedTuple):
    """The fields that all decisions of a route by one kind of rule share.

    ``rule`` ends in a dot where the name of an org, key alias or flag is to be appended.
    """

    rule: str
    revision: str
    route: str
    model: str
    format: str


class Decision(Struct, frozen=True, gc=False, weakref=False):
    """Where a request goes, and why. It is immutable, and compared by value.

    ``points`` is the share in basis points; ``bucket`` is 0 to 9999, or -1 where nothing was
    hashed. ``rule`` is what decided: ``rolled_back.file``, ``rolled_back.route``,
    ``rolled_back.org``, ``keys.ALIAS``, ``flags.NAME``, ``orgs.ORG``, ``default_percent``,
    ``unknown_route``, ``bad_argument`` or ``no_file``. ``revision`` is that of the file.
    Construct one with ``of``.
    """

    # One is constructed for each request, so it is of the type that is fastest to construct (half
    # the time of a dataclass with slots), and has few fields: ``_name`` follows the facts' rule.
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
        format: str,  # noqa: A002 - the key in the file
    ) -> "Decision":
        """Return a decision of these values; ``rule`` is complete, such as ``orgs.acme``."""
        kind, dot, name = rule.partition(".")
        if kind not in _WITH_NAME:
            kind, dot, name = rule, "", ""
        facts = Facts(kind + dot, revision, route, model, format)
        return cls(side, points, bucket, name, facts)

    @property
    def rule(self) -> str:
        """The rule that decided, one of those that the class lists."""
        return self._facts.rule + self._name

    @property
    def revision(self) -> str:
        """The revision of the file that was decided by; empty where there was no file."""
        return self._facts.revision

    @property
    def route(self) -> str:
        """The route that was asked for; empty where it was not a string."""
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
        """Return all fields by name, except ``percent``."""
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
