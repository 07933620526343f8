"""The status line: who, where, guard, balance, age of the data, read-only or not."""

import msgspec

from rollout_console.changes.spread import Spread
from rollout_console.common.durations import seconds_text
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.guard.balance import OLD_AFTER_S, BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.keymap import Key
from rollout_console.ui.session import ETCD_AWAY
from rollout_gate.file.model import RolloutFile

CHANGES_NOTHING = "nothing is changed; start without --read-only to change"
_SPREAD_FOR_S = 30.0
_IN_BROWSER = (
    "read-only in a browser: nothing is changed, written or paid for from here, only in a terminal"
)


class FileAccess(msgspec.Struct):
    """Why the rollout file cannot be replaced, as of the last look; empty where it can be."""

    trouble: str = ""


class StatusFacts(msgspec.Struct, frozen=True):
    """Facts that are constant while the console runs, and of the file whether it can be written."""

    user: str
    host: str
    read_only: bool
    demo: bool = False
    keymap: dict[str, str] = msgspec.field(default_factory=dict)
    troubles: tuple[str, ...] = ()
    proving_model: str = ""
    """The model that an API key is verified with: one that the rollout file sends traffic to."""
    in_browser: bool = False
    file_access: FileAccess = msgspec.field(default_factory=FileAccess)

    @property
    def writes(self) -> tuple[str, str]:
        """Whether changes can be written, as a piece of a status line."""
        if self.read_only:
            return "  read-only", "$warning bold"
        return ("  cannot write", "$warning bold") if self.file_access.trouble else ("  rw", "")

    def why_read_only(self, key: Key, otherwise: str) -> str:
        """Return why a key is disabled by read-only mode or in a browser; empty where it is not.

        ``otherwise`` follows "read-only: " in a terminal.
        """
        if self.in_browser and (key.changes or key.at_terminal):
            return _IN_BROWSER
        return f"read-only: {otherwise}" if self.read_only and key.changes else ""


def status_pieces(
    facts: StatusFacts,
    monitor: Monitor,
    balance: BalanceWatch,
    keys_warn: bool,
    guard_acts: bool,
    file_trouble: str,
    width: int,
    now: float,
    spread: Spread | None = None,
) -> list[tuple[str, str]]:
    """Return the line's pieces, the most important first: a narrow terminal truncates the rest.

    ``file_trouble`` is in two words what the rollout file is, such as ``FILE BROKEN``.
    """
    file = monitor.file
    pieces = [(" rollout", "bold"), (" ▸ ", "$accent"), (visible(file.profile), "bold")]
    latch = [("  ↩ ALL ROLLED BACK", "$error bold")] if file.rolled_back else []
    if file_trouble:
        latch.insert(0, (f"  ! {file_trouble}", "$error bold"))
    if width < 60:
        pieces = [*latch, *pieces]  # it must not be truncated
    pieces.append(facts.writes)
    if facts.demo:
        pieces.append(("  DEMO", "$accent bold"))
    if width >= 60:
        pieces += latch
    if keys_warn:
        pieces.append(("  ! keys", "$warning bold"))
    if spread is not None:
        words, style = _servers(spread)
        pieces.append((words, "$foreground 60%" if file_trouble == ETCD_AWAY else style))
    pieces.append(data_age(monitor, now))
    pieces += [("  guard: ", ""), *_guard(file, guard_acts)]
    pieces += _balance(balance, now)
    if width >= 80:
        pieces.append((f"  {visible(facts.user)}@{visible(facts.host)}", "$foreground 70%"))
    if width >= 110:
        pieces.append((f"  {visible(file.base_url)}", "$foreground 70%"))
    return pieces


def _servers(spread: Spread) -> tuple[str, str]:
    """Return how many servers have the version of now, while it comes and a while after its time.

    Tenths of a second are those of the last server, which stand still.
    """
    if not spread.mirrors:
        return "  no servers", "$warning"
    has = f"  {spread.applied}/{counted(len(spread.mirrors), 'server')}"
    if spread.lagging:
        return f"{has} {spread.age_s:.0f} s", "$warning bold"
    if spread.gone:
        return has, "$warning bold"
    if spread.watched and spread.done_at is not None and spread.age_s < _SPREAD_FOR_S:
        return f"{has} in {spread.done_at - spread.since:.1f} s", "$success"
    return has, ""


def _guard(file: RolloutFile, acts: bool) -> list[tuple[str, str]]:
    mode = file.guard.mode
    enforces = [route for route in file.routes.values() if route.guard.mode == "enforce"]
    if enforces and not acts:
        return [(f"{mode}, no guard running", "$error bold")]
    return [(f"{mode} ●" if acts else mode, "bold")]


def data_age(monitor: Monitor, now: float) -> tuple[str, str]:
    """Return the age of the newest access-log record in words, and its style.

    Where most lines cannot be used, return how many those are instead.
    """
    if monitor.prometheus is not None:
        return _prometheus_age(monitor, now)
    if monitor.unusable_words(now) and monitor.mostly_unusable(now):
        return f"  {counted(monitor.unusable_lately(now), 'line')} unusable", "$error bold"
    age = monitor.age_s(now)
    if age is None:
        reads = monitor.behind or monitor.reads_older
        return ("  reading the log…" if reads else "  no data yet"), "$warning"
    if age > monitor.stale_after_s:
        return f"  stale {seconds_text(age)}", "$warning bold"
    # Whole seconds: tenths would differ, and be repainted, at every tick.
    return (f"  live {age:.0f} s" if age >= 1 else "  live"), "$success"


def _prometheus_age(monitor: Monitor, now: float) -> tuple[str, str]:
    """Return how old the newest answer of Prometheus is, in steps of five seconds: it is redrawn
    for each that differs."""
    age, trouble = monitor.age_s(now), monitor.no_figures(now)
    if age is None:
        return ("  no Prometheus", "$error bold") if trouble and not monitor.is_asking else (
            "  asking Prometheus…", "$warning",
        )  # fmt: skip
    words = f"{age // 5 * 5:.0f} s" if age < 120 else seconds_text(age)
    if trouble:
        return f"  Prometheus fails, {words}", "$error bold"
    if monitor.source_trouble(now):
        return f"  prom {words}, not all seen", "$warning bold"
    return f"  prom {words}", "$success"


def _balance(balance: BalanceWatch, now: float) -> list[tuple[str, str]]:
    latest, trouble = balance.latest, balance.trouble
    if balance.lacks_credential:
        return [("  no token: 2", "$foreground 70%")]
    if latest is None:
        return [("  balance –", "$warning" if trouble else "$foreground 60%")]
    at, answer = latest
    runway = balance.runway_s()
    left = f" · {seconds_text(runway)} left" if runway is not None else ""
    if trouble or now - at > OLD_AFTER_S:
        return [(f"  ${answer.balance:,.2f} {seconds_text(now - at)} old", "$warning")]
    return [(f"  ${answer.balance:,.2f}{left}", "")]
