"""A cold read of the access log into windows, against decoding alone."""

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from rollout_console.guard.ingestion import FIRST_BYTES, OLDER_BYTES
from rollout_console.guard.monitor import Monitor
from rollout_console.health.log.follower import LogFollower
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.windows import Windows
from rollout_gate.file.parse import parse
from tests.benchmarks.timing import in_turn, seconds

TARGET = 3.0
DEMO = Path(__file__).parents[2] / "sample_configs" / "demo.toml"

_PIECE = 1024 * 1024
_END = datetime(2026, 11, 23, 19, 31, tzinfo=UTC)
_SPREADS = (("4 minutes", 240.0), ("24 hours", 86_400.0))


def main(lines: int = 1_000_000) -> None:
    """Print the ratios: to decoding in pieces, msgspec's fastest way, and to line by line."""
    decoder = msgspec.json.Decoder(AccessRecord)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "access.jsonl"
        for name, span_s in _SPREADS:
            path.write_bytes(b"".join(_lines(lines, span_s)))
            data = path.read_bytes()

            def in_pieces(data: bytes = data) -> None:
                start = 0
                while start < len(data):
                    end = data.rfind(b"\n", start, start + _PIECE) + 1
                    decoder.decode_lines(data[start:end])
                    start = end

            def by_line(data: bytes = data) -> None:
                for line in data.splitlines():
                    decoder.decode(line)

            def one_process() -> None:
                follower, windows = LogFollower(path), Windows()
                while records := follower.poll():
                    windows.add(records, _END.timestamp())
                follower.close()

            pieces, single, ours, alone = in_turn(
                in_pieces, by_line, lambda: _watch(path), one_process, times=3
            )
            print(
                f"cold read, {lines:,} lines over {name}, as the console does: {ours:.2f} s; "
                f"decode alone in pieces {pieces:.2f} s, ratio {ours / pieces:.2f} "
                f"(target {TARGET:g}); line by line {single:.2f} s, ratio {ours / single:.2f}; "
                f"into windows in one process {alone / pieces:.2f}"
            )
            kept, longest = _watch(path)
            print(
                f"  of which the screen's own process takes {kept:.2f} s, "
                f"at most {longest * 1000:.0f} ms at a time"
            )
        some = data[: data.rfind(b"\n", 0, len(data) // 10) + 1].splitlines()
        plain = seconds(lambda: [json.loads(line) for line in some])
        print(f"stdlib json takes {plain / single * lines / len(some):.1f}x msgspec, line by line")


def _watch(path: Path) -> tuple[float, float]:
    """Read a log as an open console does, with guard and top errors.

    Return the seconds of the thread that draws, all of them and the longest at a time.
    """
    now = _END.timestamp()
    took: list[float] = []

    def timed(work: Callable[..., object], *given: object) -> None:
        start = time.perf_counter()
        work(*given)
        took.append(time.perf_counter() - start)

    toml = path.with_name("rollout.toml")
    text = DEMO.read_bytes().replace(b"BASE_URL", b"http://127.0.0.1:1")
    toml.write_bytes(text)
    monitor = Monitor(toml, parse(text), cold_bytes=FIRST_BYTES, older_bytes=OLDER_BYTES)
    records, _ = monitor.read()
    timed(monitor.add, records, now)
    older = monitor.older(now)
    while monitor.behind:
        records, _ = monitor.read()
        timed(monitor.add, records, now)
    while older is not None and not older.over:
        part = older.next()
        timed(monitor.add_older, older, part)
    assert older is None or older.complete, older.trouble
    return sum(took), max(took)


def _lines(lines: int, span_s: float) -> Iterator[bytes]:
    rng = random.Random(1)
    start = _END - timedelta(seconds=span_s)
    models = {"chat": "gpt-5.4", "claude": "claude-fable-5", "gemini": "gemini-3.5-flash"}
    errors = {429: "rate_limit", 502: "upstream", 503: "overloaded", 400: "invalid_request"}
    encode = msgspec.json.Encoder().encode
    for i in range(lines):
        at = start + timedelta(seconds=i * span_s / lines)
        route = rng.choice(("chat", "claude", "gemini", "responses"))
        status = rng.choice((*(200,) * 30, *errors))
        record: dict[str, object] = {
            "ts": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
            "route": route,
            "org": f"org-{rng.randrange(12)}",
            "side": rng.choice(("tokenlab", "previous")),
            "model": models.get(route, "gpt-5.4-mini"),
            "status": status,
            "latency_ms": round(rng.lognormvariate(6, 0.5), 1),
            "request_id": f"req_{i:016d}",
            "outcome": "ok" if status == 200 else "error",
            "attempt": 1,
            "stream": bool(i % 2),
            "bucket": rng.randrange(10_000),
            "revision": "0123456789ab",
            "host": f"gw-{i % 8:02}",
        }
        if status in errors:
            record["error"] = errors[status]
        else:
            record |= {"finish_reason": "stop", "input_tokens": 80, "output_tokens": 120}
            if record["stream"]:
                record["ttft_ms"] = round(rng.lognormvariate(4, 0.5), 1)
        yield encode(record) + b"\n"


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:2]))
