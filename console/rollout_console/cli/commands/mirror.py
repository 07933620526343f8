"""``mirror``: keep a local rollout file as it is in etcd, one such service on each server."""

import json
import os
import sys
import time
from argparse import Namespace
from datetime import UTC, datetime

from rollout_console.changes.clocks import MOST_SKEW_S, skew_text
from rollout_console.changes.spread import Registered
from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.common.durations import seconds_text
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.common.stop_signal import stop_on_signals
from rollout_console.common.write_access import WriteAccess
from rollout_console.etcd.answers import Range
from rollout_console.etcd.client import EtcdClient
from rollout_console.mirror.mirror import Mirror
from rollout_console.mirror.registration import (
    LEASE_S,
    Registration,
    forget,
    mirrors_key,
    registered,
    servers_key,
)
from rollout_console.mirror.service import MirrorService
from rollout_gate.file.revision import SHORT, revision_of
from rollout_gate.secret import redacted
from rollout_gate.systemd import Systemd

_MOST_AGE_S = 4.0 * LEASE_S
"""The age of a registration whose lease lives is less by far, also after an election in etcd,
unless it could not be written since."""


def mirror(options: Namespace, switch: Switch) -> int:
    """Mirror until a signal; with ``--once`` one time."""
    switch.access.require()
    with EtcdClient.of(options.address, os.environ) as client:
        mirrored = Mirror(switch, client.address.key, _tell, str(client.address))
        host = switch.who.host
        registration = Registration(client, client.address.key, host, str(switch.path.absolute()))
        service = MirrorService(client, mirrored, registration, _tell)
        if options.once:
            answer = client.get(client.address.key)
            mirrored.take(
                answer.values[0] if answer.values else None, answer.cluster, answer.revision
            )
            return PROBLEMS if mirrored.standing.trouble else DONE
        _run(service)
    return DONE


def mirrors(options: Namespace) -> int:
    """List the mirrors: who has the version of now, who lags, who is latched, who is gone.

    Exit code 1 where one of them has not the version of now, or says that something is wrong.
    """
    with EtcdClient.of(options.address, os.environ) as client:
        key = client.address.key
        now, said, servers = client.read(
            Range(key), Range(mirrors_key(key), prefix=True), Range(servers_key(key), prefix=True)
        )
        found = registered(said.values, servers.values)
    current = revision_of(now.values[0].data) if now.values else ""
    behind = [one for one in found if one.revision != current]
    if options.json:
        print(json.dumps(_as_json(found, current), indent=2))
    else:
        has = counted(len(found) - len(behind), "mirror")
        print(f"revision {current[:SHORT] or '(none)'}: {has} of {len(found)}")
        for one in found:
            print(visible(_line(one, current)))
    return PROBLEMS if behind or any(one.trouble for one in found) else DONE


def forget_server(options: Namespace) -> int:
    """Forget a server that is no more, so that nobody misses its mirror."""
    WriteAccess(read_only=options.read_only).require()
    with EtcdClient.of(options.address, os.environ) as client:
        count = forget(client, client.address.key, options.forget)
    if not count:
        print(f"rollout-console: no server {visible(options.forget)} is known", file=sys.stderr)
        return PROBLEMS
    print(f"{visible(options.forget)} is forgotten; it is known again once it mirrors")
    return DONE


def _run(service: MirrorService) -> None:
    stop = stop_on_signals()
    systemd = Systemd(os.environ)
    service.turn()
    systemd.ready()
    service.run(stop, lambda words: systemd.keep_alive(visible(words)))
    systemd.ends()


def _line(one: Registered, current: str) -> str:
    said = "current" if one.revision == current else f"behind: {one.revision[:SHORT] or 'nothing'}"
    parts = [f"{one.host:24} {'no heartbeat' if one.gone else said}, {_age_text(one)}, {one.path}"]
    if one.latched:
        parts.append(f"rolled back there alone: {', '.join(one.latched)}")
    if one.trouble:
        parts.append(one.trouble)
    return "; ".join(parts)


def _age_text(one: Registered) -> str:
    """Return how long ago a mirror registered, or what that tells of its clock."""
    age = time.time() - one.at
    if age < -MOST_SKEW_S:
        return f"its clock is {skew_text(age)} ahead"
    if not one.gone and age > _MOST_AGE_S:
        # Etcd renews a lease also where it refuses to write, as without space.
        return f"its clock is {skew_text(age)} behind or its heartbeats are refused"
    return f"{'last registered ' if one.gone else ''}{seconds_text(max(age, 0.0))} ago"


def _as_json(found: list[Registered], current: str) -> dict[str, object]:
    return {
        "revision": current,
        "mirrors": [
            {
                "host": one.host,
                "path": one.path,
                "revision": one.revision,
                "current": one.revision == current,
                "gone": one.gone,
                "latched": list(one.latched),
                "trouble": one.trouble,
                "at": _time_of(one.at),
            }
            for one in found
        ],
    }


def _time_of(at: float) -> str | None:
    """Return a time as RFC 3339; None for a number that is none: each server writes its own."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    except (OSError, OverflowError, ValueError):
        return None


def _tell(words: str) -> None:
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    print(f"{at}  {visible(redacted(words))}", file=sys.stderr, flush=True)
