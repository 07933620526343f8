"""What an application imports.

``Gate(path).decide(route, org)`` decides; ``console.gate.http`` makes clients for the SDKs that
decide and log by themselves; ``subject(...)`` says for whom the requests of a block are.
"""

from console.gate.access_log import AccessLine, AccessLog, timestamp
from console.gate.gate import Gate
from console.gate.subject import subject
from console.rollout.decision import Decision

__all__ = ["AccessLine", "AccessLog", "Decision", "Gate", "subject", "timestamp"]
