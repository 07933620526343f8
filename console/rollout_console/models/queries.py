"""Filter, sort and diff models; describe one model."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec

from rollout_console.common.listing import counted
from rollout_console.tokenlab.models import CATEGORIES, ModelInfo
from rollout_gate.file.model import MEDIA_FORMATS

Sort = Literal["rank", "price", "context", "id"]
SORTS: tuple[Sort, ...] = ("rank", "price", "context", "id")

Changes = Mapping[str, str]
"""How models differ from the seen baseline, in words, by model id."""


class ModelFilter(msgspec.Struct, frozen=True):
    """A filter of models; an empty field matches everything.

    Every word of ``text`` must occur in id, aliases, provider, category or tags; ``most_usd`` is in
    the model's own unit (the input price for text).
    """

    scene: str = ""
    category: str = ""
    provider: str = ""
    tag: str = ""
    stage: str = ""
    text: str = ""
    most_usd: Decimal | None = None
    changed: bool = False


class Shelf:
    """An index of models: search text is folded once, not at every key; sorts are memoized."""

    def __init__(self, models: Iterable[ModelInfo]) -> None:
        self.models = list(models)
        self._folded = {
            model.id: " ".join(
                (*model.names, model.provider, model.category, *model.tags)
            ).casefold()
            for model in self.models
        }
        self.categories = sorted({model.category for model in self.models if model.category})
        self.providers = sorted({model.provider for model in self.models if model.provider})
        self.tags = sorted({tag for model in self.models for tag in model.tags})
        self._orders: dict[tuple[str, str], list[ModelInfo]] = {}

    def select(
        self, wanted: ModelFilter, sort: Sort, changes: Changes | None = None
    ) -> list[ModelInfo]:
        """Return the models that match ``wanted``, sorted by ``sort``."""
        words = wanted.text.casefold().split()
        tests = _tests(wanted, changes or {})
        folded = self._folded
        found = self._ordered(sort, wanted.scene)
        for test in tests:
            found = [model for model in found if test(model)]
        for word in words:
            found = [model for model in found if word in folded[model.id]]
        return found

    def find(self, name: str) -> ModelInfo | None:
        """Return the model with that id or alias, ids first; None without one."""
        return next((m for m in self.models if m.id == name), None) or next(
            (model for model in self.models if name in model.aliases), None
        )

    def _ordered(self, sort: Sort, scene: str) -> list[ModelInfo]:
        place = (sort, scene if sort == "rank" else "")
        if place not in self._orders:
            self._orders[place] = sorted(self.models, key=_order(sort, scene))
        return self._orders[place]


def _tests(wanted: ModelFilter, changes: Changes) -> list[Callable[[ModelInfo], bool]]:
    tests: list[Callable[[ModelInfo], bool]] = []
    if wanted.scene:
        tests.append(lambda m: wanted.scene in m.evidence or m.category == wanted.scene)
    if wanted.category:
        tests.append(lambda m: m.category == wanted.category)
    if wanted.provider:
        tests.append(lambda m: m.provider == wanted.provider)
    if wanted.tag:
        tests.append(lambda m: wanted.tag in m.tags)
    if wanted.stage:
        tests.append(lambda m: m.stage == wanted.stage)
    if wanted.changed:
        tests.append(lambda m: m.id in changes)
    most = wanted.most_usd
    if most is not None:
        tests.append(lambda m: (price := _asked_price(m)) is not None and price <= most)
    return tests


def _asked_price(model: ModelInfo) -> Decimal | None:
    price = model.price
    amounts = (price.input_per_1m, price.per_request, price.least)
    return next((amount for amount in amounts if amount is not None), None)


def _order(sort: Sort, scene: str) -> Callable[[ModelInfo], Any]:
    if sort == "price":
        return lambda m: (*m.price.sort_key, m.id)
    if sort == "context":
        return lambda m: (-(m.max_input or 0), m.id)
    if sort == "id":
        return lambda m: m.id
    return lambda m: (*_rank(m, scene), m.id)


def _rank(model: ModelInfo, scene: str) -> tuple[int, int]:
    """Return a sort key: in a scene, ranked models first; then categories in the API's order."""
    scored = [e.rank for s, e in model.evidence.items() if scene == s and e.rank is not None]
    place = CATEGORIES.index(model.category) if model.category in CATEGORIES else len(CATEGORIES)
    return (0, min(scored)) if scene and scored else (1, place)


def changes_between(before: Sequence[ModelInfo], after: Sequence[ModelInfo]) -> dict[str, str]:
    """Diff two lists: what is new, gone, or differs in price or lifecycle, in words, by id."""
    old = {model.id: model for model in before}
    new = {model.id: model for model in after}
    found = {name: "gone" for name in old if name not in new}
    for name, model in new.items():
        if name not in old:
            found[name] = "new"
            continue
        words = []
        if model.price != old[name].price:
            words.append(f"price was {old[name].price.words}")
        if model.stage != old[name].stage:
            words.append(f"was {old[name].stage}")
        elif model.sunset_at != old[name].sunset_at:
            words.append("another sunset date")
        if words:
            found[name] = "; ".join(words)
    return found


def unfit(model: ModelInfo, route_format: str) -> str:
    """Return why a model cannot serve a format; empty where it can, as far as is known."""
    if route_format in MEDIA_FORMATS:
        if model.category and model.category != route_format:
            return f"{model.id} is a {model.category} model; the route is for {route_format}"
        return ""
    if model.category and model.category != "chat":
        return f"{model.id} is a {model.category} model; the route is for text"
    if model.formats is not None and route_format not in model.formats:
        accepted = ", ".join(model.formats) or "no text format"
        return f"{model.id} does not accept {route_format}; it accepts {accepted}"
    return ""


def as_json(model: ModelInfo, change: str = "") -> dict[str, Any]:
    """Return the shape that ``models --json`` prints; amounts are decimal strings."""
    import msgspec

    body: dict[str, Any] = {
        name: getattr(model, name)
        for name in (
            "id", "provider", "category", "aliases", "tags", "max_input", "max_output", "stage",
            "reason", "replacement", "released_at", "deprecated_at", "sunset_at", "retired_at",
            "latest", "free", "free_until", "formats",
        )
    }  # fmt: skip
    body["price"] = {n: getattr(model.price, n) for n in model.price.__struct_fields__}
    body["evidence"] = {
        scene: {n: getattr(one, n) for n in one.__struct_fields__}
        for scene, one in model.evidence.items()
    }
    contract = model.contract
    body["contract"] = {n: getattr(contract, n) for n in contract.__struct_fields__}
    body["change"] = change
    built: dict[str, Any] = msgspec.to_builtins(body)
    return built


def contract_lines(model: ModelInfo) -> list[tuple[str, str]]:
    """Return all known facts of a model as (name, text) pairs, without empty ones."""
    contract = model.contract
    rows = [
        ("id", model.id),
        ("aliases", ", ".join(model.aliases)),
        ("provider", model.provider),
        ("category", model.category),
        ("tags", ", ".join(model.tags)),
        ("lifecycle", _lifecycle(model)),
        ("replacement", model.replacement),
        ("price", model.price.words + (", and varies" if model.price.varies else "")),
        ("charged", _free(model)),
        ("input", _tokens(model.max_input)),
        ("output", _tokens(model.max_output)),
        ("formats", _formats_words(model)),
        ("operations", ", ".join(contract.operations)),
        ("endpoint", contract.endpoint),
        *((f"  {name}", path) for name, path in contract.endpoints.items()),
        ("inputs", ", ".join(contract.inputs)),
        ("outputs", ", ".join(contract.outputs)),
        ("status at", ", ".join(contract.status_endpoints)),
        *((name.replace("_", " "), words) for name, words in contract.limits.items()),
        ("example", json.dumps(contract.example) if contract.example else ""),
        *(("note", note) for note in contract.notes),
    ]
    for scene, one in model.evidence.items():
        rank = f"rank {one.rank}, " if one.rank is not None else ""
        rows.append((f"for {scene}", f"{rank}{one.words} in 24 h"))
    return [(name, words) for name, words in rows if words]


def _lifecycle(model: ModelInfo) -> str:
    dates = (
        ("released", model.released_at),
        ("deprecated", model.deprecated_at),
        ("sunset", model.sunset_at),
        ("retired", model.retired_at),
    )
    said = [f"{name} {at:%Y-%m-%d}" for name, at in dates if at is not None]
    reason = f" ({model.reason})" if model.reason else ""
    return ", ".join([model.stage + reason, *said])


def _free(model: ModelInfo) -> str:
    if not model.free:
        return ""
    return f"free until {model.free_until:%Y-%m-%d}" if model.free_until else "free"


def _formats_words(model: ModelInfo) -> str:
    if model.formats is None:
        return "not read yet"
    return ", ".join(model.formats) or "none of the text formats"


def _tokens(count: int | None) -> str:
    return "" if count is None else f"{count:,} tokens"


def ending(model: ModelInfo, now: datetime, plan_days: int) -> str:
    """Return why a model is retired, deprecated or ends within ``plan_days``; empty if it lasts."""
    if model.stage == "retired":
        return f"{model.id} is retired: requests for it fail"
    ends = model.sunset_at or model.retired_at
    if ends is not None and ends <= now + timedelta(days=plan_days):
        return f"{model.id} ends on {ends:%Y-%m-%d}, within {counted(plan_days, 'day')}"
    if model.stage == "deprecated":
        return f"{model.id} is deprecated" + (f" ({model.reason})" if model.reason else "")
    return ""
