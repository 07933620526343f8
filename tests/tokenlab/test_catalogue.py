"""Models as the API gives them: both generations of field names, odd values, the cache."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.common.flock import locked_folder
from rollout_console.models.catalogue import Catalogue, read_models
from rollout_console.models.queries import ModelFilter, Shelf, changes_between, contract_lines
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.catalogue import CatalogueClient, read_model
from rollout_console.tokenlab.errors import ApiError, Garbage, Refused, Unreachable
from rollout_console.tokenlab.models import SCENES, Evidence, ModelInfo
from rollout_gate.secret import Secret
from tests.tokenlab.test_probe import saying

__all__ = ["saying"]

DETAILS = {
    "public_operations": ["text_to_video"],
    "request_endpoint": "/v1/videos/generations",
    "request_endpoint_by_operation": {"text_to_video": "/v1/videos/generations"},
    "documented_inputs": ["prompt", "image_url"],
    "documented_outputs": ["video_url"],
    "fallback_status_endpoints": ["/v1/tasks/{id}"],
    "durations": ["5", "10"],
    "recommended_request": {"prompt": "x"},
    "notes": ["one at a time"],
}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[SimServer, Catalogue]]:
    with SimServer(seed=2) as server:
        yield server, Catalogue(server.base_url, tmp_path)


@pytest.mark.parametrize(
    ("summary", "details"),
    [
        ("request_format_summary", "request_format_details"),
        ("public_contract_summary", "public_contract"),
    ],
)
def test_both_generations_say_the_same(summary: str, details: str) -> None:
    small = {k: DETAILS[k] for k in ("public_operations", "request_endpoint")}
    item = {"id": "v", "object": "model", "owned_by": "x", "tokenlab": {summary: small}}
    assert read_model(item).contract.operations == ("text_to_video",)
    assert read_model(item).contract.endpoint == "/v1/videos/generations"
    contract = read_model({"id": "v", "tokenlab": {summary: small, details: DETAILS}}).contract
    assert contract.inputs == ("prompt", "image_url")
    assert contract.outputs == ("video_url",)
    assert contract.status_endpoints == ("/v1/tasks/{id}",)
    assert contract.limits == {"durations": "5, 10"}
    assert contract.endpoints == {"text_to_video": "/v1/videos/generations"}
    assert contract.notes == ("one at a time",)
    assert contract.example == {"prompt": "x"}


def test_full_and_compact_views_agree(sim: SimServer, api: httpx.Client) -> None:
    query = {"recommended_for": "video"}
    full = api.get("/v1/models", params=query).json()["data"]
    compact = api.get("/v1/models", params=query | {"view": "compact"}).json()["data"]
    assert len(full) == len(compact) > 10
    for one, other in zip(map(read_model, full), map(read_model, compact), strict=True):
        assert one.id == other.id
        assert (one.provider, one.category, one.tags) == (
            other.provider, other.category, other.tags,
        )  # fmt: skip
        assert one.price.per_request == other.price.per_request is not None
        assert one.evidence["video"].words == other.evidence["video"].words
        assert one.stage == other.stage


async def test_a_detail_says_what_a_list_does_not(sim: SimServer) -> None:
    async with CatalogueClient(sim.base_url) as client:
        listed = {model.id: model for model in await client.models()}
        claude = await client.model("claude-sonnet-4-6")
        assert await client.model("no-such-model") is None
    assert len(listed) >= 150
    assert listed["claude-sonnet-4-6"].formats is None
    assert claude is not None
    assert claude.formats == ("anthropic_messages", "openai_chat_completions")
    assert claude.price.input_per_1m == Decimal(3)
    lines = dict(contract_lines(claude))
    assert lines["price"] == "$3 in, $15 out per 1M tokens"
    assert lines["input"] == "200,000 tokens"
    deprecated = next(m for m in listed.values() if m.stage == "deprecated")
    assert deprecated.sunset_at == datetime(2026, 12, 31, tzinfo=UTC)
    assert deprecated.replacement in listed or deprecated.replacement


@pytest.mark.parametrize("scene", SCENES)
async def test_every_scene_is_ranked_with_its_evidence(sim: SimServer, scene: str) -> None:
    async with CatalogueClient(sim.base_url) as client:
        found = await client.models(scene)
    shelf = Shelf(found)
    ordered = shelf.select(ModelFilter(scene=scene), "rank")
    ranks = [model.evidence[scene].rank for model in ordered]
    scored = [rank for rank in ranks if rank is not None]
    assert ranks[: len(scored)] == sorted(scored), "unscored models stand among the scored"
    for model in ordered[len(scored) :]:
        assert "insufficient samples" in model.evidence[scene].words


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "tokenlab", "pricing", "lifecycle", "aliases", "agent_preferences", "recommendation",
        "request_format_details", "public_contract", "capabilities", "providers", "input_per_1m",
        "max_input_tokens", "accepted_request_formats", "sunset_at", "stage", "commercial",
    ]
)  # fmt: skip


@given(st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON)))
def test_nothing_in_an_item_breaks_the_reader(item: dict[str, Any]) -> None:
    model = read_model({"id": "x", **item, "tokenlab": item})
    assert contract_lines(model)
    shelf = Shelf([model])
    for sort in ("rank", "price", "context", "id"):
        shelf.select(ModelFilter(text="x"), sort)


NUMBERS = (
    "1e999999999", "-1e999999999", "1e99999999999999999999", "0e999999999", "1e-999999999", "NaN",
    "Infinity", "-3", "-0", "9" * 400, "0." + "1" * 400, "1e16", 1e300, float("inf"),
    float("nan"), -1, 10**400, 10**16, True, "x" * 10**6,
)  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=[str(i) for i in range(len(NUMBERS))])
def test_a_number_that_cannot_be_is_not_known(number: object) -> None:
    """Written out, or counted with, some of these take a gigabyte, or are no number any more."""
    names = ("input_per_1m", "output_per_1m", "per_request", "min_price", "max_price")
    evidence = {
        "preferred_rank": number, "success_rate_24h": number, "sample_count_24h": number,
        "status": "ready",
    }  # fmt: skip
    item = {
        "id": "x", "max_input_tokens": number, "max_output_tokens": number,
        "pricing": dict.fromkeys(names, number),
        "tokenlab": {"agent_preferences": {"video": evidence}},
    }  # fmt: skip
    model = read_model(item)
    assert set(model.price.amounts) == {None}
    assert (model.max_input, model.max_output) == (None, None)
    assert model.evidence["video"].words == "insufficient samples (0)"
    assert model.evidence["video"].rank is None
    assert len(str(contract_lines(model))) < 2000
    good = read_model({"id": "y", "pricing": {"input": 2, "output": "2e1"}})
    assert good.price.words == "$2 in, $20 out per 1M tokens"
    for sort in ("rank", "price", "context", "id"):
        Shelf([model, good]).select(ModelFilter(most_usd=Decimal(5)), sort)


def test_a_price_to_the_last_digit_is_one() -> None:
    model = read_model({"id": "x", "pricing": {"input": 3.0000000000000004e-07, "output": 0}})
    assert model.price.input_per_1m == Decimal("3.0000000000000004e-07")
    assert model.price.output_per_1m == 0


@pytest.mark.parametrize(
    ("currency", "words"),
    [
        ("USD", "$2 in, $20 out per 1M tokens"), ("usd", "$2 in, $20 out per 1M tokens"),
        (None, "$2 in, $20 out per 1M tokens"), ("EUR", "unknown"), ("CNY", "unknown"),
        (7, "unknown"),
    ],
)  # fmt: skip
def test_a_price_in_another_currency_is_unknown(currency: object, words: str) -> None:
    pricing = {"currency": currency, "input_per_1m": 2, "output_per_1m": 20}
    assert read_model({"id": "x", "pricing": pricing}).price.words == words


@pytest.mark.parametrize("where", ["pricing", "more"])
def test_a_price_that_varies_anywhere_varies(where: str) -> None:
    said = {"has_complex_pricing": False}
    item = {"pricing": said, "tokenlab": said} | {
        "pricing" if where == "pricing" else "tokenlab": {"has_complex_pricing": True}
    }
    assert read_model({"id": "x", **item}).price.varies


@pytest.mark.parametrize(
    "at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2026-13-01", "", 5, None]
)
def test_a_date_that_cannot_be_is_not_known(at: object) -> None:
    names = ("released_at", "deprecated_at", "sunset_at", "retired_at")
    more = {"lifecycle": dict.fromkeys(names, at), "commercial": {"free_until": at}}
    model = read_model({"id": "x", "tokenlab": more})
    assert [getattr(model, name) for name in (*names, "free_until")] == [None] * 5


async def test_one_bad_model_does_not_break_the_list(saying: Callable[..., str]) -> None:
    bad = (
        b'{"id":"far","tokenlab":{"lifecycle":{"sunset_at":"9999-12-31T23:59:59-12:00"}}}',
        b'{"id":"huge","max_input_tokens":1e400}', b'{"id":"long","max_input_tokens":'
        + b"9" * 5000 + b"}", b'{"id":5}', b"7", b'{"id":""}',
    )  # fmt: skip
    url = saying(b'{"data":[{"id":"a"},' + b",".join(bad) + b',{"id":"b"}]}', "application/json")
    async with CatalogueClient(url) as client:
        found = [model.id for model in await client.models()]
    assert found == ["a", "far", "5", "b"]


def test_filters_and_orders(sim: SimServer, api: httpx.Client) -> None:
    shelf = Shelf(read_model(item) for item in api.get("/v1/models").json()["data"])
    assert {m.category for m in shelf.select(ModelFilter(category="video"), "id")} == {"video"}
    assert {m.stage for m in shelf.select(ModelFilter(stage="preview"), "id")} == {"preview"}
    assert all("tools" in m.tags for m in shelf.select(ModelFilter(tag="tools"), "id"))
    assert {m.provider for m in shelf.select(ModelFilter(provider="openai"), "id")} == {"openai"}
    found = shelf.select(ModelFilter(text="5.4 GPT"), "id")
    assert [m.id for m in found] == ["gpt-5.4", "gpt-5.4-mini"]
    assert shelf.select(ModelFilter(text="openai/gpt-5.4-mini"), "id")[0].id == "gpt-5.4-mini"
    prices = [m.price.sort_key for m in shelf.select(ModelFilter(), "price")]
    assert prices == sorted(prices)
    cheap = shelf.select(ModelFilter(category="chat", most_usd=Decimal("0.30")), "price")
    assert cheap
    assert all((m.price.input_per_1m or 0) <= Decimal("0.30") for m in cheap)
    sizes = [m.max_input or 0 for m in shelf.select(ModelFilter(), "context")]
    assert sizes == sorted(sizes, reverse=True)
    aliased = shelf.find("openai/gpt-5.4")
    assert aliased is not None
    assert aliased.id == "gpt-5.4"


def test_what_changed_is_said(sim: SimServer, api: httpx.Client) -> None:
    items = api.get("/v1/models").json()["data"]
    before = [read_model(item) for item in items]
    text = json.dumps(items[1:]).replace('"stage": "preview"', '"stage": "deprecated"')
    text = text.replace('"input_per_1m": "0.25"', '"input_per_1m": "0.5"')
    text = text.replace('"id": "claude-opus-4-8"', '"id": "claude-opus-4-9"')
    found = changes_between(before, [read_model(item) for item in json.loads(text)])
    assert found[before[0].id] == found["claude-opus-4-8"] == "gone"
    assert found["claude-opus-4-9"] == "new"
    assert found["gpt-5.4-mini"] == "price was $0.25 in, $2 out per 1M tokens"
    assert "was preview" in found.values()
    assert changes_between(before, before) == {}


async def test_a_catalogue_survives_the_api(
    own: tuple[SimServer, Catalogue], tmp_path: Path
) -> None:
    server, room = own
    await room.refresh()
    await room.recommend("video")
    await room.detail("gpt-5.4")
    url = server.base_url
    server.stop()
    later = datetime.now(UTC) + timedelta(hours=3)
    again = Catalogue(url, tmp_path, clock=lambda: later)
    assert len(again.shelf.models) >= 150
    assert "cannot be reached" in await read_models(again)
    assert (again.age_s() or 0) > 3 * 3600 - 60
    known = again.shelf.find("gpt-5.4")
    assert known is not None
    assert known.formats == ("openai_chat_completions", "openai_responses")
    assert again.shelf.select(ModelFilter(scene="video"), "rank")[0].evidence["video"].rank
    nothing = Catalogue(url, tmp_path / "elsewhere")
    with pytest.raises(Unreachable):
        await read_models(nothing)


async def test_answers_that_cross_lose_nothing(own: tuple[SimServer, Catalogue]) -> None:
    """The screens ask from several threads at once: list, scene, details, and marking as seen."""
    _, room = own
    await room.refresh()
    asked: list[Callable[[], Coroutine[Any, Any, object]]] = [
        room.refresh, partial(room.recommend, "video"), partial(room.recommend, "image"),
        *(partial(room.detail, name) for name in ("gpt-5.4", "gpt-5.4-mini", "claude-opus-4-8")),
    ]  # fmt: skip
    for _ in range(3):
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, ask()) for ask in asked))
    for name in ("gpt-5.4", "gpt-5.4-mini", "claude-opus-4-8"):
        known = room.shelf.find(name)
        assert known is not None
        assert known.formats
    for scene in ("video", "image"):
        assert room.shelf.select(ModelFilter(scene=scene), "rank")[0].evidence[scene].rank


async def test_the_last_look_is_kept(own: tuple[SimServer, Catalogue], tmp_path: Path) -> None:
    server, room = own
    await room.refresh()
    assert room.changes == {}, "on the first look nothing is news"
    catalogue = server.state.catalogue
    gone = catalogue.pop("gpt-5.4-mini")
    await room.refresh()
    again = Catalogue(server.base_url, tmp_path)
    assert again.changes == {"gpt-5.4-mini": "gone"}
    assert [model.id for model in again.gone] == ["gpt-5.4-mini"]
    again.mark_seen()
    assert Catalogue(server.base_url, tmp_path).changes == {}
    catalogue[gone.id] = gone
    await again.refresh()
    assert again.changes == {"gpt-5.4-mini": "new"}


async def test_what_two_consoles_learn_and_see_is_kept(
    own: tuple[SimServer, Catalogue], tmp_path: Path
) -> None:
    """Each has read the cache at its start, before the other wrote to it."""
    server, room = own
    await room.refresh()
    server.state.catalogue.pop("gpt-5.4-mini")
    await room.refresh()
    other = Catalogue(server.base_url, tmp_path)
    room.mark_seen()
    await other.recommend("video")
    assert Catalogue(server.base_url, tmp_path).changes == {}
    await room.refresh()
    kept = Catalogue(server.base_url, tmp_path)
    assert kept.changes == {}
    assert kept.shelf.select(ModelFilter(scene="video"), "rank")[0].evidence["video"].rank


async def test_a_later_look_of_another_console_is_not_undone(
    own: tuple[SimServer, Catalogue], tmp_path: Path
) -> None:
    server, room = own
    await room.refresh()
    other = Catalogue(server.base_url, tmp_path)
    server.state.catalogue.pop("gpt-5.4-mini")
    await room.refresh()
    other.mark_seen()  # of what it shows, which has the model still
    assert Catalogue(server.base_url, tmp_path).changes == {"gpt-5.4-mini": "gone"}
    late = Catalogue(server.base_url, tmp_path)
    server.state.catalogue.pop("gpt-5.4")
    await room.refresh()
    room.mark_seen()
    late.mark_seen()
    assert Catalogue(server.base_url, tmp_path).changes == {}


async def test_a_cache_whose_folder_stays_locked_is_written_all_the_same(
    own: tuple[SimServer, Catalogue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, room = own
    monkeypatch.setattr("rollout_console.models.catalogue._LOCK_WAIT_S", 0.01)
    with locked_folder(tmp_path, 0):
        await room.refresh()
    assert room.trouble == ""
    assert Catalogue(server.base_url, tmp_path).age_s() is not None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"base_url":1}', b"\xff", b"null"])
async def test_a_damaged_cache_is_as_good_as_none(
    own: tuple[SimServer, Catalogue], tmp_path: Path, content: bytes
) -> None:
    server, room = own
    await room.refresh()
    (file,) = tmp_path.glob("models-*.json")
    file.write_bytes(content)
    again = Catalogue(server.base_url, tmp_path)
    assert again.age_s() is None
    await again.refresh()
    assert len(again.shelf.models) >= 150


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+00:00", ""), ('"stage":"preview"', '"sunset_at":"2027-01-01T00:00:00"'),
        ('"input_per_1m":"1.25"', '"input_per_1m":"NaN"'),
        ('"input_per_1m":"1.25"', '"input_per_1m":"1e999999999"'),
        ('"max_input":200000', '"max_input":-5'), ('"samples":12', '"samples":-12'),
    ],
)  # fmt: skip
async def test_a_cache_with_odd_values_is_none(
    own: tuple[SimServer, Catalogue], tmp_path: Path, old: str, new: str
) -> None:
    server, room = own
    await room.refresh()
    await room.recommend("video")
    (file,) = tmp_path.glob("models-*.json")
    text = file.read_text().replace('Z"', '+00:00"')
    assert old in text
    file.write_text(text.replace(old, new))
    again = Catalogue(server.base_url, tmp_path)
    assert again.age_s() is None
    await again.refresh()
    again.shelf.select(ModelFilter(), "price")


def test_every_number_of_a_model_is_looked_at() -> None:
    assert ModelInfo("x", evidence={"video": Evidence(success=0.5)}).in_order
    assert not ModelInfo("x", evidence={"video": Evidence(success=1e300)}).in_order
    assert not ModelInfo("x", free_until=datetime(2027, 1, 1)).in_order  # noqa: DTZ001


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "garbage"}, Garbage),
        ({"kind": "truncate"}, Unreachable),
        ({"status": 500}, Refused),
        ({"status": 429}, Refused),
    ],
)
async def test_a_bad_answer_changes_nothing(
    own: tuple[SimServer, Catalogue], fault: dict[str, Any], error: type[ApiError]
) -> None:
    server, room = own
    await room.refresh()
    before = list(room.shelf.models)
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.post(f"{server.base_url}/_sim/faults", json=fault)
    with pytest.raises(error):
        await room.refresh()
    with pytest.raises(error):
        await room.recommend("video")
    with pytest.raises(error):
        await room.detail("gpt-5.4")
    assert room.shelf.models == before


async def test_with_a_key_the_list_is_what_the_key_may_use(
    own: tuple[SimServer, Catalogue],
) -> None:
    server, room = own
    server.state.keys["key_demo"].models = ["gpt-5.4"]
    assert await room.allowed(Secret("sk-sim-demo")) == {"gpt-5.4"}
    await room.refresh()
    assert len(room.shelf.models) >= 150, "browsing sends no key"
    with pytest.raises(Refused):
        await room.allowed(Secret("sk-wrong"))


def test_too_few_samples_are_said_to_be_too_few() -> None:
    assert Evidence(samples=12).words == "insufficient samples (12)"
    assert Evidence(1, 0.9712, 52_000, "ready").words == "97.1% of 52,000"
