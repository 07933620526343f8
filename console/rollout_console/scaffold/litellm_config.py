"""Map the models of a LiteLLM proxy's config to routes, by the format of each one's provider.

The YAML is composed to nodes, and only the keys that are looked up are ever turned into values: a
credential in the file is not read, and a value of an unknown type is not constructed. Aliases are
shared nodes, and merge keys are looked up lazily, so that neither can expand without bound.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rollout_console.scaffold.draft import (
    USUAL_PREVIOUS,
    RouteDraft,
    model_problem,
    name_problem,
    previous_url_problem,
    suited_url,
    unique_name,
)
from rollout_console.scaffold.errors import ScaffoldError
from rollout_gate.access_log import MOST_NAME
from rollout_gate.file.read import read_regular
from rollout_gate.secret import redacted
from rollout_gate.untrusted import BYTE_ORDER_MARK

MOST_BYTES = 1024 * 1024
MOST_MODELS = 2_000
_MOST_MERGES = 64
_CHAT = "openai_chat_completions"

_COMPATIBLE = {
    "openai": "https://api.openai.com/v1",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "xai": "https://api.x.ai/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "hosted_vllm": "",
    "vllm": "",
    "litellm_proxy": "",
    "lm_studio": "",
}
"""LiteLLM's providers that are called as OpenAI is, and their base URLs where they have one."""
_NATIVE = {"anthropic": "anthropic_messages", "gemini": "gemini_generate_content"}
_MODES = {
    "": "", "chat": "", "responses": "openai_responses", "image_generation": "image",
    "video_generation": "video",
}  # fmt: skip
"""The format that ``model_info.mode`` says; empty where the provider says it."""
_OPENAI_NAME = re.compile(r"^(?:gpt-|chatgpt-|o\d)")


class Unmapped(msgspec.Struct, frozen=True):
    """A model that has no route, or a part of it that was not taken over, and why."""

    line: int
    name: str
    reason: str


class Config(msgspec.Struct, frozen=True):
    """The routes of a config, and what could not be taken over."""

    routes: tuple[RouteDraft, ...]
    unmapped: tuple[Unmapped, ...]


def read_config(path: Path) -> Config:
    """Read a LiteLLM config; raises ScaffoldError where it cannot be read or maps to no route."""
    routes: dict[str, RouteDraft] = {}
    unmapped: list[Unmapped] = []
    for entry in _entries(path):
        made = _route(entry)
        if isinstance(made, Unmapped):
            unmapped.append(made)
        else:
            unmapped += _add(routes, made, entry)
    if not routes:
        why = f"; line {unmapped[0].line}: {unmapped[0].reason}" if unmapped else ""
        raise ScaffoldError(f"{path} has no model that can be a route{why}")
    return Config(tuple(routes.values()), tuple(unmapped))


class _Entry(msgspec.Struct, frozen=True):
    line: int
    name: str
    model: str
    api_base: str
    mode: str


def _add(routes: dict[str, RouteDraft], made: RouteDraft, entry: _Entry) -> Iterator[Unmapped]:
    """Add a route; of several deployments of one model the first is kept."""
    known = routes.get(made.name)
    if known is None:
        routes[made.name] = made
    elif (known.format, known.model) == (made.format, made.model):
        if known.previous_base_url != made.previous_base_url:
            yield Unmapped(entry.line, entry.name, "is another deployment of that model: a route"
                           " has one previous side, and keeps the first")  # fmt: skip
    else:
        name = unique_name(made.name, routes)
        routes[name] = msgspec.structs.replace(made, name=name)
        yield Unmapped(entry.line, entry.name, f"is another model under a name that is taken: its"
                       f" route is {name}")  # fmt: skip


def _route(entry: _Entry) -> RouteDraft | Unmapped:
    def no(reason: str) -> Unmapped:
        return Unmapped(entry.line, redacted(entry.name[:MOST_NAME]), reason)

    if not entry.model:
        return no("names no litellm_params.model")
    if "*" in entry.model or "*" in entry.name:
        return no("is a wildcard: name its models with --route")
    if problem := name_problem(entry.name) or model_problem(entry.model):
        return no(problem)
    if entry.mode not in _MODES:
        return no(f"is of mode {entry.mode[:40]}, for which there is no route format")
    provider, model = _split(entry.model)
    if provider in _NATIVE:
        wanted, usual = _NATIVE[provider], USUAL_PREVIOUS[_NATIVE[provider]]
        if _MODES[entry.mode]:
            return no(f"is of mode {entry.mode} at {provider}, for which there is no route format")
    elif provider in _COMPATIBLE:
        wanted, usual = _MODES[entry.mode] or _CHAT, _COMPATIBLE[provider]
        if provider == "openai" and model.startswith("responses/"):
            wanted, model = "openai_responses", model.removeprefix("responses/")
    elif provider == "azure" and "/openai/v1" in entry.api_base:
        wanted, usual = _MODES[entry.mode] or _CHAT, ""
    elif provider == "azure":
        return no("is an Azure deployment, whose path is its own: give --route with"
                  " --previous-url https://RESOURCE.openai.azure.com/openai/v1")  # fmt: skip
    else:
        what = f"is of {provider[:40]}" if provider else "names no provider"
        return no(f"{what}, which is not called as a route's format is")
    previous, why = _previous(wanted, entry.api_base, usual)
    return RouteDraft(entry.name, wanted, model, previous, why_no_previous=why)


def _split(model: str) -> tuple[str, str]:
    """Split a model into LiteLLM's provider and the provider's own name of it."""
    provider, slash, rest = model.partition("/")
    if slash:
        return provider.lower(), rest
    if _OPENAI_NAME.match(model):
        return "openai", model
    if model.startswith("claude-"):
        return "anthropic", model
    # A bare Gemini name is Vertex AI's for LiteLLM, and other bare names are in a list of its own.
    return "vertex_ai" if model.startswith("gemini-") else "", model


def _previous(route_format: str, api_base: str, usual: str) -> tuple[str, str]:
    """Return the base URL of the previous side, or why there is none."""
    if api_base.startswith("os.environ/"):
        return "", "the config takes it from the environment; write where requests go today"
    if not api_base:
        return usual, "" if usual else "the config does not name it; write where requests go today"
    try:
        url = suited_url(route_format, api_base)
        problem = previous_url_problem(route_format, url)
    except ValueError:
        url, problem = "", "is not a URL"
    return ("", f"api_base {problem}; write where requests go today") if problem else (url, "")


# -- YAML ----------------------------------------------------------------------------------------


def _entries(path: Path) -> Iterator[_Entry]:
    root = _composed(path)
    models = _get(root, "model_list")
    if models is None or models.id != "sequence":
        raise ScaffoldError(f"{path} has no model_list: it is no config of a LiteLLM proxy")
    if len(models.value) > MOST_MODELS:
        raise ScaffoldError(f"{path} lists {len(models.value):,} models; at most {MOST_MODELS:,}")
    for node in models.value:
        params = _get(node, "litellm_params")
        yield _Entry(
            node.start_mark.line + 1, _text(node, "model_name"), _text(params, "model"),
            _text(params, "api_base") or _text(params, "base_url"),
            _text(_get(node, "model_info"), "mode"),
        )  # fmt: skip


def _composed(path: Path) -> Any:
    try:
        import yaml  # only here: no other command waits for it
    except ImportError:
        raise ScaffoldError(
            "reading YAML needs PyYAML, which is not installed: pip install pyyaml"
        ) from None
    try:
        data, _ = read_regular(path, MOST_BYTES)
        text = data.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError:
        raise ScaffoldError(f"{path} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise ScaffoldError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        # The error's own text quotes the file, and so what may be a credential.
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise ScaffoldError(f"{path} is not valid YAML: see {where}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ScaffoldError(f"{path} is not valid YAML, or nested too deeply") from None


def _get(node: Any, key: str) -> Any:
    """Return the node of a key of a mapping, its own before merged ones; None without one.

    A bounded number of merged mappings is looked at: they may refer to each other.
    """
    waiting, looked = [node], 0
    while waiting and looked < _MOST_MERGES:
        one, looked = waiting.pop(0), looked + 1
        if one is None or one.id != "mapping":
            continue
        merged: Sequence[Any] = ()
        found = None
        for name, value in one.value:
            if name.id == "scalar" and name.value == key:
                found = value  # of equal keys the last is in force, as LiteLLM reads it
            elif name.id == "scalar" and name.value == "<<":
                merged = value.value if value.id == "sequence" else [value]
        if found is not None:
            return found
        waiting += merged[:_MOST_MERGES]
    return None


def _text(node: Any, key: str) -> str:
    found = _get(node, key)
    return found.value.strip() if found is not None and found.id == "scalar" else ""
