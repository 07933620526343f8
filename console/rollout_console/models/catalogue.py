"""The model catalogue, shared by the screen and the commands."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rollout_console.common.flock import best_effort_lock
from rollout_console.models.queries import Changes, Shelf, changes_between
from rollout_console.tokenlab.catalogue_cache import CatalogueCache, Kept
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.models import ModelInfo
from rollout_gate.secret import Secret

_LOCK_WAIT_S = 1.0
"""How long another process that writes the cache is waited for, in seconds."""


class Catalogue:
    """Reads the models of one base URL, caches the last good catalogue, and tracks changes.

    Methods that ask the API raise ApiError and leave the catalogue as it was. Without ``keeps`` the
    cache is read, and never written.
    """

    def __init__(
        self,
        base_url: str,
        folder: Path,
        *,
        keeps: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.base_url = base_url
        self._cache = CatalogueCache(folder, base_url)
        self._keeps = keeps
        self._clock = clock
        self._lock = threading.Lock()
        self._kept = self._cache.load()
        self.trouble = ""
        self._shelve()

    # -- state -----------------------------------------------------------------------------------

    @property
    def shelf(self) -> Shelf:
        """The models as last read; empty before the first read."""
        return self._shelf

    @property
    def changes(self) -> Changes:
        """What has changed since the seen baseline, by model id."""
        return self._changes

    @property
    def gone(self) -> list[ModelInfo]:
        """The models of the seen baseline that are gone from the catalogue."""
        if self._kept is None:
            return []
        return [m for m in self._kept.seen or [] if self._changes.get(m.id) == "gone"]

    def age_s(self) -> float | None:
        """Return the catalogue's age in seconds; None without one."""
        if self._kept is None:
            return None
        return max(0.0, (self._clock() - self._kept.at).total_seconds())

    # -- API calls -------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Fetch the complete list; fields known from details and scenes are merged in."""
        from rollout_console.tokenlab.catalogue import CatalogueClient

        async with CatalogueClient(self.base_url) as client:
            found = await client.models()

        def with_list(kept: Kept | None) -> Kept:
            before = {} if kept is None else {m.id: m for m in kept.models}
            models = [_merged(before.get(model.id), model) for model in found]
            seen = models if kept is None else kept.seen or kept.models
            return Kept(self.base_url, self._clock(), models, seen)

        self._update(with_list)

    async def recommend(self, scene: str) -> None:
        """Fetch the evidence of a scene; the catalogue's age is not reset."""
        from rollout_console.tokenlab.catalogue import CatalogueClient

        async with CatalogueClient(self.base_url) as client:
            found = {model.id: model for model in await client.models(scene)}
        self._learn(found)

    async def detail(self, name: str) -> ModelInfo | None:
        """Fetch one model with its complete contract; None where the API answers 404."""
        from rollout_console.tokenlab.catalogue import CatalogueClient

        async with CatalogueClient(self.base_url) as client:
            found = await client.model(name)
        if found is None:
            return None
        known = self._shelf.find(found.id)
        model = found if known is None else _merged(known, found)
        if known is not None:
            self._learn({model.id: model})
        return model

    async def allowed(self, key: Secret) -> set[str]:
        """Fetch the ids that an API key may use: the API filters the list by the key."""
        from rollout_console.tokenlab.catalogue import CatalogueClient

        async with CatalogueClient(self.base_url, key) as client:
            return {model.id for model in await client.models()}

    def mark_seen(self) -> None:
        """Make the current catalogue the seen baseline of later changes."""
        shown = self._kept

        def with_seen(kept: Kept | None) -> Kept | None:
            if kept is None or shown is None:
                return kept
            if kept.at > shown.at and kept.seen != shown.seen:
                return kept  # somebody has seen a later one
            return msgspec.structs.replace(kept, seen=shown.models)

        self._update(with_seen)

    # -- helpers ---------------------------------------------------------------------------------

    def _learn(self, found: dict[str, ModelInfo]) -> None:
        def with_found(kept: Kept | None) -> Kept | None:
            if kept is None:
                return None
            models = [_merged(m, found[m.id]) if m.id in found else m for m in kept.models]
            return msgspec.structs.replace(kept, models=models)

        self._update(with_found)

    def _update(self, change: Callable[[Kept | None], Kept | None]) -> None:
        """Read, modify and write under locks: of what several threads, and the consoles of this
        user, bring into the cache nothing is lost."""
        with self._lock:
            if self._keeps:
                with best_effort_lock(self._cache.path.parent, _LOCK_WAIT_S):
                    # After a write that failed the cache lacks what is known here.
                    known = self._kept if self.trouble else self._cache.load() or self._kept
                    kept = change(known)
                    if kept is not None:
                        self.trouble = self._cache.save(kept)
            else:
                kept = change(self._kept)
            if kept is not None:
                self._kept = kept
                self._shelve()

    def _shelve(self) -> None:
        models = [] if self._kept is None else self._kept.models
        self._shelf = Shelf(models)
        seen = None if self._kept is None else self._kept.seen
        self._changes: Changes = {} if seen is None else changes_between(seen, models)


def _merged(before: ModelInfo | None, after: ModelInfo) -> ModelInfo:
    """Merge ``after`` over ``before``: a list lacks what a detail or a scene has, so keep that."""
    if before is None:
        return after
    detailed = before.formats is not None and after.formats is None
    return msgspec.structs.replace(
        after,
        formats=before.formats if after.formats is None else after.formats,
        evidence={**before.evidence, **after.evidence},
        contract=before.contract if detailed else after.contract,
    )


async def read_models(room: Catalogue, scene: str = "") -> str:
    """Refresh the list and a scene's evidence; return why that failed, empty if it did not.

    Raises the ApiError itself where there is no cached catalogue to fall back to.
    """
    try:
        await room.refresh()
        if scene:
            await room.recommend(scene)
    except ApiError as error:
        if room.age_s() is None:
            raise
        return str(error)
    return ""
