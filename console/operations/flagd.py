"""The rollout file as flagd's JSON, for applications that ask flagd instead of the gate.

Source: flagd's flag definition schema and its ``fractional`` operator, generation 3, as
openfeature-flagd-core 2.0.0 implements it.
"""

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from console.operations.errors import OperationError
from console.rollout.bucket import ALGORITHM
from console.rollout.model import RolloutFile, Route

SCHEMA = "https://flagd.dev/schema/v0/flags.json"
SIDES = {"tokenlab": "tokenlab", "previous": "previous"}
GENERATIONS = (
    "only flagd cores that hash canonical CBOR decide as the gate does (openfeature-flagd-core"
    " 2.0.0, openfeature-provider-flagd 0.6.0, and later); those that hash flag key and targeting"
    " key one after the other (openfeature-flagd-core 1, provider up to 0.5.2, the flagd daemon"
    " and the providers of other languages as of autumn 2026) choose other subjects"
)
TARGETING_KEY = (
    "set targetingKey to the sticky key, or to the org where there is none; without one, a share"
    " between 0 and 100 gives previous"
)

_ORG, _ALIAS, _FLAGS = {"var": "org"}, {"var": "key_alias"}, {"var": "flags"}
_MOST = 10_000
Rule = Any
"""A value of JSON Logic."""


def as_flagd(file: RolloutFile) -> dict[str, Any]:
    """Return one flag for each route, whose variants are the sides.

    The context has ``org``, ``key_alias``, ``flags`` (a list) and the ``targetingKey``. Every
    decision is the gate's, given a targeting key that is not empty.
    """
    return {
        "$schema": SCHEMA,
        "flags": {name: _flag(file, route) for name, route in file.routes.items()},
        "metadata": {
            "revision": file.revision,
            "algorithm": ALGORITHM,
            "generations": GENERATIONS,
            "targetingKey": TARGETING_KEY,
        },
    }


def _flag(file: RolloutFile, route: Route) -> dict[str, Any]:
    flag: dict[str, Any] = {
        "state": "ENABLED",
        "variants": SIDES,
        "defaultVariant": "previous",
        "metadata": {"model": route.model, "format": route.format},
    }
    if not file.rolled_back and not route.rolled_back:
        flag["targeting"] = _targeting(route)
    return flag


def _targeting(route: Route) -> Rule:
    branches: list[Rule] = []
    latched = [org for org, line in route.orgs.items() if line.rolled_back]
    if latched:
        branches += [_is_one_of(latched), "previous"]
    for alias, points in route.keys.items():
        branches += [{"===": [_ALIAS, alias]}, _split(points)]
    # The first that is on decides, and of several that is to be the highest.
    for flag, points in sorted(route.flags.items(), key=lambda pair: -pair[1]):
        branches += [{"in": [flag, _FLAGS]}, _split(points)]
    for points, orgs in _by_share(route).items():
        branches += [_is_one_of(orgs), _split(points)]
    return {"if": [*branches, _split(route.default_points)]}


def _by_share(route: Route) -> dict[int, list[str]]:
    """Return the orgs of each share: a branch for every org would be one to evaluate for each."""
    found: dict[int, list[str]] = {}
    for org, line in route.orgs.items():
        if line.points is not None and not line.rolled_back:
            found.setdefault(line.points, []).append(org)
    return found


def _is_one_of(orgs: Iterable[str]) -> Rule:
    return {"in": [_ORG, list(orgs)]}


def _split(points: int) -> Rule:
    if points in (0, _MOST):
        return "tokenlab" if points else "previous"
    # The side that grows stands first, so that raising a share only ever adds subjects.
    return {"fractional": [["tokenlab", points], ["previous", _MOST - points]]}


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` at once: whoever reads it sees the old text or the new one.

    Raises OperationError where that cannot be done; what was there is then untouched.
    """
    temp = ""
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        descriptor, temp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        Path(temp).replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if temp:
            with suppress(OSError):
                Path(temp).unlink()
        why = error.strerror or "it cannot be opened"
        raise OperationError(f"{path} cannot be written: {why}; give another --out") from None
