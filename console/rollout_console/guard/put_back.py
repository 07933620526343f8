"""Putting orgs back into the ramp that the guard took them out of, for screen and command."""

from rollout_console.changes.switch import Switch
from rollout_console.guard.ramp_record import RampRecord, RouteRamp


def put_back(switch: Switch, route: str, org: str | None) -> list[str]:
    """Put an org, or (None) all orgs of a route, back into the ramp; return their names.

    Each is recorded in the history, with the reason it was out. Raises ReadOnly and StoreError,
    with nothing changed.
    """
    switch.access.require()
    record = RampRecord(switch.path, switch.access, switch.publisher("guard"))
    out = record.read().get(route, RouteRamp()).out
    found = {name: one.why for name, one in out.items() if org in (None, name)}
    if found:
        record.put_back(route, found)
    for name, why in found.items():
        switch.note("put_back", route, name, "out of its ramp", "in its ramp", why)
    return list(found)
