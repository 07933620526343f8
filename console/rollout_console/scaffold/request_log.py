"""Count the requests of another tool's log by format, model and org, and propose routes.

Which columns are read is chosen by a sample of the file's beginning (``fields``); then the file is
streamed. Names kept in memory are bounded, so that a column of ids does not fill it.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from rollout_console.scaffold.draft import (
    USUAL_PREVIOUS,
    RouteDraft,
    model_problem,
    org_problem,
    previous_url_problem,
    suited_url,
    unique_name,
    usual_name,
)
from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.fields import Chosen, choose, is_known
from rollout_console.scaffold.records import Record, Records, Skipped
from rollout_gate.file.formats import kind_of
from rollout_gate.file.model import FORMATS
from rollout_gate.http.request_shape import call_of, shape_of

MOST_ROUTES = 20
MOST_ORGS = 100_000
_MOST_GROUPS = 1_000
_SAMPLE = 1_000
_MOST_COUNT = 10**12

_CALL_TYPES = {
    "completion": "openai_chat_completions",
    "chat": "openai_chat_completions",
    "chat_completion": "openai_chat_completions",
    "chat_completions": "openai_chat_completions",
    "responses": "openai_responses",
    "anthropic_messages": "anthropic_messages",
    "messages": "anthropic_messages",
    "generate_content": "gemini_generate_content",
    "generate_content_stream": "gemini_generate_content",
    "image_generation": "image",
    "video_generation": "video",
    "organization.usage.completions.result": "openai_chat_completions",
    "organization.usage.images.result": "image",
}
"""What a call is named where no path is logged: LiteLLM's call types (``a`` stands before those of
asyncio), OpenTelemetry's operation names, and the objects of OpenAI's usage API."""

_FAMILIES = (
    (re.compile(r"(?:^|[/.:])claude"), "anthropic_messages"),
    (re.compile(r"(?:^|[/.:])gemini"), "gemini_generate_content"),
)
_PREFIXES = re.compile(r"^(?:openai|anthropic|gemini|azure|litellm_proxy)/", re.IGNORECASE)
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")
_REQUEST_LINE = re.compile(r"^(?:([A-Z]{3,7}) )?(\S+)(?: HTTP/[\d.]+)?$")
_SLUG = re.compile(r"[^A-Za-z0-9_]+")
_DATED = re.compile(r"-(?:\d{4}-\d\d-\d\d|\d{8}|latest)$")


class _Key(NamedTuple):
    format: str
    model: str


class _Group(msgspec.Struct):
    requests: int = 0
    orgs: Counter[str] = msgspec.field(default_factory=Counter)
    bases: Counter[str] = msgspec.field(default_factory=Counter)


class Report(msgspec.Struct, frozen=True):
    """What was found in a log: the routes proposed, and what was left out and why.

    ``skipped`` has reason, count and first line of each; ``fields`` the names that were read, by
    role. ``guessed`` counts the requests whose format was taken from their model.
    """

    kind: str
    records: int
    requests: int
    routes: tuple[RouteDraft, ...]
    counts: Mapping[str, int]
    skipped: tuple[tuple[str, int, int], ...]
    fields: Mapping[str, str]
    guessed: int = 0


def read_log(path: Path, *, org_field: str = "") -> Report:
    """Count the requests of a log, and propose a route for each format and model.

    Raises ScaffoldError where the file cannot be read, or none of its records can be used.
    """
    records = Records(path, is_known)
    stream = iter(records)
    sample = list(islice(stream, _SAMPLE))
    chosen = choose([record.fields for record in sample], org_field=org_field)
    if org_field and not chosen.places["org"] and sample:
        raise ScaffoldError(f"{path} has no field {org_field!r}; {_named(sample[0].fields)}")
    tally = _Tally(chosen, records.skipped)
    for record in chain(sample, stream):
        tally.add(record)
    if not tally.groups:
        why = next(iter(records.skipped.all()), None)
        first = f"; the first: line {why[2]}: {why[0]}" if why is not None else ""
        raise ScaffoldError(f"{path}: no record names a request of a route's format{first}")
    routes, counts = _routes(tally.groups, records.skipped)
    return Report(
        records.kind, tally.records, tally.requests, routes, counts, tuple(records.skipped.all()),
        {role: said for role in ("path", "model", "org") if (said := chosen.spoken(role))},
        tally.guessed,
    )  # fmt: skip


def _named(fields: Mapping[str, Any]) -> str:
    shown = ", ".join(str(name)[:40] for name in list(fields)[:20])
    return f"its first record has: {shown}"


class _Tally:
    """Counts records by format and model, and the orgs of each."""

    def __init__(self, chosen: Chosen, skipped: Skipped) -> None:
        self.groups: dict[_Key, _Group] = {}
        self.records = self.requests = self.guessed = 0
        self._chosen = chosen
        self._skipped = skipped
        self._orgs: set[str] = set()

    def add(self, record: Record) -> None:
        """Count one record, or note why it cannot be used."""
        self.records += 1
        fields, chosen = record.fields, self._chosen
        count = _count(chosen.text("count", fields))
        found, model, base = self._call(fields)
        if found not in FORMATS:
            self._skipped.add(record.line, found)
            return
        model = model or _PREFIXES.sub("", chosen.text("model", fields))
        key = _Key(found, model)
        group = self.groups.get(key)
        if group is None:
            if problem := model_problem(model):
                self._skipped.add(record.line, f"its model {problem}")
                return
            if len(self.groups) >= _MOST_GROUPS:
                self._skipped.add(record.line, f"over {_MOST_GROUPS:,} pairs of format and model")
                return
            group = self.groups[key] = _Group()
        group.requests += count
        self.requests += count
        base = base or chosen.text("base", fields)
        if base and (base in group.bases or len(group.bases) < _MOST_GROUPS):
            group.bases[base] += count
        self._count_org(record, group, count)

    def _count_org(self, record: Record, group: _Group, count: int) -> None:
        org = self._chosen.text("org", record.fields)
        if org not in self._orgs:
            if not org:
                self._skipped.add(record.line, "counted, and without an org")
                return
            if len(self._orgs) >= MOST_ORGS:
                self._skipped.add(record.line, f"counted, but over {MOST_ORGS:,} orgs")
                return
            if problem := org_problem(org):
                self._skipped.add(record.line, f"counted, but its org {problem}")
                return
            self._orgs.add(org)
        group.orgs[org] += count

    def _call(self, fields: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return the format, or why there is none, and the model and base URL in the path."""
        method = self._chosen.text("method", fields).upper()
        named, why = False, ""
        for text in self._chosen.texts("path", fields):
            named = True
            by_name = _CALL_TYPES.get(text.lower()) or _CALL_TYPES.get(text.lower()[1:])
            if by_name:
                return by_name, "", ""
            line = _REQUEST_LINE.match(text)
            if line is None or "/" not in line[2]:
                why = why or f"there is no route format for {text[:40]!r}"
                continue
            verb = line[1] or method or "POST"
            if verb != "POST":
                return "it is no POST: it generates nothing", "", ""
            found = _by_path(line[2])
            if found is not None:
                return found
            why = f"there is no route format for {_shape(line[2])}"
        if named:
            return why, "", ""
        model = self._chosen.text("model", fields)
        if not model:
            return "it names neither a path nor a model", "", ""
        self.guessed += 1
        return self._by_model(model, self._chosen.text("provider", fields)), "", ""

    @staticmethod
    def _by_model(model: str, provider: str) -> str:
        for pattern, route_format in _FAMILIES:
            if pattern.search(model.lower()):
                return route_format
        if "anthropic" in provider.lower():
            return "anthropic_messages"
        return "openai_chat_completions"


@lru_cache(maxsize=4096)
def _by_path(url: str) -> tuple[str, str, str] | None:
    try:
        for route_format in FORMATS:
            call = call_of(route_format, "POST", url)
            if call is None or "/threads/" in url:
                continue
            model = call.model or ""
            deployment = _DEPLOYMENT.search(url)
            if deployment is not None:
                model = deployment[1]
            parts = urlsplit(url)
            base = ""
            if parts.scheme and parts.netloc and call.as_usual:
                path = parts.path.rstrip("/").removesuffix(call.path)
                base = f"{parts.scheme}://{parts.netloc}{path}" if "/models/" not in path else ""
            return route_format, model, base
    except ValueError:
        return None
    return None


def _shape(url: str) -> str:
    try:
        return shape_of("POST", url)
    except ValueError:
        return "a path that is no URL"


def _count(text: str) -> int:
    """Return the number of requests that a record stands for: 1, or what an aggregate says."""
    if text.isascii() and text.isdigit() and len(text) < len(str(_MOST_COUNT)):
        return int(text)
    return 1


def _routes(
    groups: Mapping[_Key, _Group], skipped: Skipped
) -> tuple[tuple[RouteDraft, ...], Mapping[str, int]]:
    ordered = sorted(groups.items(), key=lambda one: (-one[1].requests, one[0]))
    for key, group in ordered[MOST_ROUTES:]:
        what = f"over {MOST_ROUTES} routes: {key.model or 'no model'} is left out"
        skipped.add(0, what, group.requests)
    several = Counter(key.format for key, _ in ordered[:MOST_ROUTES])
    routes: list[RouteDraft] = []
    counts: dict[str, int] = {}
    for key, group in ordered[:MOST_ROUTES]:
        name = usual_name(key.format)
        if several[key.format] > 1 and key.model:
            name = f"{name}-{_SLUG.sub('-', key.model).strip('-')[:64]}"
        name = unique_name(name, counts)
        counts[name] = group.requests
        previous, why = _previous(key.format, group.bases)
        routes.append(
            RouteDraft(
                name, key.format, key.model, previous,
                tuple(org for org, _ in group.orgs.most_common()),
                why_no_model="" if key.model else "the log does not name it",
                why_no_previous=why,
            )
        )  # fmt: skip
    return tuple(routes), counts


def _previous(route_format: str, bases: Counter[str]) -> tuple[str, str]:
    """Return the base URL most requests went to, else the maker's own; or why there is none."""
    for base, _ in bases.most_common():
        try:
            url = suited_url(route_format, base)
        except ValueError:
            continue
        if not previous_url_problem(route_format, url):
            return url, ""
    if bases:
        return "", "those of the log cannot be used; write where requests go today"
    usual = USUAL_PREVIOUS.get(route_format, "")
    return (
        usual,
        "" if usual else f"the log does not name it; it ends in {kind_of(route_format).base}",
    )


def undated(model: str) -> str:
    """Return a model's name without the date of a snapshot: gpt-4o for gpt-4o-2024-08-06."""
    return _DATED.sub("", model)
