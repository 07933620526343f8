"""What ``cost`` takes beside ``reconcile``, in pairs on one store; and what a confirm waits for."""

import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.benchmarks.reconcile import _FILE, _SPREAD_S, Drawn

RECORDS = 100_000
PAIRS = 5
_BASE = "http://127.0.0.1:9"


def main(count: int = RECORDS) -> None:
    """Print the ratio of cost to reconciliation, and the time of a confirm's look."""
    from rollout_console.cost.costs import CostAsked, costs
    from rollout_console.reconcile.reconciliation import Asked, reconcile
    from rollout_gate.file.parse import parse

    begin = float(int(time.time())) - _SPREAD_S - 3 * 3600
    drawn = Drawn(count, begin)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rollout.toml"
        path.write_text(_FILE.replace("BASE", _BASE))
        with (path.parent / "access.jsonl").open("wb") as stream:
            stream.writelines(drawn.lines())
        _pulled(drawn, path.parent, begin)
        file = parse(path.read_bytes())
        room: Any = type("Room", (), {"profile": "prod", "base_url": _BASE})()
        whole = sum((cost for _, cost, *_ in drawn.records()), Decimal(0))
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(PAIRS):
            now = time.time()
            start = time.process_time()
            with reconcile(
                Asked(begin - 60, now, offline=True), room, file, path, path.parent
            ) as outcome:
                assert outcome.piles.records.cost == whole
            theirs.append(time.process_time() - start)
            start = time.process_time()
            found = costs(CostAsked(begin - 60, now, offline=True), room, file, path, path.parent)
            ours.append(time.process_time() - start)
            assert found.bill.all.cost == whole
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        print(
            f"cost, {count:,} records and lines: {min(ours):.2f} s of its own, reconcile"
            f" {min(theirs):.2f} s: {statistics.median(ratios):.2f}x (median of {PAIRS} pairs);"
            " the bill is right to the last digit"
        )
    confirm()


def confirm(orgs: int = 10_000) -> None:
    """Print how long the confirm of a raise looks for what it adds, with many orgs."""
    from rollout_console.changes.switch import Switch
    from rollout_console.cost.share_costs import ShareCost, ShareCosts, added_by, keep, kept_path
    from rollout_console.history.actor import Actor
    from rollout_console.history.history import History

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rollout.toml"
        lines = "".join(f"org-{number} = 25\n" for number in range(orgs))
        path.write_text(_FILE.replace("BASE", _BASE) + lines)
        switch = Switch(path, History(path.with_name("h.sqlite3")), Actor("jo", "gw", ""))
        file = switch.open().file
        each = {f"org-{n}": ShareCost(2500, Decimal("1.25"), 82_800) for n in range(orgs)}
        keep(ShareCosts(time.time(), {"chat": each}), kept_path(path.parent, path, file.base_url))
        plan = switch.planner.plan_set("chat", "org-7", 5000)
        assert plan.direction == "up"
        took = []
        for _ in range(20):
            start = time.perf_counter()
            assert "+$1.25 a day" in added_by(plan, path, path.parent)
            took.append((time.perf_counter() - start) * 1000)
        print(
            f"confirm of a raise, costs of {orgs:,} orgs kept: {min(took):.1f} ms at best,"
            f" {statistics.median(took):.1f} ms (median of 20)"
        )


def _pulled(drawn: Drawn, folder: Path, begin: float) -> None:
    """Keep the records as a pull would."""
    from rollout_console.reconcile.store import Listing, UsageStore, store_path
    from rollout_console.tokenlab.types import ApiKey, UsageRecord

    made = datetime.fromtimestamp(begin, UTC)
    records = [
        UsageRecord(
            request or None, billing or None, "gpt-5.4", "chat", "token", "200", 80, 120, cost,
            datetime.fromtimestamp(at, UTC),
        )
        for at, cost, billing, request in drawn.records()
    ]  # fmt: skip
    total = sum((one.cost for one in records), Decimal(0))
    ends = int(begin) + _SPREAD_S + 3600
    with UsageStore(store_path(folder, "prod", _BASE)) as store:
        store.keep_keys([ApiKey("k", "k", "sk-", "active", None, Decimal(0), (), None, None, made)])
        store.commit(
            "k",
            Listing(int(begin) - 600, ends, time.time(), records, len(records), total),
        )


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:2]))
