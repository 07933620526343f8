"""What the options of ``init`` say: routes with their orgs, from flags and from other tools' files.

Every value is validated here, so that a wrong one is refused before anything is asked or written.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.scaffold.draft import (
    USUAL_PREVIOUS,
    RouteDraft,
    name_problem,
    org_problem,
    previous_url_problem,
    unique_name,
)
from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.model_names import ModelNames
from rollout_console.scaffold.org_list import read_orgs

Note = dict[str, Any]
"""Something that could not be taken over, as ``--json`` prints it: file, line, count, reason."""


class Source(msgspec.Struct):
    """The routes that the options give, and what was read or left out on the way.

    ``said`` are sentences of what was read, ``requests`` the counts of a log by route.
    """

    routes: list[RouteDraft] = []
    notes: list[Note] = []
    said: list[str] = []
    requests: dict[str, int] = {}


class _Spec(msgspec.Struct):
    name: str
    values: dict[str, str] = {}
    orgs: list[str] = []


def read_source(options: Namespace, models: ModelNames) -> Source:
    """Return the routes of all options; raises ScaffoldError for one that cannot be used."""
    source = Source()
    if options.from_litellm is not None:
        _from_litellm(options.from_litellm, source, models)
    if options.from_openai_log is not None:
        _from_log(options, source, models)
    everybody, specs = _specs(options, source)
    for spec in specs:
        if any(route.name == spec.name for route in source.routes):
            raise ScaffoldError(f"route {spec.name!r} is given twice; a route has one name")
        source.routes.append(_route(spec, models))
    if everybody:
        if not source.routes and not specs:
            return source
        source.routes = [
            replace(route, orgs=_joined(everybody, route.orgs)) for route in source.routes
        ]
    return source


def given_orgs(options: Namespace) -> tuple[list[str], list[Note]]:
    """Return the orgs that are given before the first ``--route``, and what was left out."""
    source = Source()
    return _specs(options, source)[0], source.notes


def _from_litellm(path: Path, source: Source, models: ModelNames) -> None:
    from rollout_console.scaffold.litellm_config import read_config

    config = read_config(path)
    source.routes += [models.meant(route) for route in config.routes]
    source.notes += [
        {"file": str(path), "line": one.line, "count": 1, "reason": f"{one.name} {one.reason}"}
        for one in config.unmapped
    ]
    source.said.append(f"{path}: {counted(len(config.routes), 'route')}")


def _from_log(options: Namespace, source: Source, models: ModelNames) -> None:
    from rollout_console.scaffold.request_log import read_log

    path = options.from_openai_log
    report = read_log(path, org_field=options.org_field)
    taken = [route.name for route in source.routes]
    for route in report.routes:
        name = unique_name(route.name, taken)
        taken.append(name)
        source.requests[name] = report.counts[route.name]
        source.routes.append(models.meant(replace(route, name=name)))
    source.notes += _skipped(path, report.skipped)
    fields = ", ".join(f"{role} from {said}" for role, said in report.fields.items())
    source.said.append(
        f"{path}: {report.kind}, {counted(report.records, 'record')},"
        f" {counted(report.requests, 'request')}"
        f"; {fields or 'no field is known'}"
    )
    if report.guessed:
        some = counted(report.guessed, "record names", "records name")
        source.said.append(
            f"{path}: {some} no path; the format was taken from the model, so check it"
        )
    if "org" not in report.fields:
        source.said.append(f"{path}: no field names orgs; say which with --org-field, or --org")


def _skipped(path: Path, skipped: Sequence[tuple[str, int, int]]) -> list[Note]:
    return [
        {"file": str(path), "line": line, "count": count, "reason": reason}
        for reason, count, line in skipped
    ]


def _specs(options: Namespace, source: Source) -> tuple[list[str], list[_Spec]]:
    everybody: list[str] = []
    specs: list[_Spec] = []
    for option, value in options.answers or ():
        if option == "route":
            _require("route name", value, name_problem)
            specs.append(_Spec(value))
        elif option in ("org", "orgs-from"):
            into = specs[-1].orgs if specs else everybody
            into += _orgs(option, value, options.org_field, source)
        elif not specs:
            raise ScaffoldError(f"--{option} is of a route: give it after --route NAME")
        elif option in specs[-1].values:
            raise ScaffoldError(f"route {specs[-1].name!r} has --{option} twice")
        else:
            specs[-1].values[option] = value
    return everybody, specs


def _orgs(option: str, value: str, field: str, source: Source) -> list[str]:
    if option == "org":
        _require("org", value, org_problem)
        return [value]
    found, skipped = read_orgs(Path(value), org_field=field)
    source.notes += _skipped(Path(value), skipped.all())
    return found


def _route(spec: _Spec, models: ModelNames) -> RouteDraft:
    kind = spec.values.get("format", "")
    if not kind:
        raise ScaffoldError(f"route {spec.name!r} needs --format: what its requests look like")
    model = spec.values.get("model", "")
    if problem := models.problem(kind, model):
        raise ScaffoldError(f"route {spec.name!r}: model {visible(model)!r} {problem}")
    url = spec.values.get("previous-url", USUAL_PREVIOUS.get(kind, ""))
    if not url:
        raise ScaffoldError(
            f"route {spec.name!r} needs --previous-url: where its requests go today"
        )
    if problem := previous_url_problem(kind, url):
        shown = "it" if "@" in url else visible(url)
        raise ScaffoldError(f"route {spec.name!r}: --previous-url: {shown} {problem}")
    return RouteDraft(spec.name, kind, model, url, _joined(spec.orgs))


def _require(what: str, value: str, problem: Callable[[str], str]) -> None:
    if said := problem(value):
        raise ScaffoldError(f"the {what} {visible(value[:60])!r} {said}")


def _joined(*orgs: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(org for some in orgs for org in some))
