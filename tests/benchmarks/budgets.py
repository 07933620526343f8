"""What counting budgets takes: a month of a million lines, the first time and the next ones."""

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

RECORDS = 1_000_000
ORGS = 1_000
KEYS = 4
_DAYS = 28
_SEED = 11
_BASE = "http://127.0.0.1:9"
_END = datetime(2026, 10, 29, 12, tzinfo=UTC).timestamp()
_FILE = """
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "BASE"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
[routes.chat.orgs]
org-1 = 50
[budgets.all]
per = "month"
limit_usd = 1000000
[budgets.org]
per = "month"
org = "org-1"
limit_usd = 1000000
[budgets.key]
per = "week"
key = "key-1"
limit_usd = 1000000
[budgets.chat]
per = "day"
route = "chat"
limit_usd = 1000000
"""


def drawn(count: int) -> Iterator[tuple[float, Decimal, int, int, int]]:
    """Yield time, cost, number, org and key of each request, evenly over the month."""
    rng = random.Random(_SEED)
    step = _DAYS * 86_400 / count
    for number in range(count):
        cost = Decimal(rng.randrange(1, 10**9)) / Decimal(10**12)
        at = _END - _DAYS * 86_400 + number * step
        yield at, cost, number, rng.randrange(ORGS), number % KEYS


def main(count: int = RECORDS) -> None:
    """Print what a first count takes and the next one, and that both are exact."""
    from rollout_console.budgets.spending import kept_spending, spending_path
    from rollout_console.budgets.standing import standings_of
    from rollout_console.cost.spending_count import count_spending
    from rollout_gate.file.parse import parse

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "rollout.toml"
        path.write_text(_FILE.replace("BASE", _BASE))
        expected = _made(count, folder)
        file = parse(path.read_bytes())
        room: Any = type("Room", (), {"profile": "default", "base_url": _BASE})()
        for title in ("first count", "next count", "the one after"):
            start, used = time.perf_counter(), time.process_time()
            found = count_spending(room, file, path, folder, offline=True, clock=lambda: _END)
            took, used = time.perf_counter() - start, time.process_time() - used
            standings = standings_of(file, found.spending, _END)
            spent = {one.budget.name: one.spent for one in standings}
            assert spent == expected, f"{spent}, expected {expected}"
            print(
                f"budgets, a month of {count:,} lines and records, {title}: {took:.1f} s"
                f" ({used:.1f} s of its own); every budget is right to the last digit"
            )
        kept_at = spending_path(folder, path, file.profile)
        start = time.perf_counter()
        assert kept_spending(kept_at) is not None
        read = (time.perf_counter() - start) * 1000
        (cells,) = folder.glob("spent-days-*.sqlite3")
        print(
            f"budgets, kept: {cells.stat().st_size / 1e6:.1f} MB of days, and"
            f" {kept_at.stat().st_size / 1e3:.1f} kB that guard and screens read in {read:.2f} ms"
        )


def _made(count: int, folder: Path) -> dict[str, Decimal]:
    """Write log and store, and return what each budget has spent."""
    from rollout_console.reconcile.store import Listing, UsageStore, store_path
    from rollout_console.tokenlab.types import ApiKey, UsageRecord

    day = datetime(2026, 10, 29, tzinfo=UTC).timestamp()
    week = datetime(2026, 10, 26, tzinfo=UTC).timestamp()
    whole = dict.fromkeys(("all", "org", "key", "chat"), Decimal(0))
    made = datetime.fromtimestamp(_END - 40 * 86_400, UTC)
    begins, ends = int(_END) - 29 * 86_400, int(_END)
    records: dict[int, list[UsageRecord]] = {key: [] for key in range(KEYS)}
    with (folder / "access.jsonl").open("wb") as log:
        for at, cost, number, org, key in drawn(count):
            when = datetime.fromtimestamp(at, UTC)
            billing = f"btx_{number:09}"
            records[key].append(
                UsageRecord(None, billing, "gpt-5.4", "chat", "token", "200", 80, 120, cost, when)
            )
            line = {
                "ts": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "route": "chat", "org": f"org-{org}", "side": "tokenlab", "model": "gpt-5.4",
                "status": 200, "latency_ms": 320.5, "outcome": "ok", "input_tokens": 80,
                "output_tokens": 120, "billing_transaction_id": billing, "host": "gw-01",
            }  # fmt: skip
            log.write(json.dumps(line).encode() + b"\n")
            whole["all"] += cost
            whole["org"] += cost if org == 1 else 0
            whole["key"] += cost if key == 1 and at >= week else 0
            whole["chat"] += cost if at >= day else 0
    with UsageStore(store_path(folder, "default", _BASE)) as store:
        store.keep_keys(
            ApiKey(f"k{key}", f"key-{key}", "sk-", "active", None, Decimal(0), (), None, None, made)
            for key in range(KEYS)
        )
        for key, some in records.items():
            total = sum((one.cost for one in some), Decimal(0))
            store.commit(f"k{key}", Listing(begins, ends, _END, some, len(some), total))
    return whole


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:2]))
