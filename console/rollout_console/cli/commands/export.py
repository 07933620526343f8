"""``export``: the rollout file as flagd's JSON, or the JSON Schema of the file."""

import json
import sys
from argparse import Namespace

from rollout_console.changes.output_file import write_output
from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible


def export(options: Namespace, switch: Switch) -> int:
    """Print what was asked for, or write it atomically to ``--out``."""
    return _flagd(options, switch) if options.form == "flagd" else _schema(options, switch)


def _flagd(options: Namespace, switch: Switch) -> int:
    from rollout_console.export.flagd import CONTEXT, GENERATIONS, as_flagd

    file = switch.open().file
    _write(options, switch, as_flagd(file), '"flags"', counted(len(file.routes), "flag"))
    print(f"warning: {GENERATIONS}", file=sys.stderr)
    print(f"note: targetingKey is {CONTEXT['targetingKey']}", file=sys.stderr)
    return DONE


def _schema(options: Namespace, switch: Switch) -> int:
    from rollout_console.export.json_schema import json_schema

    schema = json_schema()
    _write(options, switch, schema, schema["title"], "the JSON Schema of the rollout file")
    return DONE


def _write(options: Namespace, switch: Switch, value: object, mark: str, about: str) -> None:
    """Print, or write to a file; ``mark`` is a text by which an earlier export is known."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    data = text.encode("utf-8", "backslashreplace")
    if options.out is None:
        sys.stdout.write(data.decode())
    else:
        switch.access.require()
        write_output(
            options.out, data, rollout_file=switch.path, what=f"an export of {options.form}",
            is_what=lambda head: head.lstrip()[:1] == b"{" and mark.encode() in head,
        )  # fmt: skip
        print(f"{visible(str(options.out))}: {about}", file=sys.stderr)
