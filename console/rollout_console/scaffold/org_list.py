"""Read a list of orgs: one a line, a column of a CSV, or the lines of an access log."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from rollout_console.scaffold.draft import org_problem
from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.fields import NAMES, choose, normalized, value_at
from rollout_console.scaffold.records import Record, Records, Skipped

_SAMPLE = 1_000


def read_orgs(path: Path, *, org_field: str = "") -> tuple[list[str], Skipped]:
    """Return the orgs that a file names, each once, in its order, and what could not be used.

    Raises ScaffoldError where the file cannot be read, or has no field of orgs.
    """
    records = Records(path, _names_orgs)
    found: dict[str, None] = {}
    if records.kind == "server log":
        records.close()
        raise ScaffoldError(f"{path} is a server's log; take it with --from-openai-log")
    for line, org in _texts(records, org_field):
        if not org:
            records.skipped.add(line, "it names no org")
        elif problem := org_problem(org):
            records.skipped.add(line, f"the org {problem}")
        else:
            found[org] = None
    if not found:
        why = next(iter(records.skipped.all()), None)
        first = f"; line {why[2]}: {why[0]}" if why is not None else ""
        raise ScaffoldError(f"{path} names no org{first}")
    return list(found), records.skipped


def _texts(records: Records, org_field: str) -> Iterator[tuple[int, str]]:
    if records.kind == "CSV" and _is_plain(records, org_field):
        name = records.columns[0]
        yield 1, name
        for record in records:
            yield record.line, value_at(record.fields, (name,))
        return
    stream = iter(records)
    sample = list(islice(stream, _SAMPLE))
    chosen = choose([record.fields for record in sample], org_field=org_field, roles=("org",))
    if not chosen.places["org"] and sample:
        raise ScaffoldError(f"{records.path} has no field of orgs; {_named(sample[0])}")
    for record in chain(sample, stream):
        yield record.line, chosen.text("org", record.fields)


def _is_plain(records: Records, org_field: str) -> bool:
    """Return whether the file is a list of names without a header."""
    return not org_field and len(records.columns) == 1 and not _names_orgs(records.columns[0])


def _names_orgs(column: str) -> bool:
    return normalized(column) in NAMES["org"]


def _named(record: Record) -> str:
    shown = ", ".join(str(name)[:40] for name in list(record.fields)[:20])
    return f"name one with --org-field; its first record has: {shown}"
