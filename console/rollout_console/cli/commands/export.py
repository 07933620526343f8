"""``export``: the rollout file as flagd's JSON, or the JSON Schema of the file."""

import json
import sys
from argparse import Namespace

from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE
from rollout_console.common.safe_text import visible
from rollout_console.export.writing import write_export


def export(options: Namespace, switch: Switch) -> int:
    """Print what was asked for, or write it atomically to ``--out``."""
    return _flagd(options, switch) if options.form == "flagd" else _schema(options, switch)


def _flagd(options: Namespace, switch: Switch) -> int:
    from rollout_console.export.flagd import CONTEXT, GENERATIONS, as_flagd

    file = switch.open().file
    _write(options, switch, as_flagd(file), f"{len(file.routes)} flags")
    print(f"warning: {GENERATIONS}", file=sys.stderr)
    print(f"note: targetingKey is {CONTEXT['targetingKey']}", file=sys.stderr)
    return DONE


def _schema(options: Namespace, switch: Switch) -> int:
    from rollout_console.export.json_schema import json_schema

    _write(options, switch, json_schema(), "the JSON Schema of the rollout file")
    return DONE


def _write(options: Namespace, switch: Switch, value: object, about: str) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    data = text.encode("utf-8", "backslashreplace")
    if options.out is None:
        sys.stdout.write(data.decode())
    else:
        switch.access.require()
        write_export(options.out, data, source=switch.path)
        print(f"{visible(str(options.out))}: {about}", file=sys.stderr)
