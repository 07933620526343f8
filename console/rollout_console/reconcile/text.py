"""A reconciliation as a short text: the piles, who and what they are of, and what to do."""

from collections.abc import Iterator
from datetime import UTC, datetime

from rollout_console.common.safe_text import visible
from rollout_console.reconcile.money import plain
from rollout_console.reconcile.piles import Figures, Group, Name, Pile, Row
from rollout_console.reconcile.reconciliation import Outcome
from rollout_gate.secret import redacted

TITLES: dict[Name, str] = {
    "matched": "matched",
    "billed-only": "billed, not logged",
    "logged-only": "logged, not billed",
    "settling": "settling",
    "no-id": "without an id",
}
ADVICE = {
    "not in the log": (
        "billed, not logged, not in the log: who used the key? Look for applications without the"
        " gate, and for hosts whose log is not read here; revoke a key that nobody claims"
    ),
    "charged again": (
        "billed, not logged, charged again: one request has two transactions; send both ids to"
        " TokenLab's support"
    ),
    "no id": (
        "billed, not logged, no id: records without any id cannot be matched; compare the models"
        " above, and ask TokenLab's support for the ids"
    ),
    "before the log": (
        "billed, not logged, before the log: the log does not go back so far; begin later"
        " (--since), or put the rotated files back"
    ),
    "failed": "failed requests were charged: send their ids to TokenLab's support",
    "billing id unknown": (
        "logged, not billed: their billing transaction id is in no usage record. Read all again"
        " with reconcile --reread; what stays is not charged, or of another organisation's key"
    ),
    "request id unknown": (
        "logged, not billed: no usage record has their request id. A failed settlement, or a key"
        " of another organisation (see keys doctor)"
    ),
    "no-id": (
        "without an id: let what is between the application and TokenLab pass the headers"
        " X-Request-ID and X-Billing-Transaction-ID"
    ),
    "settling": "settling: nothing yet; reconcile again later",
}
"""What to do about rows by their reason, and about the piles whose rows have none."""
_MOST_GROUPS = 8
_MOST_GAPS = 10


def as_text(outcome: Outcome) -> Iterator[str]:
    """Yield the lines of the text."""
    piles = outcome.piles
    since, until = (_time(at) for at in (outcome.asked.since, outcome.asked.until))
    yield f"{since} to {until}  profile {outcome.profile} at {outcome.base_url}"
    gone = sum(not key.listed for key in outcome.keys)
    revoked = sum(key.listed and key.status == "revoked" for key in outcome.keys)
    kinds = [f"{revoked} revoked"] * bool(revoked) + [f"{gone} no longer listed"] * bool(gone)
    keys = _many(len(outcome.keys), "key") + (f" ({', '.join(kinds)})" if kinds else "")
    yield f"{keys}, {_many(outcome.pulled, 'record')} pulled, read up to {_time(outcome.horizon)}"
    log = piles.log
    yield (
        f"{_many(piles.records.records, 'record')} of ${plain(piles.records.cost)} billed;"
        f" {_many(log.lines, 'line')} logged on TokenLab, {log.uncharged:,} of them not charged"
    )
    yield ""
    for name, title in TITLES.items():
        yield f"{title:<20}{_sums(piles.piles[name].all, name)}"
        yield from _details(name, piles.piles[name])
    if piles.edge_lines:
        yield f"{'':<20}{_many(piles.edge_lines, 'line')} with a record before or after the period"
    if piles.of_some_lines:
        yield (
            f"{'of other routes':<20}{_many(piles.elsewhere.records, 'record')} of"
            f" ${plain(piles.elsewhere.cost)}, or not logged: a record has no route and no org"
        )
    if piles.of_one_key:
        yield f"{'':<20}lines without a record are not shown: the log has no API key"
    yield from _groups(outcome)
    yield from _gaps(outcome)
    yield from _without_ids(outcome)
    yield from _to_do(outcome)


def row_text(row: Row, outcome: Outcome) -> str:
    """Return a row as one line."""
    at = row.at if row.at is not None else row.line_at
    parts = (
        datetime.fromtimestamp((at or 0) / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
        "-" if row.cost is None else f"${plain(row.cost)}",
        _said(row.route) or "-",
        _said(row.org) or "-",
        _said(row.model) or "-",
        _said(outcome.key_name(row.key_id)) or "-",
        _said(row.request_id) or "-",
        _said(row.billing_id) or "-",
        row.reason or row.matched_by,
    )
    return f"{row.pile:<12}" + "  ".join(parts).rstrip()


def _details(name: Name, pile: Pile) -> Iterator[str]:
    how = [f"{count:,} by {what.replace('_', ' ')}" for what, count in pile.how.most_common()]
    if how:
        yield f"{'':<20}{', '.join(how)}"
    if name in ("matched", "billed-only"):
        for reason, one in sorted(pile.special.items()):
            yield f"{'':<20}{reason}: {_sums(one, name)}"


def _groups(outcome: Outcome) -> Iterator[str]:
    """Yield whom and what the matched cost is of."""
    matched = outcome.piles.piles["matched"]
    for place, title in ((0, "route"), (1, "org"), (2, "model")):
        found = list(matched.by(place).items())
        if not found:
            continue
        yield ""
        yield f"matched by {title}"
        for name, one in found[:_MOST_GROUPS]:
            yield f"  {_said(name) or '(none)':<28} {one.records:>9,}  ${plain(one.cost)}"
        if len(found) > _MOST_GROUPS:
            rest = [one for _, one in found[_MOST_GROUPS:]]
            yield f"  and {len(rest):,} more: see --json"


def _gaps(outcome: Outcome) -> Iterator[str]:
    found: list[tuple[Group, Figures, Name]] = [
        (group, one, name)
        for name in ("billed-only", "logged-only")
        for group, one in outcome.piles.piles[name].groups.items()
    ]
    if not found:
        return
    found.sort(key=lambda gap: (-gap[1].cost, -gap[1].lines, gap[0]))
    yield ""
    yield "largest gaps"
    for (route, org, model, key_id), one, name in found[:_MOST_GAPS]:
        place = f"key {outcome.key_name(key_id)}" if name == "billed-only" else f"{route} / {org}"
        yield f"  {TITLES[name]:<20}{_sums(one, name)}  {_said(place)}  {_said(model)}"
    if len(found) > _MOST_GAPS:
        yield f"  and {len(found) - _MOST_GAPS:,} more: see --pile billed-only, --pile logged-only"


def _without_ids(outcome: Outcome) -> Iterator[str]:
    found = outcome.piles.without_ids()
    if not found:
        return
    yield ""
    yield "lines without an id, and records without a line, by model"
    for model, (lines, records) in found.items():
        yield (
            f"  {_said(model) or '(none)':<28} {_many(lines.lines, 'line')},"
            f" {_many(records.records, 'record')} of ${plain(records.cost)}"
        )


def _to_do(outcome: Outcome) -> Iterator[str]:
    piles = outcome.piles.piles
    reasons = [
        reason
        for name in ("billed-only", "logged-only", "matched")
        for reason in piles[name].special
    ]
    advice = [ADVICE[reason] for reason in dict.fromkeys(reasons) if reason in ADVICE]
    if piles["no-id"].all.lines:
        advice.append(ADVICE["no-id"])
    if piles["settling"].all.lines or piles["settling"].all.records:
        advice.append(ADVICE["settling"])
    if advice:
        yield ""
        yield "what to do"
        for words in advice:
            yield f"  {words}"


def _sums(one: Figures, name: Name) -> str:
    parts = []
    if one.records or name in ("matched", "billed-only"):
        parts.append(f"{_many(one.records, 'record')}, ${plain(one.cost)}")
    if one.lines or name in ("logged-only", "no-id"):
        tokens = f" ({one.tokens_in + one.tokens_out:,} tokens)" if one.lines else ""
        parts.append(f"{_many(one.lines, 'line')}{tokens}")
    return "; ".join(parts) or "nothing"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _said(text: str) -> str:
    return redacted(visible(text))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
