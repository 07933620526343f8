"""Whom a request is for: given per client, per request in headers, or for a block of code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Subject:
    """What a decision needs of a request; None is not given.

    ``key`` is the sticky id, ``key_alias`` the name of the API key that the customer used, and
    ``flags`` the feature flags that are on. ``job_id`` is the application's own id of an async
    media job, which is created once however often the request is made.
    """

    route: str | None = None
    org: str | None = None
    key: str | None = None
    key_alias: str | None = None
    flags: tuple[str, ...] | None = None
    job_id: str | None = None

    def over(self, other: "Subject") -> "Subject":
        """Return this, with what is not given taken from another."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: value for name, value in given.items() if value is not None})


HEADERS = {
    "x-rollout-route": "route",
    "x-rollout-org": "org",
    "x-rollout-key": "key",
    "x-rollout-key-alias": "key_alias",
    "x-rollout-flags": "flags",
    "x-rollout-job-id": "job_id",
}
"""Request headers, lower-case, which go to no provider; flags are separated by commas."""

_NOBODY = Subject()
_current: ContextVar[Subject] = ContextVar("rollout_subject", default=_NOBODY)


@contextmanager
def subject(
    org: str | None = None,
    key: str | None = None,
    *,
    route: str | None = None,
    key_alias: str | None = None,
    flags: tuple[str, ...] | None = None,
    job_id: str | None = None,
) -> Iterator[None]:
    """Let the requests of a block be for this org, key and so on; blocks may stand in blocks.

    It holds for the thread or task that runs the block, and for tasks that it starts.
    """
    mine = Subject(route, org, key, key_alias, flags, job_id)
    token = _current.set(mine.over(_current.get()))
    try:
        yield
    finally:
        _current.reset(token)


def subject_of(headers: Mapping[str, str], client: Subject) -> Subject:
    """Return whom a request is for: what its headers say, then the block, then its client."""
    said: dict[str, object] = {}
    for header, name in HEADERS.items():
        value = headers.get(header)
        if value is not None:
            said[name] = _flags(value) if name == "flags" else value
    found = _current.get().over(client)
    return replace(found, **said) if said else found  # type: ignore[arg-type]


def _flags(text: str) -> tuple[str, ...]:
    return tuple(flag.strip() for flag in text.split(",") if flag.strip())
