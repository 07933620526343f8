"""The public API of the library that applications import.

``Gate(path).decide(route, org)`` decides; ``rollout_gate.http`` makes HTTP clients for the SDKs
that decide and log by themselves; ``with subject(...)`` sets the subject of a block's requests.
"""

from rollout_gate.access_log import AccessLine, AccessLog, timestamp
from rollout_gate.context import subject
from rollout_gate.decision.decision import Decision
from rollout_gate.gate import Gate

__all__ = ["AccessLine", "AccessLog", "Decision", "Gate", "subject", "timestamp"]
