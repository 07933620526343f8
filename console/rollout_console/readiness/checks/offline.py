"""Offline checks: rules on the rollout file and its folder, which need no network."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rollout_console.changes.in_place import is_mount_point
from rollout_console.common.files import is_missing
from rollout_console.common.folders import folder_of
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.guard.line_quality import MUCH_UNUSABLE
from rollout_console.health.log.multi_file import open_log
from rollout_console.history.location import history_of, misplaced
from rollout_console.readiness.checks.prometheus import check_settings
from rollout_console.readiness.checks.result import Result, result_of
from rollout_gate.file.errors import FileError
from rollout_gate.file.formats import base_url_problem, kind_of, same_place, url_problem
from rollout_gate.file.model import MEDIA_FORMATS, GuardSettings, RolloutFile, Route
from rollout_gate.file.parse import parse
from rollout_gate.file.percent import FULL, percent_text
from rollout_gate.file.read import Missing, Unreadable, read_file

_NEWEST_BYTES = 1024 * 1024
_LEAST_LIMIT, _MOST_LIMIT = 0.1, 50.0
_NATIVE = {"claude": "anthropic_messages", "gemini": "gemini_generate_content"}
_NATIVE_HOST = {
    "api.anthropic.com": "anthropic_messages",
    "generativelanguage.googleapis.com": "gemini_generate_content",
}


def check_offline(path: Path, address: str = "") -> list[Result]:
    """Return every rule's result, file first; an unreadable or invalid file ends the checks.

    ``address`` is of a file in etcd, of which the one at ``path`` is the working copy.
    """
    name = address or str(path)
    try:
        data, _ = read_file(path)
    except Unreadable as error:
        missing = isinstance(error, Missing)
        fix = "write a first one with rollout-console init" if missing else "make the file readable"
        return [Result("file.readable", False, name, _named(error, path, address), fix)]
    readable = Result("file.readable", True, name, "it can be read")
    try:
        file = parse(data)
    except FileError as error:
        problems = [
            Result("file.valid", False, _at(name, p.line, p.column), str(p), "correct this line")
            for p in error.problems
        ]
        return [readable, *problems]
    valid = Result("file.valid", True, name, counted(len(file.routes), "route"))
    warnings = [
        Result(
            "file.known_keys", False, _at(name, w.line, w.column), str(w), "correct or remove it"
        )
        for w in file.warnings
    ] or [Result("file.known_keys", True, name, "no unknown keys")]
    found = [readable, valid, *warnings]
    found += _in_etcd(address) if address else [_replaceable(path), _history(path)]
    found += [_tokenlab(file)]
    if file.prometheus is None:  # else the log is each server's own, and may not be here
        found += [_access_log(path, file), _log_lines(path, file)]
    found += _lowering(file)
    found += check_settings(file)
    for route in file.routes.values():
        found += _route(file, route)
    return found


def _at(name: str, line: int, column: int) -> str:
    return f"{name}:{line}:{column}" if line else name


def _named(error: Exception, path: Path, address: str) -> str:
    return str(error).replace(str(path), address) if address else str(error)


def _in_etcd(address: str) -> list[Result]:
    """Return what is so of every file in etcd."""
    return [
        Result("file.replaceable", True, address, "a change is one transaction"),
        Result("history.path", True, "history.path", f"the history is below {address}"),
    ]


def _replaceable(path: Path) -> Result:
    """Check that a change can replace the file: a mount point can only be written in place."""
    mounted = is_mount_point(path)
    problem = ""
    if mounted and not os.access(path, os.W_OK):
        problem = "is a mount point that may not be written to: no rollback can be made here"
    elif path.stat().st_nlink > 1:
        problem = "has another name (a hard link), which keeps the old text after a change"
    good = "a change replaces it whole"
    if mounted:
        good = "it is a mount point: a change is written in place; mount its folder to replace it"
    return result_of(
        "file.replaceable", str(path), problem, good,
        "mount the file's folder instead of the file; of several names keep one",
    )  # fmt: skip


def _tokenlab(file: RolloutFile) -> Result:
    url = file.base_url
    problem = url_problem(url)
    if not problem and urlsplit(url).path.rstrip("/"):
        problem = "has a path; TokenLab's base URL has none, each format adds its own"
    fix = "write https://api.tokenlab.sh"
    return _url_result("tokenlab.base_url", "tokenlab.base_url", url, problem, fix)


def _history(path: Path) -> Result:
    good = f"the history is at {history_of(path).path}"
    return result_of(
        "history.path", "history.path", misplaced(path), good, "give the history a path of its own"
    )


def _access_log(path: Path, file: RolloutFile) -> Result:
    folder = (folder_of(path) / file.access_log).parent
    problem = ""
    try:
        if is_missing(folder) or not folder.is_dir():
            problem = f"there is no folder {folder}: every line would be lost"
    except OSError as error:
        problem = f"the folder {folder} cannot be used here: {error.strerror}"
    return result_of(
        "health.access_log", "health.access_log", problem, f"in {folder}",
        "make the folder, writable by the applications, or correct the path",
    )  # fmt: skip


def _log_lines(path: Path, file: RolloutFile) -> Result:
    """Check that the log's newest lines can be decoded; unusable ones do not count as requests."""
    log = open_log(
        (folder_of(path) / file.access_log).absolute(), start="tail", tail_bytes=_NEWEST_BYTES
    )
    lines, behind = 0, True
    while behind:
        lines += len(log.poll())
        behind = log.behind
    unusable, why = log.unusable
    log.close()
    if log.missing:
        return Result("health.lines", True, "health.access_log", "there is no log yet")
    if log.unreadable or (log.trouble and not lines + unusable):
        return Result(
            "health.lines", False, "health.access_log", log.trouble,
            "let whoever runs the console and the guard read it",
        )  # fmt: skip
    of_all = f"{unusable:,} of the newest {lines + unusable:,} lines cannot be used"
    said = (
        f"{of_all}; the first: {visible(why)}"
        if unusable
        else f"{counted(lines, 'line')} can be used"
    )
    much = unusable > MUCH_UNUSABLE * (lines + unusable)
    return result_of(
        "health.lines", "health.access_log", said if much else "", said,
        "write the log with the gate, or in its form (see docs/gate.md)",
    )  # fmt: skip


def _lowering(file: RolloutFile) -> Iterator[Result]:
    """Check that a guard may lower what a budget asks it to: only in mode enforce does it."""
    for budget in file.budgets.values():
        if budget.at_limit == "lower":
            named = file.routes.get(budget.route)
            some = [named] if named is not None else [*file.routes.values()]
            able = any(route.guard.mode == "enforce" for route in some)
            yield result_of(
                "budget.at_limit", f"budgets.{budget.name}.at_limit",
                "" if able else "asks to lower shares, and no route of it has the guard's mode "
                "enforce: it would only be told", "a guard lowers its shares",
                'set mode to enforce, of the route or of all, or at_limit to "hold"',
            )  # fmt: skip


def _route(file: RolloutFile, route: Route) -> Iterator[Result]:
    where = f"routes.{route.name}"
    yield _previous(where, route)
    same = bool(route.previous_base_url) and same_place(route.previous_base_url, file.base_url)
    yield result_of(
        "route.previous_elsewhere", f"{where}.previous_base_url",
        "is TokenLab's own: a rollback would lead nowhere else" if same else "",
        "it is not TokenLab", "write the previous provider's base URL",
    )  # fmt: skip
    yield _model(where, route)
    yield _native(where, route)
    problem, fix = _phase_problem(route)
    good = f"phase {route.phase}; its highest share is {percent_text(route.most_points)}%"
    yield result_of("route.phase", f"{where}.phase", problem, good, fix)
    yield _limits(where, route.guard)
    short = route.ramp.bake_s < route.guard.window_s
    yield result_of(
        "ramp.bake", f"{where}.ramp.bake",
        f"a step bakes {route.ramp.bake_s} s, but its evidence is of {route.guard.window_s} s: "
        "part of it would be older than the step" if short else "",
        f"{route.ramp.bake_s} s covers the window", "make bake at least as long as guard.window",
    )  # fmt: skip


def _previous(where: str, route: Route) -> Result:
    url, place = route.previous_base_url, f"{where}.previous_base_url"
    fix = "write the previous provider's base URL"
    if not url:
        reason = "is missing: a rollback would have nowhere to go"
        return Result("route.base_url", False, place, reason, fix)
    media = route.format in MEDIA_FORMATS
    problem = url_problem(url) if media else base_url_problem(route.format, url)
    row = kind_of(route.format)
    fix = f"{row.title} is given " + (f"a base URL that ends in {row.base}" if row.base else
                                      "a base URL without a version path")  # fmt: skip
    return _url_result("route.base_url", place, url, problem, fix)


def _model(where: str, route: Route) -> Result:
    media = route.format in MEDIA_FORMATS
    needed = media or route.most_points > 0
    problem = ""
    if not route.model and needed:
        problem = "names no model; " + (
            "a media request without one gets whatever is the default that day"
            if media
            else "what takes traffic cannot be checked or proven without it"
        )
    good = f"model {route.model}" if route.model else "no model yet, and no traffic either"
    return result_of("route.model", f"{where}.model", problem, good, "name the model")


def _native(where: str, route: Route) -> Result:
    """Check the format: native features of Claude and Gemini have no place in an OpenAI format."""
    host = _host(route.previous_base_url)
    # The model name may have a vendor prefix: anthropic/claude-..., anthropic.claude-...
    named = re.search(rf"(?:^|[/.:])({'|'.join(_NATIVE)})", route.model.lower())
    family = named.group(1) if named else ""
    native = _NATIVE_HOST.get(host) or _NATIVE.get(family, "")
    wrong = bool(native) and route.format.startswith("openai_")
    what = route.model if family else f"what comes from {host}"
    return result_of(
        "route.native_format", f"{where}.format",
        f"{what} is sent through {route.format}: its own features, usage fields and errors are "
        "lost on the way" if wrong else "",
        f"{route.format} suits it", f"use {native}, with its own SDK",
    )  # fmt: skip


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _phase_problem(route: Route) -> tuple[str, str]:
    """Return how the phase contradicts the percents, and the fix; both empty where it does not."""
    most, everyone = route.most_points, route.default_points
    if route.phase == "inventory" and most:
        return (
            f"an inventory takes no traffic, and {percent_text(most)}% goes to TokenLab",
            "set the phase to pilot, or the percents to 0",
        )
    if route.phase in ("pilot", "shadow") and everyone:
        return (
            f"a {route.phase} is for orgs that are named, and {percent_text(everyone)}% of every "
            "other org goes to TokenLab",
            "set default_percent to 0, or the phase to rollout",
        )
    if route.phase == "cleanup":
        shares = {**{org: route.org_points(org) for org in route.orgs}, "other orgs": everyone}
        short = next((name for name, points in shares.items() if points < FULL), "")
        latched = route.rolled_back or any(share.rolled_back for share in route.orgs.values())
        if short or latched:
            what = "something is rolled back" if latched else f"{short} is not at 100%"
            return f"cleanup comes after stable use at 100%, and {what}", "set the phase to rollout"
    return "", ""


def _limits(where: str, guard: GuardSettings) -> Result:
    named = (
        "max_5xx_percent", "max_4xx_percent", "max_429_percent", "max_bad_percent",
        "max_failed_jobs_percent",
    )  # fmt: skip
    odd = next((n for n in named if not _LEAST_LIMIT <= getattr(guard, n) <= _MOST_LIMIT), "")
    problem = ""
    if odd:
        problem = f"{odd} = {getattr(guard, odd):g}: " + (
            "one error in a thousand would roll back"
            if getattr(guard, odd) < _LEAST_LIMIT
            else "half of all requests may fail before the guard says a word"
        )
    return result_of(
        "guard.limits", f"{where}.guard", problem, "limits the guard can tell apart",
        f"set it from {_LEAST_LIMIT:g} to {_MOST_LIMIT:g}",
    )  # fmt: skip


def _url_result(rule: str, where: str, url: str, problem: str, fix: str) -> Result:
    shown = url if "@" not in url else "the URL"
    return Result(
        rule, not problem, where, f"{shown} {problem or 'is well formed'}", fix if problem else ""
    )
