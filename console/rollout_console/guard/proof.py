"""The proof of a rollback: what is seen of requests since then."""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from rollout_console.changes.spread import Spread
from rollout_console.common.listing import counted

QUIET_S = 5.0
"""The least seconds without a TokenLab request after which a rolled back org counts as drained. It
takes as long as its slowest request: a line is written at the end of one, so that those in flight
are not seen."""
SLOWEST_OF_S = 300.0
"""Of how many seconds before a rollback the slowest request counts."""
_LONGEST_S = 3_600.0
"""After so many seconds of quiet no request is taken to be in flight."""


class Proof(msgspec.Struct, frozen=True):
    """What the log shows of a rollback; ``drained`` is never set without traffic as evidence."""

    drained: bool
    text: str
    limits: str = ""
    """Whose log it is by, where that is not all servers'."""


def proof_of(
    last: float | None, other: float | None, since: float, now: float, seen_until: float,
    slowest_s: Callable[[], float] = lambda: 0.0,
) -> Proof:  # fmt: skip
    """Return what is seen since a rollback at ``since`` (epoch seconds).

    ``last`` and ``other`` are the times of the newest request to TokenLab and to the previous side,
    None where there was none; ``seen_until`` is until when requests would have been seen.
    ``slowest_s`` returns how long the slowest request to TokenLab took, in seconds.
    """
    if last is None and other is None:
        return Proof(False, "no request seen yet")
    quiet = seen_until - max(last or 0.0, since)
    age = "no TokenLab request" if last is None else f"last TokenLab request {_ago(now - last)}"
    took = max((last or 0.0) - since, 0.0)
    goes_on = other is not None and other > since
    is_quiet = QUIET_S <= quiet < _LONGEST_S
    if goes_on and is_quiet and quiet < (longest := slowest_s()):
        return Proof(False, f"draining · {age}; slowest {longest:.0f} s")
    if last is None or last < since - QUIET_S:  # no traffic to drain before the rollback
        return Proof(goes_on and quiet >= QUIET_S, f"was quiet before · {age}")
    if quiet >= QUIET_S and goes_on:
        return Proof(True, f"drained in {took:.0f} s · {age}")
    if quiet >= QUIET_S:
        return Proof(False, f"{age} · no request to previous either yet")
    return Proof(False, f"draining · {age}")


def not_given(proof: Proof, why: str) -> Proof:
    """Return a proof that is not given: the reason why, and what is seen without its claim."""
    seen = proof.text.rpartition(" · ")[2] if proof.drained else proof.text
    return Proof(drained=False, text=f"{why} · {seen}")


def on_servers(proof: Proof, spread: Spread, logged: int | None) -> Proof:
    """Return a proof as far as it holds for all servers that share the file.

    ``logged`` is how many hosts have lines in the log, None where the figures are of all servers.
    """
    if spread.missing:
        return not_given(proof, f"not in force on {spread.missing}")
    servers = len(spread.mirrors)
    if logged is None or logged >= servers:
        return proof
    whose = f"by the log of {logged} of {counted(servers, 'server')}"
    return replace(proof, limits=whose)


def _ago(seconds: float) -> str:
    seconds = max(seconds, 0.0)  # the clock may be set back
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} m ago"
