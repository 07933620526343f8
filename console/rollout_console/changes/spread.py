"""Who has applied the version of now: how many mirrors, which lag, and how long the last took."""

import time

import msgspec

LAGS_AFTER_S = 5.0
"""From when on a mirror that has not applied a version is one that lags, in seconds."""


class Registered(msgspec.Struct, frozen=True):
    """How one mirror stands, as it says itself. ``at`` is when it last said so (UTC, seconds)."""

    host: str
    path: str
    revision: str = ""
    mod_revision: int = 0
    latched: tuple[str, ...] = ()
    trouble: str = ""
    at: float = 0.0


class Spread(msgspec.Struct, frozen=True):
    """How far one version has come; times are of the monotonic clock of this process."""

    mod_revision: int = 0
    since: float = 0.0
    """When this process first saw the version."""
    done_at: float | None = None
    """When all mirrors were first seen to have it; None before."""
    mirrors: tuple[Registered, ...] = ()
    watched: bool = False
    """Whether this process saw the version come: else it knows of no time."""

    def after(self, mod_revision: int, mirrors: tuple[Registered, ...], now: float) -> "Spread":
        """Return how it stands in a newer reading."""
        is_new = mod_revision != self.mod_revision
        since = now if is_new else self.since
        watched = bool(self.mod_revision) if is_new else self.watched
        found = Spread(mod_revision, since, None, mirrors, watched)
        if found.lagging:
            return found
        done_at = now if is_new or self.done_at is None else self.done_at
        return msgspec.structs.replace(found, done_at=done_at)

    @property
    def lagging(self) -> list[Registered]:
        """The mirrors that have an older version."""
        return [one for one in self.mirrors if one.mod_revision < self.mod_revision]

    @property
    def latched(self) -> list[Registered]:
        """The mirrors on whose servers something is rolled back by itself."""
        return [one for one in self.mirrors if one.latched]

    @property
    def troubled(self) -> list[Registered]:
        """The mirrors that say that something is wrong."""
        return [one for one in self.mirrors if one.trouble]

    @property
    def is_done(self) -> bool:
        """Whether no mirror lags."""
        return not self.lagging

    @property
    def age_s(self) -> float:
        """How long ago the version was first seen, in seconds."""
        return time.monotonic() - self.since

    def as_json(self) -> dict[str, object]:
        """Return the JSON object that a change prints as ``servers``."""
        took = None if self.done_at is None or not self.watched else self.done_at - self.since
        return {
            "applied": len(self.mirrors) - len(self.lagging),
            "of": len(self.mirrors),
            "lagging": [one.host for one in self.lagging],
            "seconds": None if took is None else round(took, 2),
        }

    @property
    def words(self) -> str:
        """How many servers have it, and how long that took, in words."""
        if not self.mirrors:
            return "no server mirrors it"
        has = len(self.mirrors) - len(self.lagging)
        servers = "server" if len(self.mirrors) == 1 else "servers"
        said = f"{has} of {len(self.mirrors)} {servers}"
        if self.lagging:
            return f"{said}, {self.age_s:.0f} s" if self.watched else said
        if self.watched and self.done_at is not None:
            return f"{said} after {self.done_at - self.since:.1f} s"
        return said
