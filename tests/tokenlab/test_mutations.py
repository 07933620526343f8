"""Every field of the contract with every kind of wrong value: one sentence, or an answer."""

import json
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any

import pytest
from msgspec.structs import asdict

from rollout_console.sim.server import SimServer
from rollout_console.tokenlab import media_probe
from rollout_console.tokenlab.catalogue import CatalogueClient
from rollout_console.tokenlab.client import ManagementClient
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.inference import InferenceClient
from rollout_console.tokenlab.media_probe import probe_media
from rollout_console.tokenlab.models import ModelInfo
from rollout_console.tokenlab.probe import Probe, Target, probe
from rollout_gate.file.model import TEXT_FORMATS
from rollout_gate.secret import Secret
from tests.support.mutations import Liar, good_answers, one_by_one

TOKEN, KEY = Secret("mt-canary-of-token"), Secret("sk-canary-of-key")


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    with SimServer(seed=5) as sim:
        return good_answers(sim)


@pytest.fixture
def liar(good: dict[str, Any]) -> Iterator[Liar]:
    made = Liar(good)
    with made.origin:
        yield made


@pytest.fixture
async def calls(liar: Liar) -> AsyncIterator[dict[str, Callable[[], Awaitable[object]]]]:
    async with AsyncExitStack() as stack:
        management = await stack.enter_async_context(ManagementClient(liar.url, TOKEN))
        catalogue = await stack.enter_async_context(CatalogueClient(liar.url))
        inference = await stack.enter_async_context(InferenceClient(liar.url, KEY))
        yield {
            "models": catalogue.models,
            "model": lambda: catalogue.model("gpt-5.4"),
            "keys": management.keys,
            "key": lambda: management.create_key("new"),
            "billing": lambda: management.billing("key_demo"),
            "balance": management.balance,
            "openai_chat_completions": lambda: inference.prove("gpt-5.4"),
        }


CLIENTS = ["models", "model", "keys", "key", "billing", "balance", "openai_chat_completions"]


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_gives_an_answer_or_one_sentence(
    liar: Liar, calls: dict[str, Callable[[], Awaitable[object]]], name: str
) -> None:
    tried = refused = 0
    for what, data in one_by_one(liar.good[name]):
        liar.says[name] = data
        tried += 1
        try:
            found = await calls[name]()
        except ApiError as error:
            refused += 1
            _is_one_sentence(str(error), what)
        except Exception as error:
            pytest.fail(f"{name} {what}: {error!r}")
        else:
            _is_shown_safely(repr(found), what)
    assert 0 < refused < tried


async def test_no_odd_field_loses_a_new_secret(liar: Liar) -> None:
    secret = liar.good["key"]["key"]
    async with ManagementClient(liar.url, TOKEN) as management:
        for what, data in one_by_one(liar.good["key"]):
            if f'"key": "{secret}"'.encode() in data:
                liar.says["key"] = data
                assert (await management.create_key("new")).secret.reveal() == secret, what


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", TEXT_FORMATS)
async def test_a_probe_judges_whatever_comes(liar: Liar, kind: str, stream: bool) -> None:
    model = {"anthropic_messages": "claude-sonnet-4-6"}.get(kind, "gpt-5.4")
    target = Target("r", kind, model, "tokenlab", liar.url)
    found_wrong = 0
    for what, data in islice(one_by_one(liar.good[kind]), None, None, 9 if stream else 5):
        liar.says[kind] = data
        done = await probe(target, KEY, stream=stream, limit_s=10)
        found_wrong += not done.ok
        _is_told_safely(done, what)
    assert found_wrong


async def test_a_media_probe_judges_whatever_comes(
    liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_probe, "POLL_S", 0.01)
    target = Target("r", "video", "runway-video-1", "tokenlab", liar.url)
    for what, data in islice(one_by_one(liar.good["task"]), None, None, 5):
        liar.says["task"] = data
        done = await probe_media(target, KEY, ModelInfo("runway-video-1"), wait_s=0.02)
        _is_told_safely(done, what)


def _is_told_safely(done: Probe, what: str) -> None:
    for words in (*done.problems, *done.notes):
        _is_one_sentence(words, what)
    assert len(json.dumps(asdict(done) | {"target": ""}, default=str)) < 1_000_000, what


def _is_one_sentence(words: str, what: str) -> None:
    assert 0 < len(words) < 600, (what, words)
    _is_shown_safely(words, what)


def _is_shown_safely(words: str, what: str) -> None:
    """Assert that nothing in a text is obeyed or hidden by a terminal, and no credential shown."""
    assert "canary" not in words, what
    odd = {sign for sign in set(words) if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co")}
    assert not odd, (what, odd)
