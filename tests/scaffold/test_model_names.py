"""Model names against the simulator's catalogue, with and without one."""

import asyncio
from pathlib import Path

import pytest

from rollout_console.models.catalogue import Catalogue
from rollout_console.scaffold.draft import RouteDraft
from rollout_console.scaffold.model_names import ModelNames, no_models
from rollout_console.sim.server import SimServer

CHAT = "openai_chat_completions"


@pytest.fixture
def names(sim: SimServer, tmp_path: Path) -> ModelNames:
    room = Catalogue(sim.base_url, tmp_path)
    asyncio.run(room.refresh())
    return ModelNames(room)


def test_what_a_route_can_have(names: ModelNames) -> None:
    assert names.problem(CHAT, "gpt-5.4") == ""
    assert names.problem(CHAT, "") == ""
    assert "a media route needs one" in names.problem("image", "")
    assert names.problem(CHAT, "gpt-5.44").endswith("did you mean gpt-5.4 or gpt-5.4-mini?")
    assert "is a chat model" in names.problem("image", "gpt-5.4")
    assert "does not accept" in names.problem("gemini_generate_content", "gpt-5.4")
    assert "control character" in names.problem(CHAT, "a\x07")


def test_the_model_that_a_log_means(names: ModelNames) -> None:
    dated = RouteDraft("chat", CHAT, "gpt-5.4-2026-03-05")
    assert names.meant(dated).model == "gpt-5.4"
    gone = names.meant(RouteDraft("chat", CHAT, "gpt-0"))
    assert (gone.model, "is no model at TokenLab" in gone.why_no_model) == ("", True)
    assert names.meant(RouteDraft("chat", CHAT)).model == ""


def test_those_that_fit(names: ModelNames) -> None:
    ids = [model.id for model in names.fitting("image")]
    assert ids == sorted(ids)
    assert "openai-image-1" in ids
    assert "gpt-5.4" not in ids
    assert [model.id for model in names.fitting(CHAT, "GPT-5.4-M")] == ["gpt-5.4-mini"]


def test_without_a_catalogue_any_name_is_taken() -> None:
    names = no_models("it cannot be read")
    assert (names.count, names.unchecked) == (0, "it cannot be read")
    assert names.problem(CHAT, "typed") == ""
    assert names.problem(CHAT, "a\x07")
    assert names.fitting(CHAT) == []
    kept = RouteDraft("chat", CHAT, "gpt-5.4-2026-03-05")
    assert names.meant(kept).model == kept.model


def test_an_api_that_went_away_leaves_the_list(sim: SimServer, tmp_path: Path) -> None:
    room = Catalogue(sim.base_url, tmp_path)
    asyncio.run(room.refresh())
    room.base_url = "http://127.0.0.1:9"
    names = ModelNames(room)
    assert names.problem(CHAT, "gpt-5.4") == ""
    assert "is no model" in names.problem(CHAT, "gpt-5.44")
