"""The probe log: evidence of health before there is traffic, and never counted as traffic."""

import errno
import os
from datetime import datetime
from pathlib import Path

import msgspec

from rollout_console.common.durations import seconds_text
from rollout_console.common.folders import folder_of
from rollout_console.health.log.multi_file import PROBES, is_pattern
from rollout_gate.file.model import RolloutFile
from rollout_gate.untrusted import decode_json


class ProbeLine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A line of the probe log: an access-log line with ``probe`` set and an empty org."""

    ts: str
    route: str
    side: str
    model: str
    status: int
    latency_ms: float
    org: str
    probe: bool
    stream: bool = False
    ttft_ms: float | None = None
    error: str | None = None
    request_id: str | None = None
    billing_transaction_id: str | None = None
    task_id: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def at(self) -> float:
        """The time of the probe, in epoch seconds."""
        return datetime.fromisoformat(self.ts).timestamp()


_probe_line_of = msgspec.json.Decoder(ProbeLine)


def probe_log_path(path: Path, file: RolloutFile) -> Path:
    """Return the path of the probe log: next to the access log but separate from traffic."""
    log = folder_of(path) / file.access_log
    return log.with_name(("access" if is_pattern(log) else log.stem) + PROBES)


def append_probe(log: Path, line: ProbeLine) -> str:
    """Append a line in one unbuffered write; return the error, empty on success.

    A line that a full disk has cut is ended first, so that this one is not lost with it.
    """
    data = msgspec.json.encode(line) + b"\n"
    try:
        with log.open("ab+", buffering=0) as stream:
            if size := stream.seek(0, os.SEEK_END):
                stream.seek(size - 1)
                data = data if stream.read(1) == b"\n" else b"\n" + data
            if stream.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        return f"{log} cannot be written: {error.strerror}"
    return ""


def last_probes(log: Path, most_bytes: int = 256 * 1024) -> dict[tuple[str, str], ProbeLine]:
    """Return the newest probe of each route and side, from the last ``most_bytes`` of the log.

    Non-streaming and streaming probes are tracked separately: where the newest of either failed,
    the failed one is returned.
    """
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - most_bytes))
            lines = stream.read(most_bytes).split(b"\n")
    except OSError:
        return {}
    newest: dict[tuple[str, str], dict[bool, ProbeLine]] = {}
    for line in lines:
        try:
            one = decode_json(line, _probe_line_of)
            datetime.fromisoformat(one.ts)
        except ValueError:  # UndecodableError, or an invalid timestamp
            continue  # the tail begins inside a line, or a write was torn
        known = newest.setdefault((one.route, one.side), {})
        if any(other.model != one.model for other in known.values()):
            known.clear()  # probes of another model are no evidence for this one
        known.pop(one.stream, None)  # re-insert: dict order is by time, the newest last
        known[one.stream] = one
    return {
        place: next((one for one in known.values() if one.problems), [*known.values()][-1])
        for place, known in newest.items()
    }


def probe_text(probe: ProbeLine, now: float) -> str:
    """Return the result and age of a probe in words; ``now`` is in epoch seconds."""
    said = "ok" if not probe.problems else f"FAILED: {probe.problems[0]}"
    return f"{said}, {seconds_text(round(max(0.0, now - probe.at)))} ago"
