"""A small world to reconcile: usage records in the simulator, and lines in an access log."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.profiles import ProfileList
from rollout_console.reconcile.reconciliation import Asked, Outcome, reconcile
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import ApiKey, Usage
from rollout_console.tokenlab.types import UsageRecord
from rollout_gate.file.parse import parse
from rollout_gate.secret import Secret
from tests.credentials.vault.test_vault import vault_of

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC).timestamp()
NOW = NOON + 7200
"""The period ends at NOON + 3600, and everything in it has settled by now."""
TOKEN = Secret("mt-sim-demo")
FILE = """
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "BASE"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
[routes.chat.orgs]
acme = 50
[routes.clips]
format = "video"
model = "runway-video-1"
[routes.clips.orgs]
acme = 50
"""


def time_of(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def record(
    at: float, cost: str = "0.5", *, billing: str | None = None, request: str | None = None,
    model: str = "gpt-5.4",
) -> UsageRecord:  # fmt: skip
    """Return a usage record as the client has it."""
    return UsageRecord(
        request, billing, model, "chat", "token", "30", 10, 20, Decimal(cost), time_of(at)
    )


def line(at: float, **fields: Any) -> dict[str, Any]:
    """Return one line of the access log; ``billing`` and ``request`` are its ids."""
    ids = {"billing": "billing_transaction_id", "request": "request_id", "task": "task_id"}
    named = {ids.get(name, name): value for name, value in fields.items()}
    return {
        "ts": time_of(at).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "route": "chat", "org": "acme", "side": "tokenlab", "model": "gpt-5.4", "status": 200,
        "latency_ms": 100.0, "outcome": "ok", "input_tokens": 10, "output_tokens": 20, **named,
    }  # fmt: skip


def usage(
    sim: SimServer, at: float, cost: str = "0.5", *, billing: str = "", request: str = "",
    key: str = "key_demo", model: str = "gpt-5.4", listed_from: float = 0.0,
) -> Usage:  # fmt: skip
    """Return a usage record as the simulator keeps it; an empty id is null."""
    found = sim.state.catalogue[model]
    return Usage(key, request, billing, found, 10, 20, Decimal(cost), time_of(at), listed_from)


class World:
    """The simulator, a rollout file, its access log, and a folder of state."""

    def __init__(self, sim: SimServer, folder: Path) -> None:
        self.sim = sim
        self.folder = folder
        self.state = folder / "pulled"
        self.path = folder / "rollout.toml"
        self.log = folder / "access.jsonl"
        self.log.touch()
        sim.state.usage.clear()
        for key in sim.state.keys.values():
            key.created_at = time_of(NOON - 30 * 86_400)
        self.path.write_text(FILE.replace("BASE", sim.base_url))
        vault = vault_of(folder, Given(variables={"management_token": "mt-sim-demo"}))
        self.room = ApiKeys(vault, ProfileList(folder / "profiles.json"), "prod", sim.base_url)

    def add_key(self, key_id: str, name: str, status: str = "active") -> None:
        made = time_of(NOON - 30 * 86_400)
        self.sim.state.add_key(ApiKey(key_id, name, f"sk-sim-{key_id}", status, created_at=made))

    def bill(self, at: float, cost: str = "0.5", **ids: Any) -> Usage:
        """Add a usage record."""
        made = usage(self.sim, at, cost, **ids)
        self.sim.state.usage.append(made)
        return made

    def write(self, *lines: dict[str, Any]) -> None:
        """Append lines to the log."""
        with self.log.open("a") as stream:
            stream.writelines(json.dumps(one) + "\n" for one in lines)

    @contextmanager
    def reconciled(
        self, since: float = NOON, until: float = NOON + 3600, now: float = NOW, **more: Any
    ) -> Iterator[Outcome]:
        """Reconcile a period; the rows can be read within the block."""
        asked = Asked(since, until, **more)
        file = parse(self.path.read_bytes())
        with reconcile(asked, self.room, file, self.path, self.state, clock=lambda: now) as outcome:
            yield outcome


class Listing:
    """The usage list of one key as a server has it, to be answered page by page.

    ``before`` is called with the number of each usage request before it is answered, and may
    change the records, or return another answer's status and headers.
    """

    def __init__(self, records: Sequence[UsageRecord], page: int = 100) -> None:
        self.records = list(records)
        self.page = page
        self.asked: list[dict[str, str]] = []
        self.before: Callable[[int], tuple[int, dict[str, str]] | None] = lambda number: None
        self.headers: dict[str, str] = {}
        self.cost: str | None = ""

    def body(self, query: dict[str, str]) -> dict[str, Any]:
        start, end = (datetime.fromisoformat(query[name]) for name in ("startDate", "endDate"))
        found = [one for one in self.records if start <= one.at <= end]
        found.sort(key=lambda one: one.at, reverse=True)
        number = int(query["page"])
        cost = str(sum((one.cost for one in found), Decimal(0)))
        return {
            "items": [
                {
                    "request_id": one.request_id, "billing_transaction_id": one.billing_id,
                    "model": one.model, "logical_model": one.model, "model_vendor": None,
                    "scene": one.scene, "usage_unit": one.unit, "usage_quantity": 30,
                    "usage_quantity_decimal": one.quantity, "prompt_tokens": one.tokens_in,
                    "completion_tokens": one.tokens_out, "total_tokens": 30, "cost": 99.0,
                    "cost_decimal": f"{one.cost:f}", "created_at": one.at.isoformat(),
                }
                for one in found[(number - 1) * self.page : number * self.page]
            ],
            "pagination": {
                "page": number, "limit": self.page, "total": len(found),
                "totalPages": -(-len(found) // self.page),
            },
            "summary": {"total_cost_decimal": self.cost or cost} if self.cost is not None else {},
        }  # fmt: skip
