"""What an application imports: ``Gate(path).decide(route, org)`` and the access log's writer."""

from console.gate.access_log import AccessLine, AccessLog, timestamp
from console.gate.gate import Gate
from console.rollout.decision import Decision

__all__ = ["AccessLine", "AccessLog", "Decision", "Gate", "timestamp"]
