"""The questions of ``init`` on a terminal: each is answered with enter, or refused at once."""

from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec.structs import replace

from rollout_console.cli.prompts import ask, ask_yes, say
from rollout_console.common.listing import counted
from rollout_console.scaffold.draft import (
    USUAL_PREVIOUS,
    Draft,
    RouteDraft,
    name_problem,
    org_problem,
    previous_url_problem,
    unique_name,
    usual_name,
)
from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.model_names import ModelNames
from rollout_console.scaffold.org_list import read_orgs
from rollout_gate.file.formats import kind_of
from rollout_gate.file.model import FORMATS, MEDIA_FORMATS

_MOST_LISTED = 30


def ask_draft(
    draft: Draft, models: ModelNames, orgs: Iterable[str], log_problem: Callable[[str], str]
) -> Draft:
    """Ask for routes, the access log and the profile.

    ``orgs`` are those given for every route.
    """
    routes: list[RouteDraft] = []
    given = tuple(orgs)
    while True:
        say()
        say(f"Route {len(routes) + 1}: one kind of request that your applications send")
        routes.append(_ask_route([route.name for route in routes], models, given))
        if not ask_yes("another route?"):
            break
    say()
    say("For the whole file")
    log = ask("where the gate logs each request, relative to the file", draft.access_log,
              problem=log_problem)  # fmt: skip
    profile = ask("a name for the credentials of this environment", draft.profile,
                  problem=profile_problem)  # fmt: skip
    return replace(draft, routes=tuple(routes), access_log=log, profile=profile)


def complete(route: RouteDraft, models: ModelNames) -> RouteDraft:
    """Ask for what a route from another tool's file lacks: the model, the previous side."""
    if not route.model:
        say()
        say(f"route {route.name} ({route.format}): {route.why_no_model or 'it names no model'}")
        route = replace(route, model=_ask_model(route.format, models))
    if not route.previous_base_url:
        say()
        say(f"route {route.name} ({route.format}): {route.why_no_previous}")
        route = replace(route, previous_base_url=_ask_previous(route.format))
    return route


def profile_problem(text: str) -> str:
    """Return why a text cannot name a profile, empty where it can."""
    from rollout_console.credentials.vault.errors import VaultError
    from rollout_console.credentials.vault.profiles import checked_name

    try:
        checked_name(text)
    except VaultError as error:
        return f"cannot be used: {error}"
    return ""


def _ask_route(taken: list[str], models: ModelNames, orgs: tuple[str, ...]) -> RouteDraft:
    for number, kind in enumerate(FORMATS, 1):
        title = kind_of(kind).title if kind not in MEDIA_FORMATS else "Media generation"
        say(f"  {number}  {kind:<24} {title}")
    kind = _chosen(ask("what its requests look like, by number or name", "1", problem=_no_format))
    name = ask(
        "a name for the route", unique_name(usual_name(kind), taken),
        problem=lambda text: "is another route's" if text in taken else name_problem(text),
    )  # fmt: skip
    model = _ask_model(kind, models)
    previous = _ask_previous(kind)
    if not orgs:
        orgs = _ask_orgs()
    return RouteDraft(name, kind, model, previous, orgs)


def _chosen(answer: str) -> str:
    return FORMATS[int(answer) - 1] if answer.isascii() and answer.isdigit() else answer


def _no_format(answer: str) -> str:
    if answer in FORMATS:
        return ""
    if answer.isascii() and answer.isdigit() and 1 <= int(answer[:3]) <= len(FORMATS):
        return ""
    return f"is none of them; type a number from 1 to {len(FORMATS)}"


def _ask_model(kind: str, models: ModelNames) -> str:
    how = "? lists them, ?gpt those with gpt" if models.count else "not checked"
    later = "" if kind in MEDIA_FORMATS else "; enter to choose later"
    while True:
        answer = ask(
            f"the model at TokenLab ({how}{later})",
            problem=lambda text: "" if text.startswith("?") else models.problem(kind, text),
        )
        if not answer.startswith("?"):
            return answer
        found = models.fitting(kind, answer[1:].strip())
        for model in found[:_MOST_LISTED]:
            say(f"  {model.id:<36} {model.provider:<12} {model.price.words}")
        more = len(found) - _MOST_LISTED
        if more > 0:
            say(f"  and {more} more; narrow them with ?TEXT")
        if not found:
            say("  none" if models.count else f"  there is no catalogue: {models.unchecked}")


def _ask_previous(kind: str) -> str:
    return ask("where these requests go today: the base URL that the SDK is given",
               USUAL_PREVIOUS.get(kind, ""),
               problem=lambda url: previous_url_problem(kind, url))  # fmt: skip


def _ask_orgs() -> tuple[str, ...]:
    found: tuple[str, ...] = ()

    def problem(text: str) -> str:
        nonlocal found
        found, said = _orgs_in(text)
        return said

    ask("orgs, separated by commas, or @FILE that lists them (enter for none yet)", problem=problem)
    return found


def _orgs_in(text: str) -> tuple[tuple[str, ...], str]:
    """Return the orgs of an answer, or what is wrong with it."""
    if text.startswith("@"):
        try:
            orgs, skipped = read_orgs(Path(text[1:].strip()).expanduser())
        except (ScaffoldError, RuntimeError) as error:  # RuntimeError: ~ of an unknown user
            return (), f"cannot be used: {error}"
        for reason, count, line in skipped.all():
            say(f"  line {line}: {reason} ({count:,})")
        say(f"  {counted(len(orgs), 'org')}")
        return tuple(orgs), ""
    orgs = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(orgs)), _first(org_problem, orgs)


def _first(problem: Callable[[str], str], orgs: Iterable[str]) -> str:
    found = ((org, problem(org)) for org in orgs)
    return next((f"cannot be used: {org!r} {said}" for org, said in found if said), "")
