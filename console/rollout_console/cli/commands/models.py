"""``models``: the catalogue in a shell, from the API or from its on-disk cache."""

import asyncio
import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rollout_console.cli.credentials import file_that_is_meant
from rollout_console.cli.exit_codes import DONE
from rollout_console.common.durations import seconds_text
from rollout_console.common.errors import OperationError
from rollout_console.common.folders import state_folder
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.models.catalogue import Catalogue, read_models
from rollout_console.models.queries import ModelFilter, as_json, contract_lines
from rollout_console.tokenlab.models import ModelInfo
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import DEFAULT_BASE_URL


def models(options: Namespace, path: Path) -> int:
    """Print models; return the exit code."""
    if options.mark_seen:  # it moves the baseline of what the next reader sees as new
        options.access.require()
    room = Catalogue(_base_url(options, path), state_folder())
    if options.offline and room.age_s() is None:
        raise OperationError(f"no catalogue of {room.base_url} is kept yet: run models once online")
    trouble = "" if options.offline else asyncio.run(read_models(room, options.recommended_for))
    age = room.age_s() or 0.0
    if trouble or options.offline:
        said = f"{trouble}; " if trouble else ""
        print(f"{visible(said)}the catalogue is {seconds_text(round(age))} old", file=sys.stderr)
    if options.model:
        _print_details(options, [_one(room, name, options.offline) for name in options.model])
    else:
        _print_list(options, room)
    if options.mark_seen:
        room.mark_seen()
    if room.trouble:
        print(f"warning: {visible(room.trouble)}", file=sys.stderr)
    return DONE


def _base_url(options: Namespace, path: Path) -> str:
    if options.base_url:
        return root_of(options.base_url)
    file = file_that_is_meant(options, path)
    return root_of(file.base_url if file is not None else DEFAULT_BASE_URL)


def _one(room: Catalogue, name: str, offline: bool) -> ModelInfo:
    from rollout_console.tokenlab.errors import ApiError

    found = None
    try:
        found = None if offline else asyncio.run(room.detail(name))
    except ApiError as error:
        if room.shelf.find(name) is None:
            raise
        print(f"{visible(str(error))}; its contract is as last read", file=sys.stderr)
    found = found or room.shelf.find(name)
    if found is None:
        raise OperationError(f"no model {name!r}{_near(room, name)}")
    return found


def _near(room: Catalogue, name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [model.id for model in room.shelf.models], 1)
    return f"; did you mean {visible(close[0])}?" if close else f" at {room.base_url}"


def _print_list(options: Namespace, room: Catalogue) -> None:
    wanted = ModelFilter(
        options.recommended_for, options.category, options.provider, options.tag, options.stage,
        options.search, options.max_price, options.changed,
    )  # fmt: skip
    found = room.shelf.select(wanted, options.sort, room.changes)
    if options.changed:
        found += room.gone
    if options.json:
        print(json.dumps([as_json(m, room.changes.get(m.id, "")) for m in found], indent=2))
        return
    for model in found:
        print(_line(model, options.recommended_for, room.changes.get(model.id, "")).rstrip())
    print(f"{len(found)} of {counted(len(room.shelf.models), 'model')}", file=sys.stderr)


def _line(model: ModelInfo, scene: str, change: str) -> str:
    evidence = model.evidence.get(scene) if scene else None
    context = "" if model.max_input is None else f"{model.max_input / 1000:g}k"
    words = "" if evidence is None else evidence.words
    mark = f"  [{change}]" if change else ""
    rank = "" if evidence is None or evidence.rank is None else str(evidence.rank)
    columns = (
        f"{rank:>3}  " if scene else "",
        f"{visible(model.id):<34} ",
        f"{visible(model.provider):<10} {visible(model.category):<11} {visible(model.stage):<10} ",
        f"{context:>6}  {words:<30} " if scene else f"{context:>6}  ",
        visible(model.price.words),
        visible(mark),
    )
    return "".join(columns)


def _print_details(options: Namespace, found: Sequence[ModelInfo]) -> None:
    if options.json:
        print(json.dumps([as_json(model) for model in found], indent=2))
        return
    tables = [dict(contract_lines(model)) for model in found]
    names = list(dict.fromkeys(name for table in tables for name in table))
    width = max((len(v) for v in tables[0].values()), default=0) if len(tables) > 1 else 0
    width = min(width, 48)
    for name in names:
        cells = [visible(table.get(name, "-")) for table in tables]
        mark = " " if len({*cells}) > 1 or len(tables) == 1 else "="
        print(f"{visible(name):<14}{mark} " + "  ".join(f"{c:<{width}}" for c in cells).rstrip())
