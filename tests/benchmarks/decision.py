"""One decision against the floor: a dict look-up, the CBOR head, mmh3.hash of the same bytes."""

from collections.abc import Callable

import mmh3

from console.rollout.bucket import bucket_prefix
from console.rollout.decision import Decider
from console.rollout.parse import parse
from tests.benchmarks.timing import in_turn

CALLS = 20_000
TARGET = 1.5


def main() -> None:
    """Print the ratios at 10, 10,000 and 100,000 orgs."""
    for orgs in (10, 10_000, 100_000):
        floor, ours = in_turn(*_runs(orgs))
        print(
            f"decision, {orgs:>7,} orgs: floor {1e6 * floor / CALLS:.2f} us, "
            f"ours {1e6 * ours / CALLS:.2f} us, ratio {ours / floor:.2f} (target {TARGET})"
        )


def _runs(orgs: int) -> tuple[Callable[[], None], Callable[[], None]]:
    lines = "".join(f"org-{i} = {i % 101}\n" for i in range(orgs))
    head = 'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\nformat = "image"\n'
    text = f"{head}[routes.chat.orgs]\n{lines}"
    file = parse(text.encode())
    shares = {org: share.points or 0 for org, share in file.routes["chat"].orgs.items()}
    prefix = bucket_prefix("chat")
    asked = [(f"org-{i * 7 % orgs}", f"user-{i}") for i in range(CALLS)]

    def floor() -> None:
        for org, key in asked:
            raw = key.encode()
            bucket = mmh3.hash(prefix + bytes((0x60 | len(raw),)) + raw, 0, False) * 10_000 >> 32
            _ = bucket < shares[org]

    decide = Decider(file).decide

    def ours() -> None:
        for org, key in asked:
            decide("chat", org, key=key)

    return floor, ours
