"""Incidents to practise on: each is a set of faults injected into the TokenLab side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Incident:
    """A named incident: its description, and the faults that simulate it."""

    name: str
    about: str
    faults: tuple[Mapping[str, Any], ...]


_INFERENCE = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1beta/models/",
)
"""Paths for the faults of an API key, so that management requests stay unaffected."""

INCIDENTS: Mapping[str, Incident] = {
    incident.name: incident
    for incident in (
        Incident(
            "5xx storm",
            "35% of requests answer 502 or 503",
            ({"kind": "error", "status": 503, "share": 0.25}, {"status": 502, "share": 0.12}),
        ),
        Incident(
            "slow",
            "four of five requests take 9 s longer",
            ({"kind": "slow", "latency_ms": 9000, "share": 0.8},),
        ),
        Incident(
            "rate limit",
            "half of the requests answer 429",
            tuple({"status": 429, "share": 0.5, "path": path} for path in _INFERENCE),
        ),
        Incident(
            "wrong key",
            "every request answers 401",
            tuple({"status": 401, "path": path} for path in _INFERENCE),
        ),
        Incident(
            "garbage",
            "a third of the answers is a web page, or breaks off",
            ({"kind": "garbage", "share": 0.25}, {"kind": "truncate", "share": 0.1}),
        ),
    )
}
ALL_CLEAR = "all clear"


def start_incident(base_url: str, name: str, *, route: str = "") -> None:
    """Set the faults of an incident, on one route or all; earlier faults are cleared.

    Raises KeyError for an unknown name, httpx.HTTPError if the simulator is unreachable.
    """
    faults = INCIDENTS[name].faults
    with httpx.Client(base_url=base_url, timeout=5.0, trust_env=False) as client:
        client.delete("/_sim/faults").raise_for_status()
        for fault in faults:
            answer = client.post("/_sim/faults", json={"side": "tokenlab", "route": route, **fault})
            answer.raise_for_status()


def clear_incidents(base_url: str) -> None:
    """Clear every fault; raises httpx.HTTPError if the simulator is unreachable."""
    with httpx.Client(base_url=base_url, timeout=5.0, trust_env=False) as client:
        client.delete("/_sim/faults").raise_for_status()
