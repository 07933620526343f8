"""Checks that need nothing but the file: what can be known before traffic depends on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from console.gate.load import Unreadable, read_file
from console.rollout.errors import FileError
from console.rollout.model import MEDIA_FORMATS, RolloutFile, Route
from console.rollout.parse import parse


@dataclass(frozen=True, slots=True)
class Result:
    """One rule on one place: whether it holds, why, and what to do if not."""

    rule: str
    ok: bool
    where: str
    reason: str
    fix: str = ""

    def as_json(self) -> dict[str, str | bool]:
        """Return the shape that ``check --json`` prints."""
        return {
            "rule": self.rule,
            "ok": self.ok,
            "where": self.where,
            "reason": self.reason,
            "fix": self.fix,
        }


def check_offline(path: Path) -> list[Result]:
    """Return every rule's result, file first; a file that cannot be used fails and ends it."""
    try:
        data, _ = read_file(path)
    except Unreadable as error:
        return [Result("file.readable", False, str(path), str(error), "make the file readable")]
    readable = Result("file.readable", True, str(path), "it can be read")
    try:
        file = parse(data)
    except FileError as error:
        problems = [
            Result("file.valid", False, _at(path, p.line, p.column), str(p), "correct this line")
            for p in error.problems
        ]
        return [readable, *problems]
    valid = Result("file.valid", True, str(path), f"{len(file.routes)} routes")
    warnings = [
        Result(
            "file.known_keys", False, _at(path, w.line, w.column), str(w), "correct or remove it"
        )
        for w in file.warnings
    ] or [Result("file.known_keys", True, str(path), "no unknown keys")]
    return [readable, valid, *warnings, *_tokenlab(file), *_routes(file)]


def _at(path: Path, line: int, column: int) -> str:
    return f"{path}:{line}:{column}" if line else str(path)


def _tokenlab(file: RolloutFile) -> Iterator[Result]:
    where, url = "tokenlab.base_url", file.base_url
    problem = _url_problem(url)
    if not problem and urlsplit(url).path.rstrip("/"):
        problem = "has a path; TokenLab's base URL has none, each format adds its own"
    yield _url_result(where, url, problem, "write https://api.tokenlab.sh")


def _routes(file: RolloutFile) -> Iterator[Result]:
    for route in file.routes.values():
        where = f"routes.{route.name}"
        yield _previous(where, route)
        named = bool(route.model)
        media = " for a media route it must be" if route.format in MEDIA_FORMATS else ""
        yield Result(
            "route.model",
            named,
            f"{where}.model",
            f"model {route.model}" if named else f"no model is named;{media or ' the app chooses'}",
            "" if named else "name the model",
        )
        yield _phase(where, route)


def _previous(where: str, route: Route) -> Result:
    url = route.previous_base_url
    place = f"{where}.previous_base_url"
    if not url:
        reason = "is missing: a rollback would have nowhere to go"
        return Result(
            "route.base_url", False, place, reason, "write the previous provider's base URL"
        )
    problem = _url_problem(url)
    path = urlsplit(url).path.rstrip("/")
    if not problem and path.endswith("/v1/v1"):
        problem = "ends in /v1/v1"
    elif not problem and route.format == "anthropic_messages" and path.endswith("/v1"):
        problem = "ends in /v1, which the Anthropic SDK adds by itself"
    elif not problem and route.format.startswith("openai_") and not path.endswith("/v1"):
        problem = "does not end in /v1, which the OpenAI SDK does not add"
    return _url_result(place, url, problem, "correct the base URL")


def _phase(where: str, route: Route) -> Result:
    shares = [route.default_points, *route.keys.values(), *route.flags.values()]
    shares += [route.org_points(org) for org in route.orgs]
    most = max(shares)
    early = route.phase == "inventory" and most > 0
    return Result(
        "route.phase",
        not early,
        f"{where}.phase",
        f"phase {route.phase}, at most {most / 100:g}%"
        + (": an inventory takes no traffic" if early else ""),
        "set the phase to pilot, or the percents to 0" if early else "",
    )


def _url_problem(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host:
        return "is not an http(s) URL"
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        return "is plain http: credentials would travel in the clear"
    if parts.username or parts.password:
        return "holds a credential; those never belong in this file"
    return ""


def _url_result(where: str, url: str, problem: str, fix: str) -> Result:
    shown = url if "@" not in url else "the URL"
    return Result(
        "route.base_url",
        not problem,
        where,
        f"{shown} {problem or 'is well formed'}",
        fix if problem else "",
    )
