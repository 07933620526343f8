"""One decision against the floor: a dict look-up, the CBOR head, mmh3.hash of the same bytes."""

from collections.abc import Callable
from functools import partial

import mmh3
from msgspec.structs import replace

from rollout_gate.bucketing import bucket_prefix
from rollout_gate.decision.decision import Decider
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from tests.benchmarks.timing import in_turn

CALLS = 20_000
TARGET = 1.4
_FLAGS = ("other", "beta")
_OTHERS = (
    "an org without a line", "a rolled-back org", "a rolled-back route", "a key alias", "two flags",
)  # fmt: skip

Decide = Callable[..., object]

_HEAD = """schema = 1
algorithm = "fractional-v3"
[routes.chat]
format = "image"
[routes.chat.keys]
gold = 50
[routes.chat.flags]
beta = 50
[routes.chat.orgs]
"""


def main() -> None:
    """Print the ratios at 10, 10,000 and 100,000 orgs: the usual request, then the others."""
    for orgs in (10, 10_000, 100_000):
        floor_run, usual_run, *runs = _runs(orgs)
        floor, usual = in_turn(floor_run, usual_run)
        print(
            f"decision, {orgs:>7,} orgs: floor {1e6 * floor / CALLS:.2f} us, "
            f"ours {1e6 * usual / CALLS:.2f} us, ratio {usual / floor:.2f} (target {TARGET})"
        )
        floor, *others = in_turn(floor_run, *runs)  # apart: more data at once is more cache missed
        named = zip(_OTHERS, others, strict=True)
        print("  " + ", ".join(f"{name} {taken / floor:.2f}" for name, taken in named))


def _runs(orgs: int) -> list[Callable[[], None]]:
    """Return the floor, the usual request (an org that has a line), and those of _OTHERS."""
    lines = "".join(f"org-{i} = {i % 101}\n" for i in range(orgs))
    file = parse((_HEAD + lines).encode())
    shares = {org: share.points or 0 for org, share in file.routes["chat"].orgs.items()}
    prefix = bucket_prefix("chat")
    asked = [(f"org-{i * 7 % orgs}", f"user-{i}") for i in range(CALLS)]

    def floor() -> None:
        for org, key in asked:
            raw = key.encode()
            bucket = mmh3.hash(prefix + bytes((0x60 | len(raw),)) + raw, 0, False) * 10_000 >> 32
            _ = bucket < shares[org]

    def asking(file: RolloutFile, end: str = "") -> tuple[Decide, list[tuple[str, str]]]:
        return Decider(file).decide, [(org + end, key) for org, key in asked]

    def usual(decide: Decide, asked: list[tuple[str, str]]) -> None:
        for org, key in asked:
            decide("chat", org, key=key)

    def with_alias(decide: Decide, asked: list[tuple[str, str]]) -> None:
        for org, key in asked:
            decide("chat", org, key=key, key_alias="gold")

    def with_flags(decide: Decide, asked: list[tuple[str, str]]) -> None:
        for org, key in asked:
            decide("chat", org, key=key, flags=_FLAGS)

    chat = file.routes["chat"]
    all_latched = {org: replace(line, rolled_back=True) for org, line in chat.orgs.items()}
    latched = replace(file, routes={"chat": replace(chat, orgs=all_latched)})
    route_latched = replace(file, routes={"chat": replace(chat, rolled_back=True)})
    return [
        floor,
        partial(usual, *asking(file)),
        partial(usual, *asking(file, "-of-nobody")),
        partial(usual, *asking(latched)),
        partial(usual, *asking(route_latched)),
        partial(with_alias, *asking(file)),
        partial(with_flags, *asking(file)),
    ]
