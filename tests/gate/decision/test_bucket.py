"""The bucket: the published vectors, and parity with the implementation it is pinned to."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from rollout_gate.bucketing import bucket_of, bucket_prefix, cbor_text

VECTORS = [
    ("tokenlab-chat", "org_acme", 2441),
    ("tokenlab-messages", "org_acme", 4065),
    ("tokenlab-gemini", "org_ümlaut", 3303),
    ("tokenlab-chat-completions", "org_0f9c2d7e-5b1a-4e0e-9a57-3f2d1c8b7a60", 8134),
]


@pytest.mark.parametrize(("route", "key", "bucket"), VECTORS)
def test_vectors(route: str, key: str, bucket: int) -> None:
    assert bucket_of(route, key) == bucket


def test_the_bytes_are_canonical_cbor() -> None:
    import cbor2

    for size in (0, 1, 23, 24, 255, 256, 65_535, 65_536):
        text = "x" * size
        assert cbor_text(text) == cbor2.dumps(text, canonical=True)
    assert bucket_prefix("a") + cbor_text("b") == cbor2.dumps(["a", "b"], canonical=True)


def test_parity_with_flagd_core_over_20_000_triples() -> None:
    rng = random.Random(20261123)
    alphabet = "abcxyz019-_. éüß漢字😀"
    checked = 0
    for _ in range(40):
        route = "".join(rng.choices(alphabet, k=rng.randint(1, 40)))
        points = rng.randint(0, 10_000)
        core = FlagdCore()
        split = [["tokenlab", points], ["previous", 10_000 - points]]
        flag = {
            "state": "ENABLED",
            "variants": {"tokenlab": "tokenlab", "previous": "previous"},
            "defaultVariant": "previous",
            "targeting": {"fractional": split},
        }
        core.set_flags(json.dumps({"flags": {route: flag}}))
        for _ in range(510):
            key = "".join(rng.choices(alphabet, k=rng.randint(1, 60)))
            theirs = core.resolve_string_value(route, "?", EvaluationContext(targeting_key=key))
            ours = "tokenlab" if bucket_of(route, key) < points else "previous"
            assert theirs.value == ours, (route, key, points)
            checked += 1
    assert checked >= 20_000


@given(st.text(), st.text())
def test_every_text_has_a_bucket(route: str, key: str) -> None:
    assert 0 <= bucket_of(route, key) <= 9999


def test_a_lone_surrogate_has_a_bucket_too() -> None:
    assert 0 <= bucket_of("chat", "\ud800") <= 9999


@settings(max_examples=30, derandomize=True)
@given(st.text(min_size=1, max_size=30), st.integers(1, 9999))
def test_the_share_is_within_four_standard_errors(route: str, points: int) -> None:
    n = 5_000
    taken = sum(bucket_of(route, f"subject-{i}") < points for i in range(n))
    p = points / 10_000
    assert abs(taken / n - p) <= 4 * math.sqrt(p * (1 - p) / n)


@given(st.text(), st.text(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_raise_never_removes_a_subject(route: str, key: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    bucket = bucket_of(route, key)
    assert not (bucket < low) or bucket < high
