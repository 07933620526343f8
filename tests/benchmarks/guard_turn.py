"""One turn of the guard over many orgs on a ramp: nothing to do, and twenty steps to take.

The floor of the first is parsing the file once; of the second, twenty durable writes of its bytes.
"""

import random
import tempfile
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.demo import let_it_be_old
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.loop import GuardLoop, Turn
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.ramp import MOST_A_TURN
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from tests.benchmarks.timing import durable_write, in_turn, seconds

_READY_EVERY = 50
"""One org of so many has had requests enough for its next step."""
_TURNS = 5


def main() -> None:
    """Print how long turns take at 1,000 and 10,000 orgs."""
    for orgs in (1_000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), orgs)


def _measure(folder: Path, orgs: int) -> None:
    now = time.time()
    path = folder / "rollout.toml"
    text = _rollout(orgs)
    path.write_text(text)
    _log(folder / "access.jsonl", orgs, now)
    clock = [now]
    switch = Switch(
        path, History(folder / "h.sqlite3"), Actor("guard", "bench"),
        clock=lambda: datetime.fromtimestamp(clock[0], UTC),
    )  # fmt: skip
    let_it_be_old(switch.history, path)
    guarding = GuardLoop(switch, Monitor(path, switch.open().file))
    guarding.start(now)
    busy: list[float] = []
    idle: list[float] = []
    while len(idle) < _TURNS:
        clock[0] += 0.5
        start = time.perf_counter()
        turn: Turn = guarding.turn(BalanceWatch(), {}, clock[0])
        took = time.perf_counter() - start
        assert turn.acts
        assert not turn.trouble
        raises = sum(event.kind == "raise" for event in turn.events)
        if raises == MOST_A_TURN:
            busy.append(took)
        elif not raises:
            idle.append(took)
    guarding.end()
    data = text.encode()
    writes = MOST_A_TURN * in_turn(lambda: durable_write(folder, data))[0]
    whole = seconds(lambda: tomllib.loads(text))
    steps = f"{max(busy):.2f} s ({max(busy) / writes:.1f} times their bare writes)" if busy else "-"
    print(
        f"guard turn, {orgs:>6,} orgs on a ramp: nothing to do {min(idle):.3f} s "
        f"({min(idle) / whole:.1f} times parsing the file once); {MOST_A_TURN} steps {steps}"
    )


def _rollout(orgs: int) -> str:
    lines = "".join(f"org-{i} = 1\n" for i in range(orgs))
    return f"""schema = 1
algorithm = "fractional-v3"
[health]
access_log = "access.jsonl"
[guard]
mode = "enforce"
window = "5m"
[ramp]
steps = [1, 5, 100]
bake = "5m"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
phase = "rollout"
previous_base_url = "https://previous.example/v1"
[routes.chat.orgs]
{lines}"""


def _log(path: Path, orgs: int, now: float) -> None:
    rng = random.Random(1)
    requests = [f"org-{i}" for i in range(orgs) for _ in range(140 if i % _READY_EVERY == 0 else 3)]
    rng.shuffle(requests)
    with path.open("w") as log:
        for i, org in enumerate(requests):
            at = datetime.fromtimestamp(now - 240 + 240 * i / len(requests), UTC)
            log.write(
                f'{{"ts":"{at:%Y-%m-%dT%H:%M:%S.%f}Z","route":"chat","org":"{org}",'
                f'"side":"tokenlab","status":200,"latency_ms":100.0}}\n'
            )
