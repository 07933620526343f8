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
    "/v1/videos/",
)
"""Paths for the faults of an API key, so that management requests stay unaffected; of tasks the
creates, as an open one is worth waiting for."""

SICK_ORG = "globex.eu"
"""An org of the traffic with shares of TokenLab on four of the five routes."""

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
        Incident(
            "error inside 200",
            "a third of the answers is a 200 with an error in it",
            (
                {"kind": "failure", "share": 0.2},
                {"kind": "failure", "variant": "ending", "share": 0.1},
                {"kind": "failure", "code": "overloaded", "after": 4, "share": 0.1},
            ),
        ),
        Incident(
            "cut streams",
            "a third of the answers ends early, and its connection ends well",
            ({"kind": "cut", "after": 4, "share": 0.35},),
        ),
        Incident(
            "empty answers",
            "a third of the answers is a 200 with nothing in it",
            ({"kind": "empty", "share": 0.25}, {"kind": "empty", "variant": "bare", "share": 0.1}),
        ),
        Incident(
            "slow first token",
            "four of five streams begin at once, and say nothing for 6 s",
            ({"kind": "stall", "latency_ms": 6000, "share": 0.8},),
        ),
        Incident(
            "one sick org",
            f"80% of the requests of {SICK_ORG} answer 503, all others are well",
            tuple(
                {"status": 503, "share": 0.8, "org": SICK_ORG, "path": path} for path in _INFERENCE
            ),
        ),
        Incident(
            "failed jobs",
            "half of the videos fail after their create was answered with 200",
            ({"kind": "task_failed", "share": 0.5},),
        ),
    )
}
ALL_CLEAR = "all clear"


def start_incident(base_url: str, name: str, *, route: str = "") -> None:
    """Set the faults of an incident, on one route or all; earlier faults are cleared.

    Raises KeyError for an unknown name, httpx.HTTPError if the simulator is unreachable.
    """
    clear_incidents(base_url)
    add_incident(base_url, name, route=route)


def add_incident(base_url: str, name: str, *, route: str = "") -> None:
    """Add the faults of an incident, on one route or all, to those that there are.

    Raises KeyError for an unknown name, httpx.HTTPError if the simulator is unreachable.
    """
    faults = INCIDENTS[name].faults
    with httpx.Client(base_url=base_url, timeout=5.0, trust_env=False) as client:
        for fault in faults:
            answer = client.post("/_sim/faults", json={"side": "tokenlab", "route": route, **fault})
            answer.raise_for_status()


def clear_incidents(base_url: str) -> None:
    """Clear every fault; raises httpx.HTTPError if the simulator is unreachable."""
    with httpx.Client(base_url=base_url, timeout=5.0, trust_env=False) as client:
        client.delete("/_sim/faults").raise_for_status()
