"""State of the models screen: filters and sort order, and their description."""

from typing import Any

from msgspec.structs import replace

from rollout_console.common.safe_text import visible
from rollout_console.models.catalogue import Catalogue
from rollout_console.models.queries import SORTS, ModelFilter, Sort
from rollout_console.tokenlab.models import STAGES, ModelInfo


class ModelView:
    """The current filters and sort order of the catalogue."""

    def __init__(self, room: Catalogue) -> None:
        self._room = room
        self.wanted = ModelFilter()
        self.sort: Sort = SORTS[0]

    def rows(self) -> list[ModelInfo]:
        """Return the models that pass the filters; with the one on changes, removed ones too."""
        found = self._room.shelf.select(self.wanted, self.sort, self._room.changes)
        return found + self._room.gone if self.wanted.changed else found

    def change(self, **fields: Any) -> None:
        """Set filters by name."""
        self.wanted = replace(self.wanted, **fields)

    def toggle_scene(self, scene: str) -> str:
        """Toggle the filter on a scene; return the scene in effect, empty for none."""
        scene = "" if self.wanted.scene == scene else scene
        self.change(scene=scene, category="")
        self.sort = "rank"
        return scene

    def next_sort(self) -> None:
        """Order by the next of rank, price, context and id."""
        self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]

    def next_stage(self) -> None:
        """Show the next stage of the lifecycle alone; after the last, all again."""
        stages = ("", *STAGES)
        self.change(stage=stages[(stages.index(self.wanted.stage) + 1) % len(stages)])

    def reset(self) -> bool:
        """Show everything; return whether something was filtered."""
        filtered = self.wanted != ModelFilter()
        self.wanted = ModelFilter()
        return filtered

    def words(self) -> str:
        """Return the active filters in words; without any, how many changes are unseen."""
        wanted = self.wanted
        most = "" if wanted.most_usd is None else f"at most ${wanted.most_usd:f}"
        named = (
            ("category", wanted.category), ("provider", wanted.provider), ("tag", wanted.tag),
            ("lifecycle", wanted.stage), ("price", most), ("search", wanted.text),
            ("changed", "since the last look" if wanted.changed else ""),
        )  # fmt: skip
        chosen = [f"{name} {visible(value)}" for name, value in named if value]
        if chosen:
            return f" {' · '.join(chosen)}   esc: all"
        news = len(self._room.changes)
        return f" {news} changed since the last look: * shows them, S: seen" if news else ""
