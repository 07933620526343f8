"""The lines at the top of the money screen: bill, burn, runways, and how old all of it is."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rollout_console.budgets.standing import Standing, count_age, usd
from rollout_console.common.durations import seconds_text
from rollout_console.common.listing import counted
from rollout_console.cost.burn import DAY_S, Burn, Runway
from rollout_console.cost.worker_protocol import Loaded, Money, Preview, Pulling, Waiting
from rollout_console.reconcile.store import KnownKey
from rollout_console.ui.screens.money.columns import dollars, price_text
from rollout_console.ui.text import shown

Pieces = list[tuple[str, str]]

QUIET = "$foreground 70%"
_LABEL = 9
_SOON_S = 3 * 86_400.0
_MOST_KEYS = 3
_MOST_BUDGETS = 3
_BAR = 20


def head_lines(loaded: Loaded, money: Money | None, balance: Runway | None) -> list[Pieces]:
    """Return the lines of a load: bill, burn, runways.

    ``balance`` is its runway at the load's burn, None where the balance is not known.
    """
    return [_bill(loaded), _burn(loaded.burn), _runways(loaded.keys, money, balance)]


def preview_lines(preview: Preview, balance: Runway | None) -> list[Pieces]:
    """Return the same lines where the records are known, and not yet what they belong to."""
    bill = [
        _label("bill"),
        (dollars(preview.cost), "bold"),
        ("  being matched with the log", QUIET),
    ]
    return [bill, _burn(preview.burn), _runways(preview.keys, None, balance)]


def budget_lines(standings: Sequence[Standing], now: float) -> list[Pieces]:
    """Return one line of the budgets, the most spent first; none where the file has none.

    It begins with how old the count is, which is not that of the bill above.
    """
    if not standings:
        return []
    pieces: Pieces = [_label("budgets")]
    if standings[0].until:
        pieces.append((f"{count_age(standings[0].until, now)}: ", QUIET))
    worst = sorted(standings, key=lambda one: (not one.is_known, -one.percent))
    for one in worst[:_MOST_BUDGETS]:
        style = "$error bold" if one.is_over else "$warning bold" if one.is_near else "bold"
        used = (f"{one.percent:,}%", style) if one.is_known else ("not counted", QUIET)
        limit = f" of {usd(one.budget.limit_usd)} for {one.period.words}"
        pieces += [(f"{shown(one.budget.name)} ", ""), used, (limit, QUIET), ("   ", "")]
    if len(worst) > _MOST_BUDGETS:
        more = counted(len(worst) - _MOST_BUDGETS, "more", "more")
        pieces.append((f"and {more}: rollout-console budgets", QUIET))
    return [pieces]


def _label(text: str) -> tuple[str, str]:
    return f" {text:<{_LABEL - 1}}", QUIET


def _bill(loaded: Loaded) -> Pieces:
    one = loaded.bill
    refunds = f", {counted(one.refunds, 'refund')}" if one.refunds else ""
    rates = f"{price_text(one.per_thousand)} per 1,000  {price_text(one.per_million)} per 1M tokens"
    pieces = [_label("bill"), (dollars(one.cost), "bold"), (f"  {rates}", "")]
    return [
        *pieces,
        (f"  {counted(one.requests, 'request')}{refunds}, {one.tokens:,} tokens", QUIET),
    ]


def _burn(burn: Burn) -> Pieces:
    of = "24 h" if burn.span_s >= DAY_S else seconds_text(burn.span_s)
    pieces = [_label("burn"), (dollars(burn.cost), "bold"),
              (f" in the {of} up to {clock(burn.until)}", "")]  # fmt: skip
    before = burn.before_a_day
    if before is None or burn.before_days is None:
        return [*pieces, ("; nothing known before", QUIET)]
    if burn.change is not None:
        pieces.append((f"  {burn.change:+.1f}%", "$warning" if burn.change > 10 else ""))
    span = seconds_text(float(burn.before_days) * 86_400)
    return [*pieces, (f"  {price_text(before)} a day in the {span} before", QUIET)]


def _runways(keys: Sequence[KnownKey], money: Money | None, balance: Runway | None) -> Pieces:
    """Return how long balance and limits last; the shortest of the keys come first."""
    pieces: Pieces = [_label("lasts")]
    if balance is not None:
        pieces += [("balance ", ""), (dollars(balance.left), "bold"), _lasts(balance)]
        pieces.append((" at this burn" if balance.seconds else "", QUIET))
    elif money is not None:
        words = money.problem or "the balance is not known without a management token"
        pieces.append((shown(words), QUIET))
    else:
        pieces.append(("balance not asked for yet", QUIET))
    names = {key.id: key.name or key.id for key in keys}
    limits = () if money is None else money.limits
    for one in limits[:_MOST_KEYS]:
        limit = "" if one.limit is None else f" of {dollars(one.limit)}"
        name = shown(names.get(one.key, one.key))
        pieces += [(f"  key {name} ", ""), (f"{dollars(one.left)}{limit}", ""), _lasts(one)]
    if len(limits) > _MOST_KEYS:
        pieces.append((f"  and {counted(len(limits) - _MOST_KEYS, 'key')} with a limit", QUIET))
    return pieces


def _lasts(one: Runway) -> tuple[str, str]:
    if one.seconds is None:
        return ": nothing is spent", QUIET
    if one.seconds == 0:
        return ": nothing is left", "$error bold"
    return f": {seconds_text(one.seconds)}", "$warning bold" if one.seconds < _SOON_S else ""


def age_pieces(loaded: Loaded | None, now: float) -> Pieces:
    """Return how old what was pulled is; nothing where nothing was."""
    if loaded is None or loaded.horizon is None:
        return []
    age = max(now - loaded.horizon, 0.0)
    words = f"{age:.0f} s" if age < 10 else seconds_text(age)
    return [(f"  pulled {words} ago", "$warning" if age > 86_400 else "")]


def progress_pieces(told: Pulling | Waiting | None, key: str, since_s: float) -> Pieces:
    """Return how a pull goes, as a bar; ``key`` stops it, and it has taken ``since_s`` so far."""
    stops = (f"   {key} stops", QUIET)
    if told is None:
        return [(f" pulling …{_for(since_s)}", "$accent"), stops]
    if isinstance(told, Waiting):
        return [(f" {told.words}{_for(since_s)}", "$warning"), stops]
    part = min(max(told.part, 0.0), 1.0)
    full = int(part * _BAR)
    words = f" {100 * part:3.0f}%  {counted(told.records, 'record')}"
    of = f"  key {told.key} of {told.keys} {shown(told.name)}" if told.keys > 1 else ""
    if part >= 1:
        words += ", now matched"
    return [
        (" " + "█" * full, "$accent"), ("░" * (_BAR - full), "$foreground 40%"),
        (words, ""), stops, (f"{of}  {counted(told.requests, 'call')}", QUIET),
    ]  # fmt: skip


def _for(seconds: float) -> str:
    return f" {seconds:.0f} s" if seconds >= 2 else ""


def clock(at: float) -> str:
    """Return a time in UTC, to the minute; without its date where that is today's."""
    time, today = datetime.fromtimestamp(at, UTC), datetime.now(UTC).date()
    return f"{time:%H:%M}Z" if time.date() == today else f"{time:%Y-%m-%d %H:%M}Z"


def text_of(pieces: Sequence[tuple[str, str]]) -> str:
    """Return the text of pieces."""
    return "".join(text for text, _ in pieces)
