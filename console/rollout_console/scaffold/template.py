"""The text of a first rollout file: every line commented, and read back before it is returned."""

from collections.abc import Iterator

from rollout_console.changes.toml_edit.line import clean_stamp, key_text, quoted
from rollout_console.scaffold.draft import Draft, RouteDraft
from rollout_console.scaffold.errors import ScaffoldError
from rollout_gate.bucketing import ALGORITHM
from rollout_gate.file.errors import FileError
from rollout_gate.file.formats import kind_of
from rollout_gate.file.model import PHASES, GuardSettings, RampSettings, RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.file.percent import percent_text

_COLUMN = 31
"""Where comments begin, if the value is not longer."""


def rollout_text(draft: Draft) -> str:
    """Return the text of the file, verified with the gate's own parser.

    Raises ScaffoldError where the parser would not read exactly the draft from it.
    """
    if not draft.routes:
        raise ScaffoldError("there is no route to write; a rollout file needs one")
    text = "\n".join(_lines(draft)) + "\n"
    try:
        file = parse(text.encode("utf-8"))
    except (FileError, UnicodeEncodeError) as error:
        raise ScaffoldError(f"nothing was written, the file would not be valid: {error}") from None
    if file.warnings:
        raise ScaffoldError(f"nothing was written, the file would warn: {file.warnings[0]}")
    if _said(file) != _meant(draft):
        raise ScaffoldError("nothing was written, the file would not say what was meant")
    return text


def _lines(draft: Draft) -> Iterator[str]:
    guard, ramp = GuardSettings(), RampSettings()
    steps = ", ".join(percent_text(points) for points in ramp.steps)
    yield from (
        "# The rollout file: how much of each org's traffic goes to TokenLab; the rest goes where",
        "# it went before. Applications read it, and a change is in force within a second. Every",
        "# org begins at 0%. Change it with rollout-console, which records each change and can",
        "# undo it, or by hand: your comments are kept. It holds no credential: keep it in git.",
        _line("schema = 1", "the version of this format"),
        _line(f"algorithm = {quoted(ALGORITHM)}", "pins who is in a share; never change it during"
              " a rollout"),
        _line("rolled_back = false", "true: everything to the previous providers, whatever stands"
              " below"),
        "",
        "[tokenlab]",
        f"base_url = {quoted(draft.base_url)}",
        _line(f"profile = {quoted(draft.profile)}", "names the credentials: rollout-console keys"),
        "",
        "[health]",
        _line(f"access_log = {quoted(draft.access_log)}", "where the gate logs each request;"
              " relative to this file"),
        _line('# prometheus = "https://prometheus.example:9090"', "figures from there, in place of"
              " the log"),
        "",
        _line("[guard]", "watches the log; a route may have limits of its own"),
        _line(f'mode = "{guard.mode}"', '"observe" tells, "hold" also stops raises, "enforce" also'
              " rolls back"),
        _line(f'window = "{guard.window_s // 60}m"', "how far back the figures look"),
        _line(f"max_5xx_percent = {guard.max_5xx_percent}", "errors of the gateway, in percent of"
              " requests"),
        _line(f"max_4xx_percent = {guard.max_4xx_percent}", "refused requests, 429 apart"),
        _line(f"max_429_percent = {guard.max_429_percent}", "rate limits"),
        _line(f"max_bad_percent = {guard.max_bad_percent}", "cut or empty answers, whatever their"
              " status"),
        _line(f"max_p95_ms = {guard.max_p95_ms}", "19 of 20 answers are complete within this time"),
        _line(f"max_ttft_p95_ms = {guard.max_ttft_p95_ms}", "of streams, to the first token"),
        _line(f"min_balance_usd = {guard.min_balance_usd:.1f}", "below it nothing is raised"),
        "",
        _line("[ramp]", "what one press of + raises an org to"),
        _line(f"steps = [{steps}]", "percents"),
        _line(f'bake = "{ramp.bake_s // 60}m"', "how long a step must stay healthy"
              " before the next"),
    )  # fmt: skip
    for route in draft.routes:
        yield from _route_lines(route)


def _route_lines(route: RouteDraft) -> Iterator[str]:
    table = f"routes.{key_text(route.name)}"
    yield ""
    yield _line(f"[{table}]", kind_of(route.format).title)
    yield f"format = {quoted(route.format)}"
    if route.model:
        yield _line(f"model = {quoted(route.model)}", "what TokenLab is asked for; the previous"
                    " provider gets the request's own")  # fmt: skip
    else:
        why = clean_stamp(route.why_no_model) or "choose one with rollout-console models"
        yield _line('# model = "..."', why)
    yield _line(f'phase = "{PHASES[0]}"', f"{', '.join(PHASES)}: see rollout-console phase")
    if route.previous_base_url:
        yield _line(f"previous_base_url = {quoted(route.previous_base_url)}", "all the rest, and"
                    " everything after a rollback")  # fmt: skip
    else:
        why = clean_stamp(route.why_no_previous) or "where requests go today: a rollback needs it"
        yield _line('# previous_base_url = "..."', why)
    yield _line("default_percent = 0", "orgs without a line below")
    yield ""
    yield _line(f"[{table}.orgs]", "the percent of an org's requests that goes to TokenLab")
    if not route.orgs:
        yield "# acme = 0"
    for org in route.orgs:
        yield f"{key_text(org)} = 0"


def _line(value: str, comment: str) -> str:
    return f"{value:<{_COLUMN - 1}} # {comment}"


def _meant(draft: Draft) -> tuple[object, ...]:
    routes = [
        (r.name, r.format, r.model, r.previous_base_url, dict.fromkeys(r.orgs, 0))
        for r in draft.routes
    ]
    return draft.base_url, draft.profile, draft.access_log, routes, 0, False


def _said(file: RolloutFile) -> tuple[object, ...]:
    routes = [
        (r.name, r.format, r.model, r.previous_base_url, {org: r.org_points(org) for org in r.orgs})
        for r in file.routes.values()
    ]
    most = max(route.most_points for route in file.routes.values())
    return file.base_url, file.profile, file.access_log, routes, most, file.rolled_back
