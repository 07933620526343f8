"""``init``: a first rollout file, from questions, options, or what other tools have.

It moves no traffic: every org of the file is at 0%. The file is created, never replaced.
"""

import asyncio
import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from rollout_console.changes.atomic_swap import ABSENT, swap
from rollout_console.changes.errors import Written
from rollout_console.cli.commands.init_given import Source, given_orgs, read_source
from rollout_console.cli.commands.init_questions import ask_draft, complete, profile_problem
from rollout_console.cli.confirm import agreed
from rollout_console.cli.exit_codes import CONFLICT, DONE, PROBLEMS, USAGE
from rollout_console.cli.prompts import InputEnded, ask, ask_yes, can_ask, say
from rollout_console.common.files import checked_path, real_path
from rollout_console.common.listing import counted, first_of
from rollout_console.common.safe_text import visible
from rollout_console.credentials.vault.credential import PURPOSES, WORDS, Purpose
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.readiness.checks.offline import check_offline
from rollout_console.readiness.checks.result import Result
from rollout_console.scaffold.draft import Draft, RouteDraft, tokenlab_url_problem
from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.model_names import ModelNames, no_models
from rollout_console.scaffold.sdk_lines import sdk_lines
from rollout_console.scaffold.template import rollout_text
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import DEFAULT_BASE_URL, MEDIA_FORMATS

if TYPE_CHECKING:
    from rollout_console.credentials.api_keys import ApiKeys
    from rollout_console.credentials.vault.vault import Place

_OFFERED: tuple[tuple[Purpose, str], ...] = (
    ("api_key", "for the checks, and to send probes"),
    ("management_token", "for the balance and the keys screen"),
)
_MOST_NOTES = 20
_MOST_SHOWN_ORGS = 3


def init(options: Namespace, path: Path) -> int:
    """Write a first rollout file; return the exit code."""
    if not options.dry_run:
        options.access.require()
        if code := _refused(path):
            return code
    try:
        draft, source = _draft(options, path)
        text = rollout_text(draft)
        if options.dry_run:
            return _print_only(options, path, draft, source, text)
        if not (options.yes or _agreed(path, draft, source)):
            return PROBLEMS
    except KeyboardInterrupt:
        print(file=sys.stderr)
        say("nothing was written")
        return 130
    try:
        swap(path, ABSENT, text.encode())
    except Written as warning:
        say(f"warning: {warning}")
    if not options.json:
        print(f"wrote {visible(str(path))}: {_spoken(draft)}, everything at 0%")
    return _afterwards(options, path, draft, source)


def _refused(path: Path) -> int:
    """Print why a new file cannot be at ``path``; return the exit code, 0 where it can."""
    try:
        if path.is_dir():
            say(f"rollout-console: {path} is a folder; give the path of a file in it with --file")
            return USAGE
        if path.exists():
            say(
                f"rollout-console: {path} exists, and is left as it is; look at it with"
                " rollout-console show, or give another path with --file"
            )
            return CONFLICT
        if not (folder := checked_path(path).parent).is_dir():
            say(f"rollout-console: there is no folder {folder}; make it first")
            return USAGE
    except OSError as error:
        say(f"rollout-console: {path} cannot be used: {error.strerror}")
        return USAGE
    return DONE


# -- what to write -------------------------------------------------------------------------------


def _draft(options: Namespace, path: Path) -> tuple[Draft, Source]:
    asks = can_ask() and not options.yes and not options.dry_run and not options.json
    named = any(option == "route" for option, _ in options.answers or ())
    questions = not (named or options.from_litellm or options.from_openai_log)
    if questions and not asks:
        raise ScaffoldError(
            "name a route with --route NAME --format FORMAT, or take them from --from-litellm or"
            " --from-openai-log; on a terminal, init asks"
        )
    base_url = options.base_url
    if questions:
        say(f"A first rollout file, {path}. Every org begins at 0%: no traffic moves.")
        say("Enter takes what is in [brackets]; ctrl+c stops, and writes nothing.")
        say()
        if not base_url:
            base_url = ask("TokenLab's base URL", DEFAULT_BASE_URL, problem=_base_url_problem)
    base_url = root_of(base_url or DEFAULT_BASE_URL)
    if problem := tokenlab_url_problem(base_url):
        shown = "it" if "@" in base_url else base_url
        raise ScaffoldError(f"--base-url: {shown} {problem}")
    if options.profile and (problem := profile_problem(options.profile)):
        raise ScaffoldError(f"--profile: {options.profile!r} {problem}")
    draft = Draft((), base_url, options.profile or "default", options.access_log)
    if problem := _log_problem(path, options.access_log):
        raise ScaffoldError(f"--access-log: {options.access_log!r} {problem}")
    models = _models(base_url, offline=options.offline)
    if questions:
        orgs, notes = given_orgs(options)
        log_problem = partial(_log_problem, path)
        return ask_draft(draft, models, orgs, log_problem), Source(notes=notes)
    source = read_source(options, models)
    if asks:
        source.routes = [complete(route, models) for route in source.routes]
    return replace(draft, routes=tuple(source.routes)), source


def _log_problem(path: Path, log: str) -> str:
    """Return why the gate cannot log to ``log``, empty where it can, as far as is known here."""
    if not log or not log.isprintable():
        return "is no path"
    if real_path(path.parent / log) == real_path(path):
        return "is the rollout file itself, which the gate would append to"
    return ""


def _base_url_problem(url: str) -> str:
    return tokenlab_url_problem(root_of(url))


def _models(base_url: str, *, offline: bool) -> ModelNames:
    """Read the catalogue; without one, say that models are not checked, and go on."""
    from rollout_console.common.folders import state_folder
    from rollout_console.models.catalogue import Catalogue, read_models
    from rollout_console.tokenlab.errors import ApiError

    if offline:
        say("--offline: models are not checked")
        return no_models("--offline was given")
    room = Catalogue(base_url, state_folder())
    try:
        trouble = asyncio.run(read_models(room))
    except ApiError as error:
        say(f"{error}; models are not checked")
        return no_models(str(error))
    say(f"{trouble}; the catalogue is as last read" if trouble else
        f"{counted(len(room.shelf.models), 'model')} at {base_url}")  # fmt: skip
    return ModelNames(room)


# -- what is said of it --------------------------------------------------------------------------


def _agreed(path: Path, draft: Draft, source: Source) -> bool:
    _say_source(source)
    say()
    say(str(path))
    for route in draft.routes:
        say(f"  {route.name}  {route.format}  {route.model or 'no model yet'}"
            f"  {_orgs(route)}{_requests(route, source)}")  # fmt: skip
        say(f"    today at {route.previous_base_url or '(not known yet)'}")
    try:
        return agreed("write it", "nothing was written")
    except UnicodeDecodeError:
        say("nothing was written")
        return False


def _say_source(source: Source) -> None:
    for line in source.said:
        say(line)
    for note in source.notes[:_MOST_NOTES]:
        where = f"line {note['line']}: " if note["line"] else ""
        count = f" ({note['count']:,} times)" if note["count"] > 1 else ""
        say(f"  {where}{note['reason']}{count}")
    if len(source.notes) > _MOST_NOTES:
        say(f"  and {len(source.notes) - _MOST_NOTES} more; --json has all")


def _orgs(route: RouteDraft) -> str:
    return first_of(route.orgs, _MOST_SHOWN_ORGS) or "no orgs yet"


def _requests(route: RouteDraft, source: Source) -> str:
    count = source.requests.get(route.name)
    return "" if count is None else f"  {counted(count, 'request')}"


def _spoken(draft: Draft) -> str:
    orgs = len({org for route in draft.routes for org in route.orgs})
    one = len(draft.routes) == 1
    return f"{len(draft.routes)} route{'' if one else 's'}, {orgs:,} org{'' if orgs == 1 else 's'}"


def _print_only(options: Namespace, path: Path, draft: Draft, source: Source, text: str) -> int:
    if options.json:
        print(json.dumps(_as_json(path, draft, source) | {"text": text}, indent=2))
        return DONE
    _say_source(source)
    sys.stdout.write(visible_text(text))
    return DONE


def visible_text(text: str) -> str:
    """Return a text of several lines with each line's untrusted characters shown as dots."""
    return "".join(f"{visible(line)}\n" for line in text.split("\n")[:-1])


def _as_json(path: Path, draft: Draft, source: Source) -> dict[str, Any]:
    return {
        "path": str(path),
        "written": False,
        "routes": {
            route.name: {
                "format": route.format,
                "model": route.model,
                "previous_base_url": route.previous_base_url,
                "orgs": list(route.orgs),
                "requests": source.requests.get(route.name),
                "sdk": list(sdk_lines(route, str(path))),
            }
            for route in draft.routes
        },
        "notes": source.notes,
    }


# -- after the file is written -------------------------------------------------------------------


def _afterwards(options: Namespace, path: Path, draft: Draft, source: Source) -> int:
    """Offer to keep credentials, check the file, and print what comes next."""
    if not options.json and options.yes:
        _say_source(source)
    kept, problem = False, ""
    try:
        kept, problem, results = _checked(options, path, draft)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        say(f"{path} is written; what was left out: rollout-console check")
        return 130
    ok = all(result.ok for result in results) and not problem
    steps = _next_steps(options, path, draft, kept=kept)
    if options.json:
        body = _as_json(path, draft, source) | {
            "written": True,
            "check": {"ok": ok, "results": [result.as_json() for result in results]},
            "next": steps,
        }
        print(json.dumps(body, indent=2))
    else:
        _print_results(results)
        _print_sdk(path, draft)
        print("\nnext:")
        for step in steps:
            print(f"  {visible(step)}")
    return DONE if ok else PROBLEMS


def _checked(options: Namespace, path: Path, draft: Draft) -> tuple[bool, str, list[Result]]:
    """Return whether there is an API key, what kept a credential from being stored, the checks."""
    from rollout_console.cli.credentials import given_on, make_key_room, make_vault

    problem = ""
    try:
        options.profile = draft.profile
        room = make_key_room(options, make_vault(given_on(options), asks=True), path)
        problem = _keep_given(options, room)
        if not options.yes and not options.json and can_ask():
            with suppress(InputEnded):  # the file is written: what follows is for later
                _offer(options, room)
        missing = [p for p in PURPOSES if room.vault.present(draft.profile, p).secret is None]
    except VaultError as error:
        say(f"rollout-console: {error}")
        return False, str(error), check_offline(path)
    results = check_offline(path)
    if not options.offline:
        results += _online(room, path, draft, everything=not missing)
    if missing:
        words = " and ".join(WORDS[purpose] for purpose in missing)
        say(f"not checked: {words}, as none is kept for profile {draft.profile}")
    return "api_key" not in missing, problem, results


def _online(room: "ApiKeys", path: Path, draft: Draft, *, everything: bool) -> list[Result]:
    from rollout_console.common.folders import state_folder
    from rollout_console.models.catalogue import Catalogue
    from rollout_console.readiness.checks.online import PLAN_DAYS, check_online, check_routes
    from rollout_gate.file.parse import parse
    from rollout_gate.file.read import read_file

    models = Catalogue(draft.base_url, state_folder())
    if everything:
        return asyncio.run(check_online(room, models, path))
    key = room.vault.present(draft.profile, "api_key").secret
    file = parse(read_file(path)[0])
    return asyncio.run(check_routes(file, models, key, room.now(), PLAN_DAYS))


def _keep_given(options: Namespace, room: "ApiKeys") -> str:
    """Keep what came on standard input; return what is wrong with it, empty where nothing is."""
    text = next(iter(room.vault.given.stdin.values()), None)
    if text is None:
        return ""
    try:
        where = room.add(room.profile, text, options.to)
    except VaultError as error:
        say(f"rollout-console: the credential is not kept: {error}")
        return str(error)
    say(f"kept for profile {room.profile} in the {where.removeprefix('the ')}")
    return ""


def _offer(options: Namespace, room: "ApiKeys") -> None:
    """Offer to keep each credential that no source has; an empty answer is for later."""
    from rollout_console.cli.credentials import ask_hidden

    say()
    place: Place | None = None
    for purpose, why in _OFFERED:
        found = room.vault.present(room.profile, purpose)
        if found.secret is not None:
            say(f"{WORDS[purpose]} of profile {room.profile}: from {found.source}")
            continue
        text = ask_hidden(f"{WORDS[purpose]} of TokenLab, {why} (hidden; enter for later): ")
        if text is None:
            continue
        try:
            place = place or _place(options, room)
            if place is None:
                return
            where = room.add(room.profile, text, place)
        except VaultError as error:
            say(f"  not kept: {error}")
        else:
            say(f"  kept in the {where.removeprefix('the ')}")


def _place(options: Namespace, room: "ApiKeys") -> "Place | None":
    """Return where credentials are kept: the store asked for, or where it is closed another one.

    No store stands in for another without a yes.
    """
    try:
        room.vault.check(options.to, room.profile)
    except VaultError as error:
        if options.to == "encrypted":
            raise
        say(f"  not in the keyring: {error}")
        return "encrypted" if ask_yes("keep it in the encrypted store instead?") else None
    place: Place = options.to
    return place


def _print_results(results: Sequence[Result]) -> None:
    failed = [result for result in results if not result.ok]
    print(f"\n{len(results)} checks, {len(failed) or 'none'} failed")
    for result in failed:
        print(f"  {result.rule}  {visible(result.where)}  {visible(result.reason)}")
        print(f"    do: {visible(result.fix)}")


def _print_sdk(path: Path, draft: Draft) -> None:
    print("\nin the applications, with rollout-gate and TOKENLAB_API_KEY (more in docs/gate.md):")
    for route in draft.routes:
        print(f"\n  # {visible(route.name)}: {route.format}")
        for line in sdk_lines(route, str(path)):
            print(f"  {visible(line)}".rstrip())


def _next_steps(options: Namespace, path: Path, draft: Draft, *, kept: bool) -> list[str]:
    """Return the commands that come next, as they can be pasted into a shell."""
    file = "" if options.file is None and path == Path("rollout.toml") else (
        f" -f {shlex.quote(str(path))}"
    )  # fmt: skip
    text = next((r.name for r in draft.routes if r.format not in MEDIA_FORMATS), "")
    steps = [] if kept else [f"rollout-console keys add {draft.profile}"]
    if any(not route.model for route in draft.routes):
        steps.append("rollout-console models")
    steps.append(f"rollout-console{file} check")
    if text:
        steps.append(f"rollout-console{file} probe {shlex.quote(text)}")
    return [*steps, f"rollout-console{file}"]
