"""The support playbook (runbook) for on-call staff, as Markdown without any secret.

Free text may contain a credential, and is redacted. Names and paths are not: a command has to work
when it is pasted, and an org may well be called sk-something.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rollout_console.changes.output_file import write_output
from rollout_console.changes.traffic_diff import DEFAULT_SHARE
from rollout_console.common.files import real_path
from rollout_console.common.folders import folder_of
from rollout_console.common.markdown import code, escaped, ticks
from rollout_console.common.safe_text import visible
from rollout_console.readiness.plan_file import PlanState
from rollout_gate.file.formats import kind_of
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import percent_text
from rollout_gate.file.revision import SHORT
from rollout_gate.secret import redacted

if TYPE_CHECKING:
    from rollout_console.readiness.phases import PhaseState

_REVISION = re.compile(r"^<!-- revision ([0-9a-f]{64}) -->$", re.MULTILINE)
_TITLE = "# Support playbook of"
_MOST_ORGS = 200
_MOST_SERVERS = 200
_WHY = ("--yes", "--reason", "why")


def playbook_path(rollout_file: Path) -> Path:
    """Return the path of a rollout file's playbook, next to it."""
    return folder_of(rollout_file) / f"{rollout_file.stem}.playbook.md"


def playbook_revision(path: Path) -> str:
    """Return the file revision that a playbook was written from, empty without a playbook."""
    try:
        found = _REVISION.search(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found.group(1) if found else ""


def put_playbook(path: Path, text: str, rollout_file: Path) -> None:
    """Replace the playbook atomically; raises OperationError for a file that is no playbook."""
    write_output(
        path, text.encode("utf-8"), rollout_file=rollout_file, what="a playbook",
        is_what=lambda head: head.startswith(_TITLE.encode()),
    )  # fmt: skip


class Place(msgspec.Struct, frozen=True):
    """Where a rollout file is: its name in a sentence, and what ``--file`` takes for it.

    ``servers`` have a mirror of one in etcd, each with its path there; None for a file on a host.
    """

    name: str
    location: str
    servers: tuple[tuple[str, str], ...] | None = None


def playbook(
    path: Path,
    file: RolloutFile,
    plan: PlanState,
    states: Sequence["PhaseState"],
    now: datetime,
    place: Place | None = None,
) -> str:
    """Render the playbook of a rollout file as it is now; ``place`` is of one that is not here."""
    place = place or Place(path.name, str(real_path(path)))
    lines = [*_head(place, file, plan, now)]
    by_route = {state.route: state for state in states}
    for route in file.routes.values():
        lines += _route(place, file, route, plan, by_route.get(route.name))
    lines += _LAST
    return "\n".join(lines) + "\n"


def _head(place: Place, file: RolloutFile, plan: PlanState, now: datetime) -> Iterator[str]:
    yield f"{_TITLE} {escaped(place.name)}"
    yield ""
    yield f"<!-- revision {file.revision} -->"
    yield f"Written {now:%Y-%m-%d %H:%M} UTC from revision `{file.revision[:SHORT]}`."
    yield f"TokenLab: {_url(file.base_url)}, profile {code(file.profile)}."
    yield ""
    if file.rolled_back:
        yield "**Everything is rolled back now.**"
        yield ""
    yield "## Everything back, now"
    yield ""
    yield from _block(_command(place, "rollback", *_WHY))
    yield ""
    where = code(place.location) + "." if place.servers is None else "the server's own file."
    yield (
        f"Without the console: set `rolled_back = true` at the top of {where} "
        "Applications read it within a second; nothing else is needed, no network either. "
        "It stays so until it is resumed; the percents are kept."
    )
    yield from _servers(place)
    yield ""
    yield "What it is now, and the proof that nothing goes to TokenLab any more:"
    yield ""
    yield from _block(_command(place, "show"), _command(place))
    yield ""
    yield f"Contacts: {_listed(plan.contacts)}"
    yield ""


def _servers(place: Place) -> Iterator[str]:
    """Say how a server is rolled back by itself: etcd may be away just then."""
    if place.servers is None:
        return
    yield ""
    yield (
        "Where etcd is away, on each server: "
        f"{code('rollout-console rollback --yes --reason why --file PATH')}. "
        "What is rolled back there stays so whatever etcd has, until it is resumed there. Servers, "
        "and the file of each:"
    )
    yield ""
    for host, path in place.servers[:_MOST_SERVERS]:
        yield f"- {escaped(host)}: {code(path)}"
    if (more := len(place.servers) - _MOST_SERVERS) > 0:
        yield f"- … and {more} more"
    if not place.servers:
        yield "- **none has a mirror yet**"
    yield ""
    yield from _block(
        " ".join(map(_quoted, ("rollout-console", "mirror", "--list", place.location)))
    )


def _route(
    place: Place, file: RolloutFile, route: Route, plan: PlanState, state: "PhaseState | None"
) -> Iterator[str]:
    one = plan.route(route.name)
    latch = " — **rolled back**" if file.is_latched(route.name) else ""
    yield f"## Route {escaped(route.name)}{latch}"
    yield ""
    yield f"- Owner: {_free(one.owner) or '**nobody is named**'}"
    yield f"- Contacts: {_listed(one.contacts or plan.contacts)}"
    yield f"- Format: {kind_of(route.format).title} (`{route.format}`)"
    yield f"- Model: {code(route.model or 'none')}"
    yield f"- Previous side: {_url(route.previous_base_url or 'none')}"
    yield f"- Phase: {route.phase}"
    yield ""
    yield "| org | percent | |"
    yield "|---|---:|---|"
    for org, share in list(route.orgs.items())[:_MOST_ORGS]:
        latch = "rolled back" if share.rolled_back else ""
        yield f"| {escaped(org)} | {percent_text(route.org_points(org))} | {latch} |"
    if len(route.orgs) > _MOST_ORGS:
        yield f"| … and {len(route.orgs) - _MOST_ORGS} more | | |"
    yield f"| {DEFAULT_SHARE} | {percent_text(route.default_points)} | |"
    yield ""
    yield "Back to the previous side, the route or one org of it:"
    yield ""
    # Argument parsers drop a name that is "--": such a command would apply to more than it says.
    plain = [(route.name,)] if route.name != "--" else []
    targets = plain + [(route.name, org) for org in list(route.orgs)[:3] if plain and org != "--"]
    yield from _block(*(_command(place, "rollback", *_WHY, names=names) for names in targets))
    yield ""
    yield "And to TokenLab again, when it is right:"
    yield ""
    ways = ("probe", "resume")
    yield from _block(*(_command(place, way, names=names) for way in ways for names in plain))
    yield ""
    if state is not None and state.states:
        yield f"Before {route.phase} ends:"
        yield ""
        for check in state.states:
            mark = "x" if check.done else " "
            yield f"- [{mark}] {check.check.words} ({_free(check.why)})"
        yield ""


_LAST = (
    "## What a status means",
    "",
    "| status | what it is | first thing to do |",
    "|---|---|---|",
    "| 401, 403 | the key is wrong, ended, or may not use the model | "
    "`rollout-console keys doctor`, then roll back: it does not get better by itself |",
    "| 402 | balance or the key's own limit is used up | recharge or raise the limit; "
    "roll back until then |",
    "| 429 | too many requests a minute | wait as long as Retry-After says; lower the percent |",
    "| 400, 404, 413 | the request itself | look at the model and the format; it fails again |",
    "| 5xx, timeout | the gateway or what is behind it | roll back, then ask TokenLab |",
    "",
    "A media create is never sent again after a timeout: look for its task first.",
    "",
    "## What to send to TokenLab's support",
    "",
    "For each failing request, from the access log: time, endpoint, model, status, `request_id`, "
    "and where there are any `billing_transaction_id`, `task_id` and the poll URL; how many "
    "requests of how many failed, and since when.",
    "",
    "Never: API keys or management tokens, Authorization headers, prompts, answers, media, signed "
    "URLs, or anything about your customers.",
)


def _command(place: Place, *words: str, names: Sequence[str] = ()) -> str:
    """Build a shell command; names go after ``--``, so that a leading dash makes no option."""
    given = ["rollout-console", *words, "--file", place.location]
    return " ".join(map(_quoted, [*given, "--", *names] if names else given))


def _quoted(word: str) -> str:
    """Quote a shell word; with invisible characters as ANSI-C ``$'...'`` (bash, zsh and ksh)."""
    if visible(word) == word:
        return shlex.quote(word)
    pieces = (
        "\\" + sign if sign in "\\'" else sign if visible(sign) == sign
        else "".join(f"\\{byte:03o}" for byte in sign.encode("utf-8", "surrogateescape"))
        for sign in word
    )  # fmt: skip
    return f"$'{''.join(pieces)}'"


def _block(*commands: str) -> Iterator[str]:
    """Yield a fenced code block, its fence longer than any run of backticks in the commands."""
    fence = "`" * max(3, ticks("".join(commands)) + 1)
    yield f"{fence}sh"
    yield from commands
    yield fence


def _url(url: str) -> str:
    """Format a URL as a code span; one with user info or a query may hold a credential."""
    return "one that holds a credential" if "@" in url or "?" in url else code(url)


def _listed(contacts: Sequence[str]) -> str:
    return ", ".join(map(_free, contacts)) or "**none are named**"


def _free(text: str) -> str:
    """Redact and escape free text."""
    return escaped(redacted(text))
