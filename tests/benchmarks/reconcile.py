"""Reconciliation of 100,000 usage records over loopback: every pile to the last decimal.

The simulator is a process of its own, so that the memory printed is that of the reconciliation.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

RECORDS = 100_000
HOURS = 20
_SEED = 7
_SPREAD_S = HOURS * 3600
_FILE = """
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "BASE"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
[routes.chat.orgs]
acme = 50
"""


class Drawn:
    """Records and lines whose piles are known: which index is in which, and what it costs."""

    def __init__(self, count: int, begin: float) -> None:
        self.begin = begin
        self.count = count
        self.step = _SPREAD_S / count

    def items(self) -> Iterator[tuple[float, Decimal, str, int, str, str]]:
        """Yield time, cost, kind, number, billing id and request id of each request."""
        rng = random.Random(_SEED)
        for number in range(self.count):
            at = self.begin + number * self.step
            cost = Decimal(rng.randrange(1, 10**9)) / Decimal(10**12)
            drawn = rng.random()
            kind = (
                "lost" if drawn < 0.002 else "foreign" if drawn < 0.004
                else "refunded" if drawn < 0.014 else "stream" if drawn < 0.45
                else "nameless" if drawn < 0.451 else "plain"
            )  # fmt: skip
            yield at, cost, kind, number, f"btx_{number:09}", f"req_{number:09}"

    def records(self) -> Iterator[tuple[float, Decimal, str, str]]:
        """Yield time, cost, billing id and request id of each usage record."""
        for at, cost, kind, _, billing, request in self.items():
            if kind == "lost":
                continue
            if kind == "nameless":
                yield at, cost, "", ""
                continue
            yield at, cost, billing, request
            if kind == "refunded":
                yield at + 30, -cost / 2, billing, request

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the access log."""
        for at, _, kind, number, billing, request in self.items():
            if kind == "foreign":
                continue
            time_of = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
            line: dict[str, Any] = {
                "ts": time_of.replace("+00:00", "Z"), "route": "chat", "org": f"org-{number % 40}",
                "side": "tokenlab", "model": "gpt-5.4", "status": 200, "latency_ms": 320.5,
                "outcome": "ok", "input_tokens": 80, "output_tokens": 120, "attempt": 1,
                "stream": kind == "stream", "bucket": number % 10_000, "revision": "0123456789ab",
                "host": "gw-01",
            }  # fmt: skip
            if kind != "nameless":
                line["request_id"] = request
                if kind != "stream":
                    line["billing_transaction_id"] = billing
            yield json.dumps(line).encode() + b"\n"

    def expected(self) -> dict[str, tuple[int, int, Decimal]]:
        """Return records, lines and cost of each pile."""
        records, lines = Counter[str](), Counter[str]()
        cost_of = {name: Decimal(0) for name in ("matched", "billed_only", "logged_only", "no_id")}
        for _, cost, kind, *_ in self.items():
            if kind == "lost":
                lines["logged_only"] += 1
                continue
            pile = "billed_only" if kind in ("foreign", "nameless") else "matched"
            is_refunded = kind == "refunded"
            records[pile] += 1 + is_refunded
            cost_of[pile] += cost / 2 if is_refunded else cost
            lines["no_id"] += kind == "nameless"
        return {name: (records[name], lines[name], cost) for name, cost in cost_of.items()}


def main(count: int = RECORDS) -> None:
    """Print time and peak memory of a first, a second and an offline reconciliation."""
    # Not on whole seconds: what is drawn is the same each time but for its day.
    begin = float(int(time.time())) - _SPREAD_S - 3 * 3600
    drawn = Drawn(count, begin)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "access.jsonl").write_bytes(b"".join(drawn.lines()))
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.reconcile", "--serve", str(count), str(begin)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            base = server.stdout.readline().strip()
            (path / "rollout.toml").write_text(_FILE.replace("BASE", base))
            for title, more in (("first pull", []), ("again", []), ("offline", ["--offline"])):
                _one(path, drawn, title, more)
        finally:
            server.kill()
            server.wait()


def _one(path: Path, drawn: Drawn, title: str, more: list[str]) -> None:
    env = {
        **os.environ, "ROLLOUT_STATE_DIR": str(path / "state"), "XDG_CONFIG_HOME": str(path),
        "TOKENLAB_MANAGEMENT_TOKEN": "mt-sim-demo",
    }  # fmt: skip
    since = datetime.fromtimestamp(drawn.begin - 60, UTC).isoformat()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout_console", "-f", str(path / "rollout.toml"), "reconcile",
         "--since", since, "--json", *more],
        stdout=subprocess.PIPE, env=env,
    )  # fmt: skip
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - start
    found = json.loads(out)
    for name, (records, lines, cost) in drawn.expected().items():
        pile = found["piles"][name]
        got = pile["records"], pile["lines"], Decimal(pile["cost_usd"])
        wanted = records, lines if name != "matched" else 0, cost
        assert got == wanted, f"{name}: {got}, expected {wanted}"
    total = sum((one[2] for one in drawn.expected().values()), Decimal(0))
    assert Decimal(found["records"]["cost_usd"]) == total
    assert os.waitstatus_to_exitcode(status) == 1
    print(
        f"reconcile, {title}: {found['records']['records']:,} records of ${total},"
        f" {found['lines']['tokenlab']:,} lines, {found['requests']:,} requests: {took:.1f} s"
        f" ({used.ru_utime + used.ru_stime:.1f} s of its own), peak {used.ru_maxrss / 1024:.0f} MB;"
        " every pile is right to the last digit"
    )


def lines_alone(count: int = 1_000_000) -> None:
    """Print time and peak memory of a log of a million lines whose records are in the store."""
    from rollout_console.reconcile.reconciliation import Asked, reconcile
    from rollout_console.reconcile.store import Listing, UsageStore, store_path
    from rollout_console.tokenlab.types import ApiKey, UsageRecord
    from rollout_gate.file.parse import parse

    begin = float(int(time.time())) - _SPREAD_S - 3 * 3600
    drawn = Drawn(count, begin)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rollout.toml"
        path.write_text(_FILE.replace("BASE", "http://127.0.0.1:9"))
        with (path.parent / "access.jsonl").open("wb") as stream:
            stream.writelines(drawn.lines())
        pid = os.fork()
        if pid == 0:
            with UsageStore(store_path(path.parent, "prod", "http://127.0.0.1:9")) as store:
                made = datetime.fromtimestamp(begin, UTC)
                store.keep_keys([ApiKey("k", "k", "sk-", "active", None, Decimal(0), (), None, None,
                                        made)])  # fmt: skip
                part: list[UsageRecord] = []
                for at, cost, billing, request in drawn.records():
                    when = datetime.fromtimestamp(at, UTC)
                    part.append(
                        UsageRecord(request or None, billing or None, "gpt-5.4", "chat", "token",
                                    "200", 80, 120, cost, when)
                    )  # fmt: skip
                total = sum((one.cost for one in part), Decimal(0))
                ends = int(begin) + _SPREAD_S + 3600
                store.commit("k", Listing(int(begin) - 600, ends, time.time(), part, len(part),
                                          total))  # fmt: skip
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, used = time.perf_counter(), time.process_time()
        room: Any = type("Room", (), {"profile": "prod", "base_url": "http://127.0.0.1:9"})()
        asked = Asked(begin - 60, time.time(), offline=True)
        with reconcile(asked, room, parse(path.read_bytes()), path, path.parent) as outcome:
            found = outcome.piles.records
            wanted = drawn.expected()
            for name, (records, lines, cost) in wanted.items():
                pile = outcome.piles.piles[name.replace("_", "-")]  # type: ignore[index]
                assert (pile.all.records, pile.all.cost) == (records, cost), name
                assert name == "matched" or pile.all.lines == lines, name
        took, used = time.perf_counter() - start, time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"reconcile, a log of {count:,} lines and {found.records:,} kept records: {took:.1f} s"
            f" ({used:.1f} s of its own), peak {peak / 1024:.0f} MB"
            f" ({before / 1024:.0f} MB before it)"
        )


def _serve(count: int, begin: float) -> None:
    from collections import deque

    from rollout_console.sim.server import SimServer
    from rollout_console.sim.state import Usage

    server = SimServer()
    state = server.state
    model = state.catalogue["gpt-5.4"]
    state.keys["key_demo"].created_at = datetime.fromtimestamp(begin, UTC) - timedelta(days=2)
    state.usage = deque(
        (
            Usage("key_demo", request, billing, model, 80, 120, cost,
                  datetime.fromtimestamp(at, UTC))
            for at, cost, billing, request in Drawn(count, begin).records()
        ),
        maxlen=2 * count,
    )  # fmt: skip
    server.serve_forever(lambda base: print(base, flush=True))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(int(sys.argv[2]), float(sys.argv[3]))
    elif sys.argv[1:2] == ["--lines"]:
        lines_alone(*(int(text) for text in sys.argv[2:3]))
    else:
        main(*(int(text) for text in sys.argv[1:2]))
