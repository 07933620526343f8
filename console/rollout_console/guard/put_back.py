"""Putting orgs back into the ramp that the guard took them out of: for a key and for a command."""

from rollout_console.changes.switch import Switch
from rollout_console.common.errors import ReadOnly
from rollout_console.guard.ramp_record import RampRecord, RouteRamp


def put_back(switch: Switch, route: str, org: str | None) -> list[str]:
    """Put an org, or all of a route, back into its ramp; return which.

    Each is a row of the history, with why it was out. Raises ReadOnly and StoreError; nothing is
    done then.
    """
    if switch.read_only:
        raise ReadOnly
    record = RampRecord(switch.path)
    out = record.read().get(route, RouteRamp()).out
    found = {name: one.why for name, one in out.items() if org in (None, name)}
    if found:
        record.put_back(route, found)
    for name, why in found.items():
        switch.note("put_back", route, name, "out of its ramp", "in its ramp", why)
    return list(found)
