"""Diff the settings of two versions of the file, shares and latches excepted, in words.

The fields are those of the parsed file's structs, so one that is added there is named here too.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from rollout_console.common.listing import counted
from rollout_gate.file.freeze_windows import Freeze
from rollout_gate.file.model import GuardSettings, RampSettings, RolloutFile, Route
from rollout_gate.file.percent import percent_text
from rollout_gate.secret import redacted

_DERIVED = frozenset(("revision", "warnings", "name", "hash_prefix"))
_TRAFFIC = frozenset(("rolled_back", "default_points", "orgs", "keys", "flags", "routes"))
_INHERITED = frozenset(("guard", "ramp"))
_MOST_TEXT = 80
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60))

_Settings = GuardSettings | RampSettings


def guard_differences(one: RolloutFile, two: RolloutFile) -> Iterator[str]:
    """Name what differs of the guard: its mode first, then its limits, the file's and routes'."""
    return _inherited(one, two, "guard", ("mode", "modes"))


def other_differences(one: RolloutFile, two: RolloutFile) -> Iterator[str]:
    """Name what else differs: of routes, their ramps, and all the rest of the file."""
    for name, old, new in _of_both(one, two):
        yield from _of_struct(name, old, new, _DERIVED | _TRAFFIC | _INHERITED)
    yield from _inherited(one, two, "ramp", ("freeze",))
    yield from _of_struct("", one, two, _DERIVED | _TRAFFIC | _INHERITED)


def _of_both(one: RolloutFile, two: RolloutFile) -> Iterator[tuple[str, Route, Route]]:
    """Return the routes of both versions that are not the same object."""
    for name, old in one.routes.items():
        new = two.routes.get(name)
        if new is not None and new is not old:
            yield name, old, new


def _inherited(
    one: RolloutFile, two: RolloutFile, table: str, first: tuple[str, ...]
) -> Iterator[str]:
    """Name what differs in a table of the file that routes have as well, with some fields first.

    A route that has a value from the file differs with it, and is not named again.
    """
    ours: tuple[_Settings, _Settings] = getattr(one, table), getattr(two, table)
    tables = [(table, *ours)]
    for name, *routes in _of_both(one, two):
        tables.append((f"{name} {table}", *(getattr(route, table) for route in routes)))
    fields = ours[0].__struct_fields__
    for field in (*first, *(other for other in fields if other not in first)):
        of_file = tuple(getattr(settings, field) for settings in ours)
        for label, old, new in tables:
            values = getattr(old, field), getattr(new, field)
            if label == table or values != of_file:
                yield from _of_value(f"{label} {_name(field)}", field, *values)


def _of_struct(
    label: str, old: msgspec.Struct, new: msgspec.Struct, left_out: frozenset[str] = _DERIVED
) -> Iterator[str]:
    for field in old.__struct_fields__:
        if field not in left_out:
            named = f"{label} {_name(field)}".strip()
            yield from _of_value(named, field, getattr(old, field), getattr(new, field))


def _of_value(label: str, field: str, old: Any, new: Any) -> Iterator[str]:
    """Name a value that differs; of tables, each value in them."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            yield from _of_value(f"{label} {key}", field, old.get(key), new.get(key))
    elif isinstance(old, msgspec.Struct) and isinstance(new, msgspec.Struct):
        yield from _of_struct(label, old, new)
    elif isinstance(old, msgspec.Struct) or isinstance(new, msgspec.Struct):
        yield f"{label} {'added' if old is None else 'taken out'}"
    else:
        before, after = _text(field, old), _text(field, new)
        # What is left out of both, such as a password, is all that differs.
        yield f"{label} {before} to {after}" if before != after else f"{label} changed"


def _name(field: str) -> str:
    """Return a field's name in the file: there a duration has its unit in its value."""
    return field.removesuffix("_s")


def _text(field: str, value: Any) -> str:
    """Write a value as in the file, without credentials, and not at any length."""
    if value is None or value in ("", ()):
        return "none"
    if field == "steps":
        return ", ".join(map(percent_text, value))
    if isinstance(value, tuple):
        texts = [one.text if isinstance(one, Freeze) else str(one) for one in value]
        text = ", ".join(texts)
        return text if len(text) <= _MOST_TEXT else counted(len(texts), "value")
    if field.endswith("_s"):
        return _duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    text = redacted(re.sub(r"://[^\s/@]*@", "://…@", str(value)))
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


def _duration(seconds: int) -> str:
    for unit, width_s in _UNITS:
        if seconds and seconds % width_s == 0:
            return f"{seconds // width_s}{unit}"
    return f"{seconds}s"
