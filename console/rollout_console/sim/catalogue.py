"""Generate a deterministic catalogue of models in every category."""

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

CREATED = 1_767_225_600
CATEGORIES = (
    "chat", "embedding", "translation", "image", "video", "audio", "tts", "stt", "rerank",
    "3d", "music",
)  # fmt: skip
SCENES = ("image", "video", "music", "3d", "tts", "stt", "embedding", "rerank", "translation")
STAGES = ("active", "preview", "deprecated", "retired")

_ENDPOINT = {
    "chat": ("chat", "/v1/chat/completions"),
    "embedding": ("embed", "/v1/embeddings"),
    "translation": ("translate", "/v1/translations"),
    "image": ("text_to_image", "/v1/images/generations"),
    "video": ("text_to_video", "/v1/videos/generations"),
    "audio": ("speech", "/v1/audio/speech"),
    "tts": ("speech", "/v1/audio/speech"),
    "stt": ("transcribe", "/v1/audio/transcriptions"),
    "rerank": ("rerank", "/v1/rerank"),
    "3d": ("text_to_3d", "/v1/3d/generations"),
    "music": ("text_to_music", "/v1/music/generations"),
}
_PROVIDERS = {
    "chat": ("openai", "anthropic", "google", "mistral", "deepseek", "qwen", "xai", "meta"),
    "image": ("openai", "google", "flux", "ideogram"),
    "video": ("bytedance", "google", "kling", "runway"),
    "music": ("suno", "udio"),
    "3d": ("tripo", "meshy"),
}
_FORMATS = {
    "openai": ("openai_chat_completions", "openai_responses"),
    "anthropic": ("anthropic_messages", "openai_chat_completions"),
    "google": ("gemini_generate_content", "openai_chat_completions"),
}
_KNOWN = (
    ("gpt-5.4", "openai", "1.25", "10"),
    ("gpt-5.4-mini", "openai", "0.25", "2"),
    ("claude-sonnet-4-6", "anthropic", "3", "15"),
    ("claude-opus-4-8", "anthropic", "5", "25"),
    ("gemini-3.5-flash", "google", "0.3", "2.5"),
    ("gemini-3.5-pro", "google", "1.25", "10"),
)
_COUNTS = {
    "chat": 78, "embedding": 10, "translation": 5, "image": 18, "video": 16, "audio": 4,
    "tts": 8, "stt": 7, "rerank": 5, "3d": 6, "music": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """One model. Prices are US dollars: per million tokens for text, per request for the rest."""

    id: str
    provider: str
    category: str
    formats: tuple[str, ...]
    input_per_1m: Decimal
    output_per_1m: Decimal
    per_request: Decimal
    stage: str
    replacement: str | None
    rank: int | None
    success_24h: float | None
    samples_24h: int
    tags: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether there are enough samples for a rank."""
        return self.rank is not None

    def pricing(self) -> dict[str, Any]:
        """Return the price in the compact view's shape."""
        unit = (
            "per_1m_tokens" if self.category in ("chat", "embedding", "rerank") else "per_request"
        )
        price: dict[str, Any] = {"unit": unit, "currency": "USD", "has_complex_pricing": False}
        if unit == "per_1m_tokens":
            return price | {
                "input_per_1m": str(self.input_per_1m),
                "output_per_1m": str(self.output_per_1m),
            }
        return price | {"per_request": str(self.per_request)}

    def compact(self, scene: str | None) -> dict[str, Any]:
        """Return the model as an item of the compact view."""
        operation, endpoint = _ENDPOINT[self.category]
        item: dict[str, Any] = {
            "id": self.id,
            "provider": self.provider,
            "category": self.category,
            "capabilities": list(self.tags),
            "max_input_tokens": 200_000 if self.category == "chat" else None,
            "max_output_tokens": 32_000 if self.category == "chat" else None,
            "pricing": self.pricing(),
            "status": self.stage,
            "latest": self.stage == "preview",
            "supported_operations": [operation],
            "request_endpoint": endpoint,
        }
        return item | ({"recommendation": self._evidence()} if scene else {})

    def full(self, scene: str | None, *, detail: bool = False) -> dict[str, Any]:
        """Return the model as an item of the full view, or as the detail route's answer."""
        operation, endpoint = _ENDPOINT[self.category]
        summary = {
            "public_operations": [operation],
            "request_endpoint": endpoint,
            "request_endpoint_by_operation": {operation: endpoint},
        }
        extension: dict[str, Any] = {
            "aliases": [f"{self.provider}/{self.id}"],
            "pricing": {k: v for k, v in self.pricing().items() if k != "has_complex_pricing"},
            "capabilities": list(self.tags),
            "providers": [self.provider],
            "max_input_tokens": 200_000 if self.category == "chat" else None,
            "max_output_tokens": 32_000 if self.category == "chat" else None,
            "category": self.category,
            "pricing_unit": self.pricing()["unit"],
            "cache_pricing": None,
            "has_complex_pricing": False,
            "pricing_summary": None,
            "lifecycle": self._lifecycle(),
            "commercial": {"user_charge_policy": "paid", "free_reason": None, "free_until": None},
            "badges": self._badges(),
        }
        if self.category != "chat" or not detail:
            extension["request_format_summary"] = summary
        if scene or (self.category in SCENES and detail):
            name = scene or self.category
            basis = {"updated_at": "2026-11-01T00:00:00Z", "basis": "success_rate_24h"}
            extension["agent_preferences"] = {name: self._evidence() | basis}
        if detail:
            extension["supported_operations"] = [operation]
            extension["accepted_request_formats"] = list(self.formats)
            if self.category != "chat":
                extension["request_format_details"] = summary | {
                    "documented_inputs": ["prompt"],
                    "documented_outputs": ["url"],
                    "fallback_status_endpoints": ["/v1/tasks/{id}"],
                    "notes": [],
                    "recommended_request": {"model": self.id, "prompt": "a red cube"},
                }
        return {
            "id": self.id,
            "object": "model",
            "created": CREATED,
            "owned_by": self.provider,
            "tokenlab": extension,
        }

    def _evidence(self) -> dict[str, Any]:
        return {
            "preferred_rank": self.rank,
            "success_rate_24h": self.success_24h,
            "sample_count_24h": self.samples_24h,
            "status": "ready" if self.ready else "insufficient_samples",
        }

    def _lifecycle(self) -> dict[str, Any]:
        old = self.stage in ("deprecated", "retired")
        return {
            "stage": self.stage,
            "reason": "replaced by a newer model" if old else None,
            "replacement_model": self.replacement,
            "released_at": "2026-01-01T00:00:00Z",
            "deprecated_at": "2026-09-01T00:00:00Z" if old else None,
            "retired_at": "2026-11-01T00:00:00Z" if self.stage == "retired" else None,
            "sunset_at": "2026-12-31T00:00:00Z" if self.stage == "deprecated" else None,
            "latest": self.stage == "preview",
            "latest_source": "auto" if self.stage == "preview" else "none",
            "latest_window_days": 30 if self.stage == "preview" else None,
        }

    def _badges(self) -> list[dict[str, Any]]:
        if self.stage == "active":
            return []
        tone = {"preview": "blue", "deprecated": "amber", "retired": "slate"}[self.stage]
        tooltip = {"key": f"badge.{self.stage}", "values": {}}
        return [{"key": self.stage, "tone": tone, "priority": 1, "tooltip": tooltip}]


def build_catalogue(seed: int = 7) -> dict[str, Model]:
    """Return over 150 models by id; the same for the same seed."""
    rng = random.Random(seed)
    models = [_known(*known) for known in _KNOWN]
    for category, count in _COUNTS.items():
        models += [_made_up(category, i, rng) for i in range(count)]
    return {model.id: model for model in models}


def _known(name: str, provider: str, price_in: str, price_out: str) -> Model:
    return Model(
        name, provider, "chat", _FORMATS[provider], Decimal(price_in), Decimal(price_out),
        Decimal(0), "active", None, None, None, 0, ("streaming", "tools"),
    )  # fmt: skip


def _made_up(category: str, index: int, rng: random.Random) -> Model:
    providers = _PROVIDERS.get(category, ("openai", "google", "qwen"))
    provider = providers[index % len(providers)]
    stage = rng.choices(STAGES, (80, 8, 9, 3))[0]
    name = f"{provider}-{category}-{index // len(providers) + 1}"
    samples = rng.choice((0, 12, 480, 9_000, 52_000)) if category in SCENES else 0
    ready = samples >= 100
    text = category == "chat"
    return Model(
        id=name,
        provider=provider,
        category=category,
        formats=_FORMATS.get(provider, ("openai_chat_completions",)) if text else (),
        input_per_1m=Decimal(rng.randint(5, 400)) / 100,
        output_per_1m=Decimal(rng.randint(20, 2_000)) / 100,
        per_request=Decimal(rng.randint(1, 90)) / 100,
        stage=stage,
        replacement=f"{provider}-{category}-1" if stage in ("deprecated", "retired") else None,
        rank=index + 1 if ready else None,
        success_24h=round(rng.uniform(0.9, 0.999), 4) if ready else None,
        samples_24h=samples,
        tags=("streaming", "tools") if text else ("async",) if category == "video" else ("sync",),
    )
