"""The five phases of TokenLab's migration guide, and the exit criteria of each."""

from typing import Literal

import msgspec

from rollout_gate.file.model import PHASES


class ExitCheck(msgspec.Struct, frozen=True):
    """One exit criterion of a phase: checked by the console itself, or ticked by a person.

    ``media`` is which routes it applies to: ``also`` all, ``not`` only text, ``only`` only media.
    """

    id: str
    words: str
    by: Literal["console", "person"]
    fix: str
    media: Literal["also", "not", "only"] = "also"


EXIT_CHECKS: dict[str, tuple[ExitCheck, ...]] = {
    "inventory": (
        ExitCheck("inventory.named", "endpoint, model and previous side are named", "console",
                  "write model and previous_base_url in the rollout file"),
        ExitCheck("inventory.owner", "the route and its bill have an owner", "console",
                  "name the owner"),
        ExitCheck("inventory.streaming", "it is known who streams and what is asynchronous",
                  "person", "look at the callers, then tick it"),
        ExitCheck("inventory.public_fields", "no provider-only field is taken for public",
                  "person", "read what the callers read of answers, then tick it"),
    ),
    "pilot": (
        ExitCheck("pilot.checks", "every offline check holds", "console",
                  "see rollout-console check"),
        ExitCheck("pilot.shape", "a probe of this model was as it must be, in the last 7 days",
                  "console", "run rollout-console probe"),
        ExitCheck("pilot.logs", "TokenLab requests are in the access log, with their request ids",
                  "console", "let the pilot's traffic run, and look at what the app logs"),
        ExitCheck("pilot.cost", "usage records show the cost that was expected", "person",
                  "compare keys usage with the plan, then tick it"),
    ),
    "shadow": (
        ExitCheck("shadow.tally", "a sample was judged, and it is no worse", "console",
                  "run rollout-console shadow with prompts of your own", "not"),
        ExitCheck("shadow.latency", "the sample was about as fast as on the previous side",
                  "console", "run rollout-console shadow with prompts of your own", "not"),
        ExitCheck("shadow.looked_at", "finished media was looked at by a person", "person",
                  "look at what the pilot made, then tick it; media is never mirrored", "only"),
    ),
    "rollout": (
        ExitCheck("rollout.everyone", "every org is at 100%, and nothing is rolled back",
                  "console", "raise what is left"),
        ExitCheck("rollout.healthy", "the guard has nothing against the route", "console",
                  "see the verdict on the home screen"),
        ExitCheck("rollout.duplicates", "no job was made twice", "console",
                  "see jobs duplicates; give the route dedupe, or creates a job id", "only"),
        ExitCheck("rollout.balance", "balance and spending limits are monitored by a named person",
                  "person", "see that guard.min_balance_usd is right; tick it, noting who is told"),
    ),
    "cleanup": (
        ExitCheck("cleanup.stable", "nothing about the route has changed for 14 days",
                  "console", "wait"),
        ExitCheck("cleanup.drilled", "the way back was tried: a rollback is in the history",
                  "console", "roll back one org on a quiet day, and resume it"),
        ExitCheck("cleanup.playbook", "the support playbook is written, and it is of this file",
                  "console", "run rollout-console playbook"),
    ),
}  # fmt: skip
"""Exit criteria by phase, in the guide's order."""

STABLE_DAYS = 14
PROBE_DAYS = 7
LEAST_JUDGED = 20
"""The minimum sample size: a tally of fewer judged pairs proves nothing."""
MOST_WORSE = 0.2
"""The largest fraction (0 to 1) of a sample that may be worse than the previous side."""
MOST_SLOWER = 1.5
"""The largest ratio of a sample's median latency to the previous side's."""


def exit_checks(phase: str, *, media: bool) -> tuple[ExitCheck, ...]:
    """Return the exit criteria of a phase for a text or a media route."""
    unfit = "not" if media else "only"
    return tuple(check for check in EXIT_CHECKS[phase] if check.media != unfit)


def checks_between(now: str, wanted: str, *, media: bool) -> tuple[ExitCheck, ...]:
    """Return the exit criteria between one phase and another; none to go back."""
    start, end = PHASES.index(now), PHASES.index(wanted)
    return tuple(check for phase in PHASES[start:end] for check in exit_checks(phase, media=media))


def following(phase: str) -> str:
    """Return the phase after this one; for the last, the last."""
    return PHASES[min(PHASES.index(phase) + 1, len(PHASES) - 1)]
