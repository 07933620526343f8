"""A cold read of the access log into windows, against msgspec decoding alone."""

import json
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from console.health.follow import LogFollower
from console.health.record import AccessRecord
from console.health.windows import Windows
from tests.benchmarks.timing import in_turn, seconds

TARGET = 3.0


def main(lines: int = 300_000) -> None:
    """Print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "access.jsonl"
        end = _write(path, lines)
        data = path.read_bytes()
        decoder = msgspec.json.Decoder(AccessRecord)

        def decode() -> None:
            for line in data.splitlines():
                decoder.decode(line)

        def read() -> None:
            follower, windows = LogFollower(path), Windows(300)
            while records := follower.poll():
                windows.add(records, end)

        alone, ours = in_turn(decode, read, times=3)
        plain = seconds(lambda: [json.loads(line) for line in data.splitlines()])
    print(
        f"cold read, {lines:,} lines: decode alone {alone:.2f} s, into windows {ours:.2f} s, "
        f"ratio {ours / alone:.2f} (target {TARGET:g}); stdlib json {plain / alone:.1f}x"
    )


def _write(path: Path, lines: int) -> float:
    rng = random.Random(1)
    start = datetime(2026, 11, 23, 19, 0, tzinfo=UTC)
    with path.open("w") as stream:
        for i in range(lines):
            at = start + timedelta(milliseconds=i)
            record = {
                "ts": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
                "route": rng.choice(("chat", "claude", "gemini", "responses")),
                "org": f"org-{rng.randrange(50)}",
                "side": rng.choice(("tokenlab", "previous")),
                "model": "gpt-5.4",
                "status": rng.choice((200, 200, 200, 503)),
                "latency_ms": round(rng.lognormvariate(6, 0.5), 1),
                "request_id": f"req_{i:016d}",
            }
            stream.write(json.dumps(record, separators=(",", ":")) + "\n")
    return (start + timedelta(milliseconds=lines)).timestamp()


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:2]))
