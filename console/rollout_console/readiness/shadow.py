"""Shadow sample: the operator's own prompts are sent to both sides, and a person judges the pairs.

Prompts come from a file that the operator names, never from a log. Neither prompts nor answers are
stored, only how many were better, the same or worse, and the latency of both sides.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, Literal

import msgspec

from rollout_console.common.errors import OperationError
from rollout_console.common.listing import counted
from rollout_console.readiness.plan_file import Sample
from rollout_console.readiness.probes import Probes, Shot, most_cost, text_cost
from rollout_console.tokenlab.probe import Probe, probe
from rollout_gate.file.model import MEDIA_FORMATS, RolloutFile
from rollout_gate.untrusted import ANYTHING, UndecodableError, decode_json

SAMPLE = 20
MOST_TOKENS = 256
MOST_SILENT = 3
CEILING_USD = Decimal("1.00")
_MOST_BYTES = 32 * 1024 * 1024
_MOST_PROMPT = 200_000
_LOG_FIELDS = {
    "ts", "route", "org", "side", "status", "latency_ms", "ttft_ms", "endpoint", "job_id",
    "request_id", "billing_transaction_id", "task_id", "poll_url",
}  # fmt: skip
_LOGS = 2
"""A line with so many fields of an access log is refused as one."""

Mark = Literal["better", "same", "worse"]


class Pair(msgspec.Struct, frozen=True):
    """One prompt's two answers. ``cost`` is TokenLab's in US dollars, None where unknown."""

    prompt: str
    tokenlab: Probe
    previous: Probe
    cost: Decimal | None

    @property
    def failed(self) -> bool:
        """Whether TokenLab's side gave no answer to judge."""
        return not self.tokenlab.text


class ShadowPlan(msgspec.Struct, frozen=True):
    """Prompts and requests to send; ``cost`` is TokenLab's maximum in US dollars."""

    prompts: tuple[str, ...]
    ours: Shot
    theirs: Shot
    most_tokens: int
    cost: Decimal

    def words(self) -> str:
        """The plan in one line."""
        return (
            f"{counted(len(self.prompts), 'prompt')} to both sides of {self.ours.target.route}:"
            f" at most ${self.cost:.4f} on TokenLab, and about as much on the previous side"
        )


class Tally(msgspec.Struct):
    """Running tally of the judged pairs."""

    marks: list[Mark] = msgspec.field(default_factory=list)
    pairs: list[Pair] = msgspec.field(default_factory=list)

    def add(self, pair: Pair, mark: Mark | None) -> None:
        """Add a pair with its mark; one that failed on TokenLab's side needs no mark."""
        self.pairs.append(pair)
        if mark is not None:
            self.marks.append(mark)

    def sample(self, at: datetime, by: str, model: str) -> Sample:
        """Return the sample to store: counts, and medians over pairs answered by both sides."""
        both = [p for p in self.pairs if p.tokenlab.text and p.previous.text]
        return Sample(
            at.replace(microsecond=0), by, model,
            self.marks.count("better"), self.marks.count("same"), self.marks.count("worse"),
            sum(pair.failed for pair in self.pairs),
            round(median([p.tokenlab.latency_ms for p in both]), 1) if both else 0.0,
            round(median([p.previous.latency_ms for p in both]), 1) if both else 0.0,
        )  # fmt: skip


def read_prompts(path: Path) -> list[str]:
    """Parse the prompts of a JSON Lines file: ``{"prompt": "..."}`` or a string on each line.

    Raises OperationError: for a file that is unreadable, empty or over 32 MiB, and with the number
    of an invalid line; an access log is refused as such.
    """
    try:
        with path.expanduser().open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise OperationError(f"{path} cannot be read: {why}") from None
    if len(data) > _MOST_BYTES:
        raise OperationError(f"{path} is over {_MOST_BYTES // 1048576} MiB; take a part of it")
    prompts = [
        _prompt(path, number, line)
        for number, line in enumerate(data.split(b"\n"), 1)
        if line.strip()
    ]
    if not prompts:
        raise OperationError(f"{path} has no prompts")
    return prompts


def _prompt(path: Path, number: int, line: bytes) -> str:
    try:
        value: Any = decode_json(line, ANYTHING)
    except UndecodableError:
        value = None
    if isinstance(value, dict) and len(_LOG_FIELDS.intersection(value)) >= _LOGS:
        raise OperationError(
            f"{path}:{number}: that is a line of an access log; a sample is of prompts chosen for "
            "it, never of what customers sent"
        )
    text = value.get("prompt") if isinstance(value, dict) else value
    if not isinstance(text, str) or not text.strip():
        raise OperationError(
            f'{path}:{number}: a line is {{"prompt": "..."}} or a JSON string; this is neither'
        )
    if len(text) > _MOST_PROMPT:
        raise OperationError(f"{path}:{number}: {len(text)} characters are too many for a sample")
    return text


async def plan_shadow(
    probes: Probes,
    file: RolloutFile,
    route: str,
    prompts: Sequence[str],
    *,
    sample: int = SAMPLE,
    most_tokens: int = MOST_TOKENS,
    seed: int | None = None,
) -> ShadowPlan:
    """Draw a random sample of the prompts, in their order, and compute its maximum cost.

    Raises OperationError: both sides need a key, prices must be known, and media is refused, as it
    is never mirrored.
    """
    if route in file.routes and file.routes[route].format in MEDIA_FORMATS:
        raise OperationError(f"{route} makes media, which is never mirrored: each is made once")
    plan = await probes.plan(file, [route], streams=(False,))
    if plan.skipped:
        one = plan.skipped[0]
        raise OperationError(f"both sides are needed; {one.side}: {one.reason}")
    shots = {shot.target.side: shot for shot in plan.shots}
    chosen = list(prompts)
    if len(chosen) > sample:
        places = sorted(random.Random(seed).sample(range(len(chosen)), sample))
        chosen = [chosen[place] for place in places]
    ours = shots["tokenlab"]
    costs = [
        None if ours.model is None else most_cost(ours.model.price, p, most_tokens) for p in chosen
    ]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        raise OperationError(f"nothing was sent: the price of {ours.target.model} is not known")
    return ShadowPlan(tuple(chosen), ours, shots["previous"], most_tokens, sum(known, Decimal(0)))


async def run_shadow(plan: ShadowPlan, ceiling: Decimal) -> AsyncIterator[Pair]:
    """Send each prompt once to each side: both sides concurrently, the pairs sequentially.

    Ends early after MOST_SILENT consecutive requests without a response on one side, as each may
    take a minute to time out. Raises OperationError before anything is sent where the plan is over
    the ceiling (US dollars).
    """
    if plan.cost > ceiling:
        raise OperationError(
            f"nothing was sent: up to ${plan.cost:.4f} is over the ceiling of ${ceiling:.4f}"
        )
    silent = {"tokenlab": 0, "previous": 0}
    for prompt in plan.prompts:
        if max(silent.values()) >= MOST_SILENT:
            return
        ours, theirs = await asyncio.gather(
            *(
                probe(
                    shot.target, shot.key, stream=False, prompt=prompt,
                    most_tokens=plan.most_tokens,
                )
                for shot in (plan.ours, plan.theirs)
            )
        )  # fmt: skip
        for one in (ours, theirs):
            silent[one.target.side] = 0 if one.status else silent[one.target.side] + 1
        cost = None
        if plan.ours.model is not None and ours.tokens_in is not None:
            cost = text_cost(plan.ours.model.price, ours.tokens_in, ours.tokens_out or 0)
        yield Pair(prompt, ours, theirs, cost)


def facts_of(one: Probe, cost: Decimal | None = None) -> str:
    """Format an answer in one line: its length, latency and cost, or its error."""
    if not one.text:
        return f"failed: {'; '.join(one.problems) or 'no text'}"
    paid = "" if cost is None else f", ${cost:.6f}"
    return f"{len(one.text)} characters, {one.latency_ms:.0f} ms{paid}"
