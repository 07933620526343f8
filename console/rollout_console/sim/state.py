"""The state of the simulated provider: keys, balance, usage, tasks, requests, faults."""

import itertools
import random
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rollout_console.sim.catalogue import Model, build_catalogue
from rollout_console.sim.errors import ApiFault
from rollout_console.sim.faults import Faults

DEMO_KEY = "sk-sim-demo"
DEMO_TOKEN = "mt-sim-demo"
ORGANISATION = "org_sim_demo"
REQUESTS_KEPT = 20_000


@dataclass(slots=True)
class ApiKey:
    """An API key; amounts in US dollars, ``limit`` None for no limit."""

    id: str
    name: str
    secret: str
    status: str = "active"
    limit: Decimal | None = None
    used: Decimal = Decimal(0)
    models: list[str] = field(default_factory=list)
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Usage:
    """The billing record of a request, or of a refund; ``cost`` in US dollars.

    An empty id is null in the API. ``listed_from`` is when the record begins to be listed, in epoch
    seconds: settlement may be later than the request.
    """

    key_id: str
    request_id: str
    billing_id: str
    model: Model
    tokens_in: int
    tokens_out: int
    cost: Decimal
    at: datetime
    listed_from: float = 0.0


@dataclass(frozen=True, slots=True)
class Served:
    """The record of an answered request; ``started`` and its end ``at`` are epoch seconds.

    ``status`` is 0 for a response that a fault broke off; ``fault`` is the kind of a fault that
    spoiled an answer with status 200.
    """

    id: str
    side: str
    path: str
    route: str
    org: str
    model: str
    status: int
    stream: bool
    at: float
    started: float
    credential_leak: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """How requests are settled, in shares from 0 to 1; by default at once, and every one.

    ``lost_share`` of the served requests are never charged (a failed settlement); ``late_share``
    are listed ``late_s`` seconds later, with the time of the request; ``no_billing_id_share`` and
    ``no_request_id_share`` are listed with a null id; ``refund_share`` are paid back.
    """

    lost_share: float = 0.0
    late_share: float = 0.0
    late_s: float = 60.0
    no_billing_id_share: float = 0.0
    no_request_id_share: float = 0.0
    refund_share: float = 0.0


class SimState:
    """The state behind the simulated API; event loop only, except for what ``lock`` guards."""

    def __init__(
        self, seed: int = 0, balance_usd: Decimal = Decimal("1284.22"), realistic: bool = False
    ) -> None:
        self.catalogue = build_catalogue()
        self.random = random.Random(seed)
        self.realistic = realistic
        self.recharged = balance_usd
        self.used = Decimal(0)
        self.keys: dict[str, ApiKey] = {}
        self.usage: deque[Usage] = deque(maxlen=200_000)
        self._by_key: tuple[int, tuple[Usage, ...], dict[str, list[Usage]]] = (0, (), {})
        self.settlement = Settlement()
        self.tasks: dict[str, Any] = {}
        self.responses: deque[tuple[str, str]] = deque(maxlen=REQUESTS_KEPT)
        self.faults = Faults(self.random)
        self.requests: deque[Served] = deque(maxlen=REQUESTS_KEPT)
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self.in_flight = 0
        """The requests that are not answered to the end yet."""
        self.credential_leaks = 0
        self.lock = threading.Lock()
        self._ids = itertools.count(1)
        self.add_key(ApiKey("key_demo", "demo", DEMO_KEY))

    @property
    def balance(self) -> Decimal:
        """The remaining balance in US dollars."""
        return self.recharged - self.used

    def new_id(self, prefix: str) -> str:
        """Return a unique id."""
        return f"{prefix}{next(self._ids):08d}{self.random.getrandbits(32):08x}"

    def new_task_id(self) -> str:
        """Return a unique task id in the contract's form: ``ldtask_`` and 32 hex digits."""
        return f"ldtask_{next(self._ids):08x}{self.random.getrandbits(96):024x}"

    def add_key(self, key: ApiKey) -> None:
        """Register a key."""
        self.keys[key.id] = key

    def key_for(self, secret: str) -> ApiKey:
        """Return the active, unexpired key with this secret; raises ApiFault 401."""
        if secret.startswith("mt-"):
            raise ApiFault(401, "A management token does not work on inference routes.")
        found = next((key for key in self.keys.values() if key.secret == secret), None)
        if found is None or found.status != "active":
            raise ApiFault(401)
        if found.expires_at is not None and found.expires_at <= datetime.now(UTC):
            raise ApiFault(401, "The API key has expired.", "expired_api_key")
        return found

    def check_spend(self, key: ApiKey, model: Model, estimate: Decimal) -> None:
        """Raise ApiFault 403 or 402 where the key or the balance does not allow the request.

        ``estimate`` is the cost in US dollars.
        """
        if key.models and model.id not in key.models:
            raise ApiFault(403, f"This key may not use {model.id}.", "model_not_allowed")
        if key.limit is not None and key.used + estimate > key.limit:
            raise ApiFault(402, "The key's own limit is used up.", "quota_exceeded")
        if self.balance < estimate:
            raise ApiFault(402, balance_usd=float(self.balance))

    def settle(
        self, key: ApiKey, model: Model, request_id: str, tokens_in: int, tokens_out: int
    ) -> Usage:
        """Charge a served request; return its billing record."""
        if model.category == "chat":
            cost = (model.input_per_1m * tokens_in + model.output_per_1m * tokens_out) / 1_000_000
        else:
            cost = model.per_request
        now = datetime.now(UTC)
        record = Usage(
            key.id, request_id, self.new_id("btx_"), model, tokens_in, tokens_out, cost, now
        )
        key.last_used_at = now
        if self._happens(self.settlement.lost_share):
            return record
        self.used += cost
        key.used += cost
        listed = record
        if self._happens(self.settlement.late_share):
            listed = replace(listed, listed_from=self.clock() + self.settlement.late_s)
        if self._happens(self.settlement.no_billing_id_share):
            listed = replace(listed, billing_id="")
        if self._happens(self.settlement.no_request_id_share):
            listed = replace(listed, request_id="")
        self.usage.append(listed)
        if self._happens(self.settlement.refund_share):
            self.refund(listed)
        return record

    def refund(self, record: Usage, share: Decimal = Decimal(1)) -> Usage:
        """Pay a share of a record back: a negative record of the same ids; return it."""
        cost = record.cost * share
        back = replace(record, tokens_in=0, tokens_out=0, cost=-cost, at=datetime.now(UTC))
        self.usage.append(back)
        self.used -= cost
        if record.key_id in self.keys:
            self.keys[record.key_id].used -= cost
        return back

    def usage_between(self, key_id: str, start: datetime, end: datetime) -> Sequence[Usage]:
        """Return a key's records between two times, both inclusive, the newest first."""
        ends_of = (self.usage[0], self.usage[-1]) if self.usage else ()
        count, known, found = self._by_key
        same = all(a is b for a, b in zip(known, ends_of, strict=False))
        if count != len(self.usage) or not same:
            # Indexed once for many pages of a list that stays as it is.
            found = {}
            for use in self.usage:
                found.setdefault(use.key_id, []).append(use)
            for uses in found.values():
                uses.sort(key=lambda use: use.at)
            self._by_key = len(self.usage), ends_of, found
        uses = found.get(key_id, [])
        begins = bisect_left(uses, start, key=lambda use: use.at)
        ends = bisect_right(uses, end, key=lambda use: use.at)
        return uses[begins:ends][::-1]

    def _happens(self, share: float) -> bool:
        return share > 0 and self.random.random() < share

    def served(self, request: Served) -> None:
        """Record an answered request."""
        with self.lock:
            self.requests.append(request)
            self.credential_leaks += request.credential_leak
            self.counts[(request.side, request.route, request.status)] += 1

    def model(self, name: str) -> Model | None:
        """Return a model by id or alias."""
        found = self.catalogue.get(name)
        if found is None and "/" in name:
            provider, _, rest = name.partition("/")
            found = self.catalogue.get(rest)
            if found is not None and found.provider != provider:
                return None
        return found

    def latency_s(self, side: str) -> float:
        """Draw a latency in seconds: log-normal, at most 20 times its median."""
        middle = (0.35 if side == "tokenlab" else 0.45) if self.realistic else 0.008
        return min(middle * self.random.lognormvariate(0, 0.45), 20 * middle)

    def clock(self) -> float:
        """Return the current time in epoch seconds."""
        return time.time()
