"""Whom a block's requests are for: threads, tasks, generators, and whoever is left with them."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import copy_context
from typing import Any

import pytest

from rollout_gate.context import Subject, _blocks, _generators, subject, subject_of


def org(headers: dict[bytes, bytes] | None = None) -> str | None:
    return subject_of(headers or {}, Subject()).org


async def child() -> str | None:
    await asyncio.sleep(0)
    return org()


def numbers() -> Iterator[str | None]:
    with subject(org="of the generator"):
        yield org()
        yield org()


async def stream() -> AsyncIterator[str | None]:
    with subject(org="of the generator"):
        yield org()
        await asyncio.sleep(0)
        yield org()


def test_blocks_stand_in_blocks_and_what_is_not_given_comes_from_outside() -> None:
    with subject(org="acme", key="u1"), subject(key="u2", flags=("beta",)):
        found = subject_of(
            {b"x-rollout-flags": b" a , b,", b"x-rollout-key": b"u3"}, Subject("chat")
        )
        assert found == Subject("chat", "acme", "u3", None, ("a", "b"))
    assert subject_of({}, Subject("chat")) == Subject("chat")


@pytest.mark.parametrize(("value", "text"), [("Zürich".encode(), "Zürich"), (b"caf\xe9", "café")])
def test_a_header_is_text_in_whatever_encoding_it_comes(value: bytes, text: str) -> None:
    assert org({b"x-rollout-org": value}) == text


@pytest.mark.parametrize("value", [b"acme ", b"acme\t", b" \tacme\t "])
def test_whitespace_around_a_header_is_no_part_of_it(value: bytes) -> None:
    headers = dict.fromkeys((b"x-rollout-org", b"x-rollout-key", b"x-rollout-key-alias"), value)
    found = subject_of(headers, Subject("chat"))
    assert (found.org, found.key, found.key_alias) == ("acme",) * 3


def test_a_generator_keeps_its_org_and_its_consumer_does_not_inherit_it() -> None:
    assert org() is None
    for found in numbers():
        assert found == "of the generator"
        assert org() is None
    with subject(org="of the consumer"):
        for found in numbers():
            assert found == "of the generator"
            assert org() == "of the consumer"
    assert org() is None


def test_generators_that_end_in_any_order_bring_nothing_back() -> None:
    with subject(org="of the consumer"):
        first, second = numbers(), numbers()
        assert next(first) == next(second) == "of the generator"
        assert org() == "of the consumer"
    assert org() is None
    assert next(first) == "of the generator"
    del first
    gc.collect()
    assert org() is None
    del second
    gc.collect()
    assert org() is None


def test_a_generator_that_is_a_context_manager_is_entered_for_its_caller() -> None:
    @contextmanager
    def customer(name: str) -> Iterator[None]:
        with subject(org=name):
            yield

    with customer("acme"):
        assert org() == "acme"
        with customer("globex"):
            assert org() == "globex"
        assert org() == "acme"
    assert org() is None

    def inside() -> Iterator[str | None]:
        with customer("acme"):
            yield org()

    for found in inside():
        assert found == "acme"
        assert org() is None


def test_a_thread_has_its_own() -> None:
    found: list[str | None] = []
    with subject(org="acme"):
        thread = threading.Thread(target=lambda: found.append(org()))
        thread.start()
        thread.join()
    assert found == [None]


async def test_an_async_generator_left_early_raises_nothing_and_leaves_nothing() -> None:
    wrong: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    async for found in stream():
        assert found == "of the generator"
        assert org() is None
        break
    gc.collect()
    await asyncio.sleep(0.01)
    assert org() is None
    assert await asyncio.create_task(child()) is None
    assert wrong == []


async def test_what_a_generator_waits_for_is_for_its_org() -> None:
    async def answer() -> AsyncIterator[list[str | None]]:
        with subject(org="acme"):
            gathered = await asyncio.gather(child(), child())
            yield [*gathered, await asyncio.to_thread(org), await asyncio.wait_for(child(), 5)]
            yield [(await asyncio.gather(child()))[0], await asyncio.create_task(child())]

    async for found in answer():
        assert set(found) == {"acme"}
        assert org() is None
        assert list(await asyncio.gather(child(), child())) == [None, None]
        assert await asyncio.to_thread(org) is None
        assert await asyncio.create_task(child()) is None


async def test_a_task_that_a_block_started_goes_on_with_it() -> None:
    with subject(org="acme"):
        task = asyncio.create_task(child())
    assert org() is None
    assert await task == "acme"


async def test_async_context_managers_and_exit_stacks() -> None:
    @asynccontextmanager
    async def customer(name: str) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        with subject(org=name):
            await asyncio.sleep(0)
            yield

    async with customer("acme"):
        assert org() == "acme"
        assert list(await asyncio.gather(child())) == ["acme"]
        assert await asyncio.to_thread(org) == "acme"
    assert org() is None
    async with AsyncExitStack() as stack:
        stack.enter_context(subject(org="outer"))
        assert org() == "outer"
        await stack.enter_async_context(customer("inner"))
        assert org() == "inner"
    assert org() is None


async def test_a_block_that_another_task_ends_is_over_here_too() -> None:
    @asynccontextmanager
    async def customer() -> AsyncIterator[None]:
        with subject(org="acme"):
            yield

    manager = customer()
    await manager.__aenter__()
    assert org() == "acme"
    await asyncio.create_task(manager.__aexit__(None, None, None))
    assert org() is None


def test_a_generator_that_is_taken_step_by_step_in_copies_of_a_context() -> None:
    """As Starlette iterates a plain generator: each step in a thread pool, in a copied context."""

    def answer() -> Iterator[str | None]:
        with subject("acme"):
            yield org()
            yield org()
            with subject(key="7"):
                yield org()
        yield org()

    stream, found = answer(), []
    while True:
        step = copy_context().run(next, stream, "end")
        if step == "end":
            break
        found.append(step)
        assert org() is None, "the consumer is nobody"
    assert found == ["acme", "acme", "acme", None]


def test_a_generator_goes_on_inside_of_what_its_consumer_has_entered_since() -> None:
    def answer() -> Iterator[str | None]:
        with subject("acme"):
            yield org()
            yield org()
            with subject("globex"):
                yield org()
            yield helped()

    def helped() -> str | None:
        with subject("initech"):
            return org()

    stream = answer()
    assert next(stream) == "acme"
    with subject("consumer"):
        assert org() == "consumer"
        assert [next(stream), next(stream), next(stream)] == ["acme", "globex", "initech"]
        assert org() == "consumer"


def test_an_abandoned_generator_is_collected_though_it_is_in_a_cycle() -> None:
    class Handler:
        def __init__(self) -> None:
            self.answer = self.run()

        def run(self) -> Iterator[str | None]:
            with subject("acme"):
                yield org()
                yield org()

    gone = []
    for _ in range(3):
        handler = Handler()
        gone.append(weakref.ref(handler))
        assert next(handler.answer) == "acme"
    del handler
    gc.collect()
    assert [one() for one in gone] == [None] * 3
    assert org() is None
    with subject("other"):
        assert org() == "other"


def test_blocks_that_were_left_elsewhere_do_not_pile_up() -> None:
    def answer() -> Iterator[None]:
        with subject("acme"):
            yield

    for _ in range(50):
        stream = answer()
        next(stream)
        copy_context().run(stream.close)  # type: ignore[attr-defined]
    with subject("other"):
        assert len(_blocks.get()) == 1
    assert not _generators
