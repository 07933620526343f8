"""The commands that change nothing: show, history, decide, check."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout_console.changes.change_details import what_of
from rollout_console.changes.switch import Switch
from rollout_console.changes.traffic_diff import DEFAULT_SHARE
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.common.safe_text import visible
from rollout_console.readiness.checks.offline import check_offline
from rollout_console.readiness.checks.result import Result
from rollout_gate.decision.decision import decide as decide_request
from rollout_gate.file.errors import UnknownRoute
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.percent import percent_text
from rollout_gate.file.read import read_file
from rollout_gate.file.revision import SHORT

if TYPE_CHECKING:
    from rollout_console.credentials.api_keys import ApiKeys


def show(options: Namespace, switch: Switch) -> int:
    """Print the rollout file as parsed."""
    file = switch.open().file
    if options.json:
        print(json.dumps(_file_json(file), indent=2))
        return DONE
    latch = "  ↩ EVERYTHING ROLLED BACK" if file.rolled_back else ""
    print(f"{visible(switch.title)}  revision {file.revision[:SHORT]}{latch}")
    for route in file.routes.values():
        latch = "  ↩ rolled back" if route.rolled_back else ""
        model = visible(route.model) or "no model"
        print(f"\n{visible(route.name)}  {route.format}  {model}  {route.phase}{latch}")
        print(f"  {DEFAULT_SHARE:<28} {percent_text(route.default_points):>6}%")
        for org, share in route.orgs.items():
            latch = "  ↩ rolled back" if share.rolled_back else ""
            print(f"  {visible(org):<28} {percent_text(route.org_points(org)):>6}%{latch}")
        for kind, shares in (("alias", route.keys), ("flag", route.flags)):
            for name, points in shares.items():
                print(f"  {f'{kind} {visible(name)}':<28} {percent_text(points):>6}%")
    for problem in file.warnings:
        print(f"warning: {visible(str(problem))}", file=sys.stderr)
    return DONE


def history(options: Namespace, switch: Switch) -> int:
    """Print the changes, newest first."""
    if not switch.access.read_only:
        switch.history.take_over(switch.path)
    rows = switch.history.rows(switch.path, options.limit)
    if not switch.history.is_shared:
        print(
            f"this history is this user's alone ({switch.history.path}): the folder of"
            f" {visible(switch.title)} can have none",
            file=sys.stderr,
        )
    if options.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
        return DONE
    if not rows:
        read_file(switch.path)  # raises for a mistyped path, which has no history either
        print(f"no changes of {visible(switch.title)} yet", file=sys.stderr)
    for row in rows:
        said = [visible(row.reason)] if row.reason else []
        said += [f"guard: {visible(row.verdict)}"] if row.verdict else []
        reason = f"  ({'; '.join(said)})" if said else ""
        what = visible(what_of(row))
        print(
            f"{row.revision[:SHORT]}  {row.at:%Y-%m-%d %H:%M:%S}Z  {visible(row.author)}"
            f"  {what}{reason}"
        )
    return DONE


def decide(options: Namespace, switch: Switch) -> int:
    """Print where one request would go."""
    file = switch.open().file
    if options.route not in file.routes:
        raise UnknownRoute(options.route, list(file.routes))
    found = decide_request(
        file,
        options.route,
        options.org,
        key=options.key,
        key_alias=options.key_alias,
        flags=options.flag,
    )
    if options.json:
        body = {
            "side": found.side,
            "percent": found.percent,
            "bucket": found.bucket,
            "rule": found.rule,
            "revision": found.revision,
            "route": found.route,
            "model": found.model,
            "format": found.format,
        }
        print(json.dumps(body, indent=2))
    else:
        below = "below" if found.bucket < found.points else "not below"
        why = f"bucket {found.bucket} is {below} {found.points} ({percent_text(found.points)}%)"
        if found.side == "previous" and found.bucket < found.points:
            why = "rolled back, whatever its bucket and percent are"
        print(f"{found.side}  by {visible(found.rule)}: {why}")
    return DONE


def check(options: Namespace, path: Path, room: "ApiKeys | None" = None) -> int:
    """Check the file and, with ``room``, credentials, balance and keys; exit 1 if a rule fails."""
    results = check_offline(path, "" if options.shared is None else options.shared.location)
    if room is not None:
        results += _check_online(room, path, options.plan_days)
    ok = all(result.ok for result in results)
    if options.json:
        print(json.dumps({"ok": ok, "results": [r.as_json() for r in results]}, indent=2))
    else:
        for result in results:
            mark = "ok  " if result.ok else "FAIL"
            print(f"{mark}  {result.rule:<24} {visible(result.where)}  {visible(result.reason)}")
            if not result.ok:
                print(f"      {'':<24} do: {visible(result.fix)}")
        failed = sum(not result.ok for result in results)
        print(f"{len(results)} checks, {failed or 'none'} failed", file=sys.stderr)
    return DONE if ok else PROBLEMS


def _check_online(room: "ApiKeys", path: Path, plan_days: int) -> list[Result]:
    import asyncio

    from rollout_console.common.folders import state_folder
    from rollout_console.models.catalogue import Catalogue
    from rollout_console.readiness.checks.online import check_online

    models = Catalogue(root_of(room.base_url), state_folder())
    return asyncio.run(check_online(room, models, path, plan_days))


def _file_json(file: RolloutFile) -> dict[str, Any]:
    return {
        "revision": file.revision,
        "rolled_back": file.rolled_back,
        "routes": {
            name: {
                "format": route.format,
                "model": route.model,
                "phase": route.phase,
                "rolled_back": route.rolled_back,
                "default_percent": route.default_points / 100,
                "orgs": {
                    org: {"percent": route.org_points(org) / 100, "rolled_back": share.rolled_back}
                    for org, share in route.orgs.items()
                },
                "keys": {name: points / 100 for name, points in route.keys.items()},
                "flags": {name: points / 100 for name, points in route.flags.items()},
            }
            for name, route in file.routes.items()
        },
    }


COMMANDS: dict[str, Callable[[Namespace, Switch], int]] = {
    "show": show,
    "history": history,
    "decide": decide,
}
