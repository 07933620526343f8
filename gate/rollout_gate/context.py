"""The subject of a request (org, key, flags): set per client, per request or for a code block."""

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR, CO_ITERABLE_COROUTINE
from types import FrameType
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace


class Subject(Struct, frozen=True):
    """What a decision needs to know of a request; None means not given.

    ``key`` is the sticky id, ``key_alias`` the name of the API key that the customer used, and
    ``flags`` the feature flags that are on. ``job_id`` is the application's own id of an async
    media job, an idempotency key: retries of the request create the job once.
    """

    route: str | None = None
    org: str | None = None
    key: str | None = None
    key_alias: str | None = None
    flags: tuple[str, ...] | None = None
    job_id: str | None = None

    def over(self, other: "Subject") -> "Subject":
        """Return this subject merged over another, which supplies the fields that are None here."""
        return Subject(
            other.route if self.route is None else self.route,
            other.org if self.org is None else self.org,
            other.key if self.key is None else self.key,
            other.key_alias if self.key_alias is None else self.key_alias,
            other.flags if self.flags is None else self.flags,
            other.job_id if self.job_id is None else self.job_id,
        )


def subject_from(
    route: str | None = None,
    org: object = None,
    key: object = None,
    key_alias: object = None,
    flags: object = None,
    job_id: object = None,
) -> Subject:
    """Return the Subject of an application's arguments; raises TypeError for a wrong type.

    An int or a UUID is converted to str, as ids often are one.
    """
    if flags is not None and (isinstance(flags, str) or not isinstance(flags, Iterable)):
        raise TypeError(f"flags is a tuple of names, not {type(flags).__name__}")
    return Subject(
        _name(route, "route"),
        _name(org, "org"),
        _name(key, "key"),
        _name(key_alias, "key_alias"),
        None if flags is None else tuple(_name(flag, "a flag") or "" for flag in flags),
        _name(job_id, "job_id") or None,
    )


def _name(value: object, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{what} is a text, not {type(value).__name__}")


HEADERS = {
    b"x-rollout-route": "route",
    b"x-rollout-org": "org",
    b"x-rollout-key": "key",
    b"x-rollout-key-alias": "key_alias",
    b"x-rollout-flags": "flags",
    b"x-rollout-job-id": "job_id",
}
"""Request headers, lower-case, that are sent to no provider; flags are separated by commas."""

FLAGS = b"x-rollout-flags"
"""The one of them that is a list, so that several lines of it are one (RFC 9110, 5.3)."""

OPTIONAL_SPACE = b" \t"
"""Whitespace around a field value, which is no part of it (RFC 9110, 5.5 and 5.6.3)."""

_NOBODY = Subject()


class _Block:
    """One ``with subject(...)`` block, held in a context variable (contextvars).

    In a generator a context variable is not enough: its body runs in the context of the consumer,
    so what it sets leaks to the consumer at a yield (PEP 568 would have changed that, and was not
    accepted); and a consumer that takes each value in a copy of its context, as web frameworks do
    that iterate in a thread pool, loses it. Therefore a block in a generator records the
    generator's frame, and is in force while that frame runs, whatever the context. A generator
    that contextlib made a context manager is entered on behalf of its caller, so there the
    variable is enough.
    """

    __slots__ = ("_async_frame", "_generator", "_owner", "over", "own", "site")

    def __init__(self, own: Subject, site: int, generator: FrameType | None) -> None:
        self.own = own
        self.site = site
        self._generator = 0 if generator is None else id(generator)
        # A reference to a frame keeps its locals alive, and so, often, the generator itself. An
        # async generator's frame is referenced all the same, for as long as its task's context;
        # for others its id() is enough, which is not reused before the generator, and with it the
        # block, has ended.
        is_async = generator is not None and generator.f_code.co_flags & CO_ASYNC_GENERATOR
        self._async_frame = generator if is_async else None
        self._owner = _running()
        self.over = False
        if self._generator:
            _generators[self._generator] = (*_generators.get(self._generator, ()), self)

    def end(self) -> None:
        """Leave the block; the caller may be the garbage collector or another task.

        Tasks started in the block keep its subject, unless they cannot be distinguished from the
        consumer's.
        """
        self.over = bool(self._generator) or self._owner != _running()
        left = tuple(one for one in _generators.pop(self._generator, ()) if one is not self)
        if left:
            _generators[self._generator] = left
        self._async_frame = None

    def counts(self) -> bool:
        """Return whether the block is in force for requests of the current thread and task."""
        if self.over or not self._generator:
            return not self.over
        if self._owner == _running():
            return self._generator in _stack(sys._getframe(1))
        # Another task or thread with a copy of the context: asyncio.gather, to_thread. It belongs
        # to the block while the generator waits for it, and to the consumer otherwise.
        if self._async_frame is not None:
            return not _is_at_yield(self._async_frame)
        return any(self._generator in _stack(top) for top in sys._current_frames().values())


_blocks: ContextVar[tuple[_Block, ...]] = ContextVar("rollout_subject", default=())
"""Blocks entered and not left, the innermost last; generators leave theirs in any order."""
_generators: dict[int, tuple[_Block, ...]] = {}
"""The blocks of all generators that are running or suspended, by the id() of their frame."""


@contextmanager
def subject(
    org: str | int | UUID | None = None,
    key: str | int | UUID | None = None,
    *,
    route: str | None = None,
    key_alias: str | None = None,
    flags: Iterable[str] | None = None,
    job_id: str | int | UUID | None = None,
) -> Iterator[None]:
    """Set org, key and so on for the requests made in a ``with`` block; blocks may be nested.

    The subject applies to the thread or task that runs the block, and to tasks started in it. In
    a generator it applies while the generator runs, and not to the consumer of what it yields.

    Raises TypeError for a wrong type: a bool, bytes, or flags given as a single string.
    """
    mine = subject_from(route, org, key, key_alias, flags, job_id)
    block = _Block(mine, *_entered_by())
    _blocks.set((*(one for one in _blocks.get() if not one.over), block))
    try:
        yield
    finally:
        # Not ContextVar.reset: in another context it raises ValueError, and it would restore
        # blocks that have ended.
        _blocks.set(tuple(one for one in _blocks.get() if one is not block))
        block.end()


def subject_of(headers: Mapping[bytes, bytes], client: Subject) -> Subject:
    """Return the subject of a request: its headers override the blocks, these the client."""
    said: dict[str, object] = {}
    for header, name in () if HEADERS.keys().isdisjoint(headers) else HEADERS.items():
        value = headers.get(header)
        if value is not None:
            text = _text(value)
            said[name] = _flags(text) if name == "flags" else text
    found = client
    for block in _counting():
        found = block.own.over(found)
    return replace(found, **said) if said else found


def by_lower_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by their lower-case names: of one that is repeated the last, of flags all."""
    found = {name.lower(): value for name, value in headers}
    if FLAGS in found and len(found) != len(headers):
        found[FLAGS] = b",".join(value for name, value in headers if name.lower() == FLAGS)
    return found


def said_twice(
    headers: Iterable[tuple[bytes, bytes]], names: Iterable[bytes] = HEADERS.keys() - {FLAGS}
) -> dict[bytes, list[bytes]]:
    """Return those of the headers ``names`` (lower-case) that have several values, each once."""
    found: dict[bytes, list[bytes]] = {name: [] for name in names}
    for name, value in headers:
        values, bare = found.get(name.lower()), value.strip(OPTIONAL_SPACE)
        if values is not None and bare not in values:
            values.append(bare)
    return {name: values for name, values in found.items() if len(values) > 1}


def _text(value: bytes) -> str:
    value = value.strip(OPTIONAL_SPACE)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _flags(text: str) -> tuple[str, ...]:
    return tuple(flag.strip() for flag in text.split(",") if flag.strip())


def _running() -> tuple[int, int]:
    """Return a pair that identifies the current thread and asyncio task."""
    task = None
    if (asyncio := sys.modules.get("asyncio")) is not None:  # not imported: no task can be running
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no event loop in this thread
            task = None
    return threading.get_ident(), id(task)


def _counting() -> list[_Block]:
    """Return the blocks in force in the current thread and task, the innermost last."""
    found = [block for block in _blocks.get() if block.counts()]
    if not _generators:
        return found
    stack = _stack(sys._getframe(1))
    for frame in stack:
        found += [block for block in _generators.get(frame, ()) if block not in found]
    # Sort by stack depth: a generator resumes inside blocks that its consumer has entered since.
    # A block whose frame is not on the stack was entered in a parent task, and is outermost.
    return sorted(found, key=lambda block: -stack.get(block.site, len(stack)))


def _entered_by() -> tuple[int, FrameType | None]:
    """Return the id() of the frame with the ``with``, and the frame of its generator, if any."""
    frame: FrameType | None = sys._getframe(3)  # skip this, subject, and contextlib's __enter__
    site: FrameType | None = None
    while frame is not None:
        flags = frame.f_code.co_flags
        caller = frame.f_back
        if flags & (CO_GENERATOR | CO_ASYNC_GENERATOR) and not flags & CO_ITERABLE_COROUTINE:
            if caller is None or caller.f_globals.get("__name__") != "contextlib":
                return id(site or frame), frame
        elif site is None and frame.f_globals.get("__name__") != "contextlib":
            site = frame
        frame = caller
    return id(site), None


def _stack(top: FrameType) -> dict[int, int]:
    """Return the id() of each frame on the call stack from ``top`` on, with its depth from 0."""
    frames: dict[int, int] = {}
    one: FrameType | None = top
    while one is not None:
        frames[id(one)] = len(frames)
        one = one.f_back
    return frames


def _is_at_yield(frame: FrameType) -> bool:
    """Return whether a suspended async generator is at a yield, rather than at an await.

    The argument of the RESUME bytecode at which it resumes tells them apart (CPython's dis: 1
    after a yield, 3 after an await); ``f_lasti`` is the instruction before it, since 3.13 RESUME
    itself. Where the bytecode cannot be read the generator counts as running.
    """
    from opcode import opmap  # lazy import: rarely needed

    code = frame.f_code.co_code
    for at in (frame.f_lasti, frame.f_lasti + 2):
        if 0 <= at < len(code) - 1 and code[at] == opmap.get("RESUME"):
            return code[at + 1] & 3 == 1
    return False
