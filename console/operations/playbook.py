"""The support playbook: what somebody who was woken needs, in Markdown, without any secret."""

import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from console.gate.secret import redacted
from console.operations.visible import visible
from console.rollout.model import RolloutFile, Route
from console.rollout.percent import percent_text
from console.rollout.revision import SHORT, revision_of
from console.rollout.routemap import kind_of
from console.store.errors import NotReadable
from console.store.plan_file import PlanState
from console.store.swap import ABSENT, swap

if TYPE_CHECKING:
    from console.operations.phases import PhaseState

_REVISION = re.compile(r"^<!-- revision ([0-9a-f]{64}) -->$", re.MULTILINE)
_MOST_ORGS = 200


def playbook_path(rollout_file: Path) -> Path:
    """Return where the playbook of a rollout file is kept."""
    return rollout_file.with_name(f"{rollout_file.stem}.playbook.md")


def playbook_revision(path: Path) -> str:
    """Return the revision that a written playbook is of, empty where there is none."""
    try:
        found = _REVISION.search(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found.group(1) if found else ""


def put_playbook(path: Path, text: str) -> None:
    """Write a playbook whole, in place of an earlier one; raises StoreError."""
    try:
        before = revision_of(path.read_bytes())
    except FileNotFoundError:
        before = ABSENT
    except OSError as error:
        raise NotReadable(f"{path} cannot be read: {error.strerror}") from None
    swap(path, before, text.encode("utf-8"))


def playbook(
    path: Path, file: RolloutFile, plan: PlanState, states: Sequence["PhaseState"], now: datetime
) -> str:
    """Return the playbook of a rollout file as it is now."""
    lines = [*_head(path, file, plan, now)]
    by_route = {state.route: state for state in states}
    for route in file.routes.values():
        lines += _route(path, file, route, plan, by_route.get(route.name))
    lines += _LAST
    return redacted("\n".join(lines) + "\n")


def _head(path: Path, file: RolloutFile, plan: PlanState, now: datetime) -> Iterator[str]:
    everything = _command(path, "rollback", "--yes", "--reason", "why")
    yield f"# Support playbook of {_md(path.name)}"
    yield ""
    yield f"<!-- revision {file.revision} -->"
    yield f"Written {now:%Y-%m-%d %H:%M} UTC from revision `{file.revision[:SHORT]}`."
    yield f"TokenLab: `{_md(file.base_url)}`, profile `{_md(file.profile)}`."
    yield ""
    if file.rolled_back:
        yield "**Everything is rolled back now.**"
        yield ""
    yield "## Everything back, now"
    yield ""
    yield "```sh"
    yield everything
    yield "```"
    yield ""
    place = _md(str(path.resolve()))
    yield (
        f"Without the console: set `rolled_back = true` at the top of `{place}`. "
        "Applications read it within a second; nothing else is needed, no network either. "
        "It stays so until somebody resumes it; the percents are kept."
    )
    yield ""
    yield "What it is now, and the proof that nothing goes to TokenLab any more:"
    yield ""
    yield "```sh"
    yield _command(path, "show")
    yield _command(path)
    yield "```"
    yield ""
    yield f"Contacts: {_listed(plan.contacts)}"
    yield ""


def _route(
    path: Path, file: RolloutFile, route: Route, plan: PlanState, state: "PhaseState | None"
) -> Iterator[str]:
    one = plan.route(route.name)
    latch = " — **rolled back**" if file.rolled_back or route.rolled_back else ""
    yield f"## Route {_md(route.name)}{latch}"
    yield ""
    yield f"- Owner: {_md(one.owner) or '**nobody is named**'}"
    yield f"- Contacts: {_listed(one.contacts or plan.contacts)}"
    yield f"- Format: {kind_of(route.format).title} (`{route.format}`)"
    yield f"- Model: `{_md(route.model) or 'none'}`"
    yield f"- Previous side: `{_md(route.previous_base_url) or 'none'}`"
    yield f"- Phase: {route.phase}"
    yield ""
    yield "| org | percent | |"
    yield "|---|---:|---|"
    for org, share in list(route.orgs.items())[:_MOST_ORGS]:
        latch = "rolled back" if share.rolled_back else ""
        yield f"| {_md(org)} | {percent_text(route.org_points(org))} | {latch} |"
    if len(route.orgs) > _MOST_ORGS:
        yield f"| … and {len(route.orgs) - _MOST_ORGS} more | | |"
    yield f"| (others) | {percent_text(route.default_points)} | |"
    yield ""
    yield "Back to the previous side, the route or one org of it:"
    yield ""
    yield "```sh"
    yield _command(path, "rollback", route.name, "--yes", "--reason", "why")
    for org in list(route.orgs)[:3]:
        yield _command(path, "rollback", route.name, org, "--yes", "--reason", "why")
    yield "```"
    yield ""
    yield "And to TokenLab again, when it is right:"
    yield ""
    yield "```sh"
    yield _command(path, "probe", route.name)
    yield _command(path, "resume", route.name)
    yield "```"
    yield ""
    if state is not None and state.states:
        yield f"Before {route.phase} ends:"
        yield ""
        for check in state.states:
            mark = "x" if check.done else " "
            yield f"- [{mark}] {check.check.words} ({_md(check.why)})"
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


def _command(path: Path, *words: str) -> str:
    return shlex.join(["rollout-console", *words, "--file", str(path.resolve())])


def _listed(contacts: Sequence[str]) -> str:
    return ", ".join(_md(one) for one in contacts) or "**none are named**"


def _md(text: str) -> str:
    """Text from outside stays text: no markup of its own, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", visible(text)) if "`" in text else re.sub(
        r"([<>|])", r"\\\1", visible(text)
    )  # fmt: skip
