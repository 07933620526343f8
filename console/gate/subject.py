"""Whom a request is for: given per client, per request in headers, or for a block of code."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR, CO_ITERABLE_COROUTINE
from types import FrameType

from msgspec import Struct
from msgspec.structs import replace


class Subject(Struct, frozen=True):
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
        return Subject(
            other.route if self.route is None else self.route,
            other.org if self.org is None else self.org,
            other.key if self.key is None else self.key,
            other.key_alias if self.key_alias is None else self.key_alias,
            other.flags if self.flags is None else self.flags,
            other.job_id if self.job_id is None else self.job_id,
        )


HEADERS = {
    b"x-rollout-route": "route",
    b"x-rollout-org": "org",
    b"x-rollout-key": "key",
    b"x-rollout-key-alias": "key_alias",
    b"x-rollout-flags": "flags",
    b"x-rollout-job-id": "job_id",
}
"""Request headers, lower-case, which go to no provider; flags are separated by commas."""

_NOBODY = Subject()


class _Block:
    """One ``with subject(...)``, in the context variable of whoever is inside.

    In a generator a context variable is not enough: its body runs in the context of the consumer,
    so what it sets is still set when it has yielded (PEP 568 would have changed that, and was not
    accepted). Therefore a block in a generator remembers the generator's frame, and counts only
    while that runs. A generator that contextlib made a context manager is entered for the sake
    of its caller, so there the variable is enough.
    """

    __slots__ = ("_frame", "_in_generator", "_over", "_owner", "own")

    def __init__(self, own: Subject, frame: FrameType | None) -> None:
        self.own = own
        self._frame = frame
        self._in_generator = frame is not None
        self._owner = _running()
        self._over = False

    def end(self) -> None:
        """The block was left, perhaps by the garbage collector or by another task.

        Tasks that it started go on with it, unless they cannot be told from the consumer's.
        """
        self._over = self._in_generator or self._owner != _running()
        self._frame = None  # which would keep all its local variables

    def counts(self) -> bool:
        """Return whether requests that are made now, and here, are for this block's subject."""
        if self._over or not self._in_generator:
            return not self._over
        frame = self._frame
        if self._owner == _running():
            return frame is not None and _is_on_stack(frame)
        # Another task or thread with a copy of the context: asyncio.gather, to_thread. They are
        # the block's own while its generator waits for them, and the consumer's while it does not.
        return frame is not None and not _is_at_yield(frame)


_blocks: ContextVar[tuple[_Block, ...]] = ContextVar("rollout_subject", default=())
"""Those that were entered and not left, the innermost last; generators leave in any order."""


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

    It holds for the thread or task that runs the block, and for tasks that it starts. In a
    generator it holds while the generator runs, and not for whoever takes what it yields.
    """
    mine = Subject(route, org, key, key_alias, flags, job_id)
    block = _Block(mine, _generator_frame())
    _blocks.set((*_blocks.get(), block))
    try:
        yield
    finally:
        # A token's reset raises ValueError in another context, and brings back what has ended.
        _blocks.set(tuple(one for one in _blocks.get() if one is not block))
        block.end()


def subject_of(headers: Mapping[bytes, bytes], client: Subject) -> Subject:
    """Return whom a request is for: what its headers say, then the block, then its client."""
    said: dict[str, object] = {}
    for header, name in HEADERS.items():
        value = headers.get(header)
        if value is not None:
            text = _text(value)
            said[name] = _flags(text) if name == "flags" else text
    found = client
    for block in _blocks.get():
        if block.counts():
            found = block.own.over(found)
    return replace(found, **said) if said else found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _flags(text: str) -> tuple[str, ...]:
    return tuple(flag.strip() for flag in text.split(",") if flag.strip())


def _running() -> tuple[int, int]:
    """Return what tells this thread and asyncio task from all others."""
    task = None
    if (asyncio := sys.modules.get("asyncio")) is not None:  # or no task can be running
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no event loop in this thread
            task = None
    return threading.get_ident(), id(task)


def _generator_frame() -> FrameType | None:
    """Return the frame of the generator that called ``subject``; None where none did."""
    frame: FrameType | None = sys._getframe(3)  # past this, subject, and contextlib's __enter__
    while frame is not None:
        flags = frame.f_code.co_flags
        if flags & (CO_GENERATOR | CO_ASYNC_GENERATOR) and not flags & CO_ITERABLE_COROUTINE:
            caller = frame.f_back
            if caller is None or caller.f_globals.get("__name__") != "contextlib":
                return frame
        frame = frame.f_back
    return None


def _is_on_stack(frame: FrameType) -> bool:
    one: FrameType | None = sys._getframe(1)
    while one is not None:
        if one is frame:
            return True
        one = one.f_back
    return False


def _is_at_yield(frame: FrameType) -> bool:
    """Return whether a suspended generator has yielded, rather than awaits something.

    The RESUME instruction with which it goes on says so (CPython's dis: 1 after a yield, 3 after
    an await); ``f_lasti`` is the instruction before it, since 3.13 itself. Where that cannot be
    read the generator counts as at work.
    """
    from opcode import opmap  # which is rarely needed

    code = frame.f_code.co_code
    for at in (frame.f_lasti, frame.f_lasti + 2):
        if 0 <= at < len(code) - 1 and code[at] == opmap.get("RESUME"):
            return code[at + 1] & 3 == 1
    return False
