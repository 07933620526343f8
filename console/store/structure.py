"""Edits of the document's structure with tomlkit, for files written in unusual shapes.

The result is always verified by the caller: tomlkit is known to move keys when a table is added
under a dotted key.
"""

from collections.abc import MutableMapping
from typing import Any

import tomlkit

from console.rollout.edits import Edit
from console.rollout.model import OrgShare, RolloutFile
from console.store.editing import path_of
from console.store.errors import EditNotPossible
from console.store.side_file import number


def edit_document(data: bytes, edit: Edit, meant: RolloutFile) -> bytes:
    """Return the text with ``edit`` made in it; raises EditNotPossible."""
    document = tomlkit.parse(data.decode("utf-8"))
    *tables, key = path_of(edit)
    table: Any = document
    for name in tables:
        if name not in table:
            table[name] = tomlkit.table()
        table = table[name]
        if not isinstance(table, MutableMapping):
            raise EditNotPossible(f"{name} is not a table; edit the file by hand")
    if len(tables) == 3:
        _set_org(table, key, meant.routes[tables[1]].orgs.get(key))
    else:
        table[key] = _plain(meant, tables, key)
    text = tomlkit.dumps(document)
    if b"\r\n" in data and data.count(b"\n") == data.count(b"\r\n"):
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    return text.encode("utf-8")


def _plain(meant: RolloutFile, tables: list[str], key: str) -> Any:
    if not tables:
        return meant.rolled_back
    route = meant.routes[tables[1]]
    if key in ("model", "phase"):
        return getattr(route, key)
    return route.rolled_back if key == "rolled_back" else number(route.default_points)


def _set_org(orgs: Any, org: str, share: OrgShare | None) -> None:
    line = orgs.get(org)
    if share is None:
        orgs.pop(org, None)
    elif isinstance(line, MutableMapping):
        if share.points is not None:
            line["percent"] = number(share.points)
        if share.rolled_back or "rolled_back" in line:
            line["rolled_back"] = share.rolled_back
    elif share.rolled_back or share.points is None:
        table = tomlkit.inline_table()
        if share.points is not None:
            table["percent"] = number(share.points)
        table["rolled_back"] = share.rolled_back
        orgs[org] = table
    else:
        orgs[org] = number(share.points)
