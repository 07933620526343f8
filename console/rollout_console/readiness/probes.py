"""Probes: synthetic requests to both sides of routes, planned with a cost ceiling, sent once."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from rollout_console.common.errors import OperationError
from rollout_console.common.listing import counted
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.previous import previous_key
from rollout_console.health.log.probe_log import ProbeLine
from rollout_console.models.catalogue import Catalogue
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.media_probe import probe_media
from rollout_console.tokenlab.models import ModelInfo, Price
from rollout_console.tokenlab.probe import PROMPT, Probe, Target, probe
from rollout_console.tokenlab.single_request import LIMIT_S
from rollout_gate.access_log import timestamp
from rollout_gate.file.formats import MOST_TOKENS
from rollout_gate.file.model import MEDIA_FORMATS, RolloutFile, Route, Side
from rollout_gate.secret import Secret, redacted

CEILING_USD = Decimal("0.10")
"""Default cost ceiling of one run on TokenLab's side, in US dollars."""

SIDES: tuple[Side, ...] = ("tokenlab", "previous")
_AT_ONCE = 8
"""Concurrency limit: route sides probed at the same time, so that a slow one delays no other."""
_LEAST_LIMIT_S = 10.0
"""Lower limit of a probe's timeout, which is twice the route's max_p95_ms, up to LIMIT_S."""
_MILLION = Decimal(1_000_000)
_FRAME_TOKENS = 32
"""Upper bound of the tokens that a chat template adds around one message."""
_PER_REQUEST = ("request", "call")
_PER_1M_TOKENS = ("", "1m_tokens", "1m", "million_tokens")


class Shot(msgspec.Struct, frozen=True):
    """One request to send. ``cost`` is its expected maximum in US dollars, None where unknown.

    ``most_ms`` is the latency in ms above which the probe has a problem.
    """

    target: Target
    stream: bool
    key: Secret
    cost: Decimal | None
    most_ms: int
    model: ModelInfo | None = None


class Skipped(msgspec.Struct, frozen=True):
    """A side of a route that is not probed, and why."""

    route: str
    side: Side
    reason: str


class ProbePlan(msgspec.Struct, frozen=True):
    """The requests to send, and the sides that are skipped."""

    shots: tuple[Shot, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def cost(self) -> Decimal:
        """The expected maximum charge on TokenLab in US dollars; unknown prices count as 0."""
        return sum((shot.cost or Decimal(0) for shot in self.shots), Decimal(0))

    @property
    def unknown(self) -> list[str]:
        """The routes whose price on TokenLab is not known, sorted."""
        return sorted({s.target.route for s in self.shots if s.cost is None})

    def words(self) -> str:
        """The plan in one line."""
        theirs = sum(shot.target.side == "previous" for shot in self.shots)
        beside = f", and {theirs} billed by the previous providers" if theirs else ""
        mine = len(self.shots) - theirs
        requests = counted(mine, "request")
        dear = f"; not known of {', '.join(self.unknown)}" if self.unknown else ""
        return f"{requests} on TokenLab, at most ${self.cost:.6f}{dear}{beside}"


class Probes:
    """Plans and runs probes for the routes of one file."""

    def __init__(self, room: ApiKeys, models: Catalogue) -> None:
        self._room = room
        self._models = models

    async def plan(
        self,
        file: RolloutFile,
        routes: Iterable[str] = (),
        *,
        sides: Sequence[Side] = SIDES,
        streams: Sequence[bool] = (False, True),
        media: bool = False,
        scheduled: bool = False,
    ) -> ProbePlan:
        """Plan the requests; media routes only with ``media`` or where they are named.

        A ``scheduled`` plan is sent repeatedly, and so never includes media. Prices are fetched
        from the API; without a response, those last fetched count, else they are unknown. Raises
        OperationError for a route that the file does not have.
        """
        named = list(routes)
        for name in named:
            if name not in file.routes:
                raise OperationError(f"the file has no route {name!r}")
        chosen = [file.routes[name] for name in named] or list(file.routes.values())
        shots: list[Shot] = []
        skipped: list[Skipped] = []
        models = await self._details({route.model for route in chosen if route.model})
        for route in chosen:
            is_media = route.format in MEDIA_FORMATS
            for side in sides:
                key, reason = await asyncio.to_thread(self._key, route, side)
                if is_media and side == "previous":
                    reason = "media is made once, never on both sides"
                elif is_media and scheduled:
                    reason = "media is made once, never by a schedule: probe it without --every"
                elif is_media and not (media or named):
                    reason = "media costs real money: name the route to probe it"
                elif not route.model:
                    reason = "the route names no model"
                elif side == "previous" and not route.previous_base_url:
                    reason = "there is no previous side"
                if reason or key is None:
                    skipped.append(Skipped(route.name, side, reason))
                    continue
                shots += _shots(file, route, side, key, streams, models.get(route.model))
        # Sort comparable requests together: both sides non-streaming, then both streaming.
        places = [route.name for route in chosen]
        shots.sort(key=lambda shot: (places.index(shot.target.route), shot.stream))
        return ProbePlan(tuple(shots), tuple(skipped))

    async def run(self, plan: ProbePlan, ceiling: Decimal) -> AsyncGenerator[tuple[Shot, Probe]]:
        """Send the plan's requests, each once, and yield the probes in the plan's order.

        Route sides are probed concurrently, the requests to one side sequentially. Closing the
        generator cancels the rest. Raises OperationError before anything is sent where the plan is
        over the ceiling (US dollars), or a price on TokenLab's side is not known; ApiError where a
        credential would be sent unsafely.
        """
        if plan.unknown:
            raise OperationError(
                f"nothing was sent: the price of {', '.join(plan.unknown)} is not known"
            )
        if plan.cost > ceiling:
            raise OperationError(
                f"nothing was sent: up to ${plan.cost:.4f} is over the ceiling of ${ceiling:.4f}"
            )
        at_once = asyncio.Semaphore(_AT_ONCE)
        turns: dict[tuple[str, Side], list[Shot]] = {}
        for shot in plan.shots:
            turns.setdefault((shot.target.route, shot.target.side), []).append(shot)
        under_way = {
            turn: asyncio.ensure_future(_shoot_in_turn(shots, at_once))
            for turn, shots in turns.items()
        }
        try:
            for shot in plan.shots:
                done = await under_way[shot.target.route, shot.target.side]
                yield shot, done[shot.stream]
        finally:
            for one in under_way.values():
                one.cancel()
            await asyncio.gather(*under_way.values(), return_exceptions=True)

    def _key(self, route: Route, side: Side) -> tuple[Secret | None, str]:
        """Return the API key of a side, or why there is none; blocks on a keyring lookup."""
        found = self._room.vault.resolve(self._room.profile, "api_key")
        if side == "tokenlab":
            return found.secret, found.problem
        key, said = previous_key(self._room.vault.given, route.name, route.format, found.secret)
        return key, "" if key is not None else said

    async def _details(self, names: Iterable[str]) -> dict[str, ModelInfo | None]:
        """Fetch models concurrently; on an API error fall back to the cached entry, if any."""

        async def detail(name: str) -> ModelInfo | None:
            try:
                return await self._models.detail(name)
            except ApiError:
                return self._models.shelf.find(name)

        wanted = sorted(names)
        return dict(zip(wanted, await asyncio.gather(*map(detail, wanted)), strict=True))


def _shots(
    file: RolloutFile,
    route: Route,
    side: Side,
    key: Secret,
    streams: Sequence[bool],
    model: ModelInfo | None,
) -> list[Shot]:
    base = file.base_url if side == "tokenlab" else route.previous_base_url
    most_ms = route.guard.max_p95_ms
    target = Target(route.name, route.format, route.model, side, base)
    if side == "previous":
        return [Shot(target, stream, key, Decimal(0), most_ms) for stream in streams]
    if route.format in MEDIA_FORMATS:
        price = None if model is None else most_of_request(model.price)
        return [Shot(target, False, key, price, most_ms, model)]
    cost = None if model is None else most_cost(model.price, PROMPT, MOST_TOKENS)
    return [Shot(target, stream, key, cost, most_ms, model) for stream in streams]


async def _shoot(shot: Shot) -> Probe:
    if shot.target.format in MEDIA_FORMATS and shot.model is not None:
        return await probe_media(shot.target, shot.key, shot.model)
    limit_s = min(LIMIT_S, max(_LEAST_LIMIT_S, 2 * shot.most_ms / 1000))
    done = await probe(shot.target, shot.key, stream=shot.stream, limit_s=limit_s)
    if done.latency_ms > shot.most_ms:
        slow = f"it took {done.latency_ms:.0f} ms; max_p95_ms is {shot.most_ms}"
        done = replace(done, problems=(*done.problems, slow))
    return done


async def _shoot_in_turn(shots: Sequence[Shot], at_once: asyncio.Semaphore) -> dict[bool, Probe]:
    """Send the requests of one route's side sequentially; return the probes by ``stream``.

    After a timeout or connection error the rest is not sent.
    """
    done: dict[bool, Probe] = {}
    unsent = "not sent: the request before it got no answer"
    async with at_once:
        for shot in shots:
            dead = any(one.error in ("timeout", "connect") for one in done.values())
            done[shot.stream] = (
                Probe(shot.target, shot.stream, 0, 0.0, problems=(unsent,))
                if dead
                else await _shoot(shot)
            )
    return done


def text_cost(price: Price, tokens_in: int, tokens_out: int) -> Decimal | None:
    """Return the cost of so many tokens in US dollars; None where the price is not known.

    A variable price counts at its maximum, so that a ceiling holds.
    """
    if price.input_per_1m is None and price.output_per_1m is None:
        return most_of_request(price)
    rates = [_highest(price, one) for one in (price.input_per_1m, price.output_per_1m)]
    if None in rates or _unit(price) not in _PER_1M_TOKENS:
        return None
    cost_in, cost_out = (rate or Decimal(0) for rate in rates)
    return (cost_in * tokens_in + cost_out * tokens_out) / _MILLION


def most_cost(price: Price, prompt: str, most_tokens: int) -> Decimal | None:
    """Return the maximum cost of one request in US dollars; None where the price is not known.

    The prompt's UTF-8 bytes are the upper bound of its tokens, as a token has at least one byte;
    _FRAME_TOKENS are added.
    """
    return text_cost(price, len(prompt.encode()) + _FRAME_TOKENS, most_tokens)


def most_of_request(price: Price) -> Decimal | None:
    """Return the maximum cost in US dollars of a request priced per request; None where unknown.

    A price per second, image or thousand characters counts as unknown: their number is not known
    in advance.
    """
    if _unit(price) not in _PER_REQUEST:
        return None
    return _highest(price, price.per_request)


def _highest(price: Price, usual: Decimal | None) -> Decimal | None:
    """Return the highest price; None where it is unbounded (it varies, or only has a minimum)."""
    if price.most is None and (price.varies or price.least is not None):
        return None
    known = [amount for amount in (usual, price.least, price.most) if amount is not None]
    return max(known, default=None) if usual is not None or price.most is not None else None


def _unit(price: Price) -> str:
    return price.unit.strip().lower().replace(" ", "_").removeprefix("per_")


def real_cost(shot: Shot, done: Probe) -> Decimal | None:
    """Return the actual cost of a TokenLab request in US dollars, from its usage; None if unknown.

    A media request has its planned cost.
    """
    if shot.target.side != "tokenlab" or shot.model is None or done.status != 200:
        return None
    if shot.target.format in MEDIA_FORMATS:
        return shot.cost
    if done.tokens_in is None or done.tokens_out is None:
        return None
    return text_cost(shot.model.price, done.tokens_in, done.tokens_out)


def lines_of(shot: Shot, done: Probe) -> list[str]:
    """Format a probe for people: a line for the result, one for its ids, one for each problem."""
    target, cost = done.target, real_cost(shot, done)
    ttft = "" if done.ttft_ms is None else f", first text {done.ttft_ms:.0f} ms"
    tokens = "" if done.tokens_out is None else f"  {done.tokens_in} in, {done.tokens_out} out"
    line = (
        f"{'ok  ' if done.ok else 'FAIL'}  {target.route:<14} {target.side:<8} "
        f"{'streamed' if done.stream else 'whole':<8}  {done.status:>3}  "
        f"{done.latency_ms:.0f} ms{ttft}{tokens}" + (f"  ${cost:.6f}" if cost else "")
    )
    ids = "  ".join(filter(None, (done.request_id, done.billing_id, done.task_id)))
    below = (ids, *done.problems, *(f"note: {words}" for words in done.notes))
    return [line, *(f"      {words}" for words in below if words)]


def as_json(shot: Shot, done: Probe) -> dict[str, Any]:
    """Return the JSON object that ``probe --json`` prints; never a prompt, a response or a URL."""
    cost = real_cost(shot, done)
    return {
        "route": done.target.route,
        "side": done.target.side,
        "format": done.target.format,
        "model": done.target.model,
        "stream": done.stream,
        "ok": done.ok,
        "status": done.status,
        "latency_ms": done.latency_ms,
        "ttft_ms": done.ttft_ms,
        "tokens_in": done.tokens_in,
        "tokens_out": done.tokens_out,
        "request_id": done.request_id or None,
        "billing_transaction_id": done.billing_id or None,
        "task_id": done.task_id or None,
        "cost_usd": None if cost is None else f"{cost:f}",
        "problems": list(done.problems),
        "notes": list(done.notes),
    }


def log_line(done: Probe) -> ProbeLine:
    """Return the probe log's line for a probe, with the texts redacted."""
    return ProbeLine(
        ts=timestamp(), route=done.target.route, org="", probe=True, side=done.target.side,
        model=done.target.model,
        status=done.status, latency_ms=done.latency_ms, stream=done.stream, ttft_ms=done.ttft_ms,
        error=redacted(done.error) or None, request_id=done.request_id or None,
        billing_transaction_id=done.billing_id or None, task_id=done.task_id or None,
        problems=tuple(redacted(problem) for problem in done.problems),
    )  # fmt: skip
