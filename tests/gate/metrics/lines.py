"""Records of the access log, and what of them is in a registry."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from rollout_gate import AccessLine, timestamp

LINE: dict[str, Any] = {
    "route": "chat", "org": "acme", "side": "tokenlab", "model": "m", "status": 200,
    "latency_ms": 812.5, "outcome": "ok",
}  # fmt: skip


def a_line(**fields: Any) -> AccessLine:
    return AccessLine(**{"ts": timestamp(), **LINE, **fields})


def samples(text: str | bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Values by name and labels, of an exposition."""
    decoded = text.decode() if isinstance(text, bytes) else text
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(decoded)
        for one in family.samples
    }


def values(text: str | bytes, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Values of a metric by the labels that are not given."""
    given = set(labels.items())
    return {
        tuple(sorted(set(found) - given)): value
        for (one, found), value in samples(text).items()
        if one == name and given <= found
    }


def total(text: str | bytes, name: str, **labels: str) -> float:
    return sum(values(text, name, **labels).values())


def label_values(registry: CollectorRegistry, label: str) -> Iterator[str]:
    for family in registry.collect():
        for one in family.samples:
            if label in one.labels:
                yield one.labels[label]
