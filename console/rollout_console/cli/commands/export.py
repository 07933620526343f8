"""``export``: the rollout file in another tool's words."""

import json
import sys
from argparse import Namespace

from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE
from rollout_console.common.safe_text import visible
from rollout_console.export.flagd import CONTEXT, GENERATIONS, as_flagd
from rollout_console.export.writing import write_export


def export(options: Namespace, switch: Switch) -> int:
    """Print the file as flagd's JSON, or write it to ``--out`` in one piece."""
    file = switch.open().file
    text = json.dumps(as_flagd(file), indent=2, ensure_ascii=False) + "\n"
    data = text.encode("utf-8", "backslashreplace")
    if options.out is None:
        sys.stdout.write(data.decode())
    else:
        write_export(options.out, data, source=switch.path)
        print(f"{visible(str(options.out))}: {len(file.routes)} flags", file=sys.stderr)
    print(f"warning: {GENERATIONS}", file=sys.stderr)
    print(f"note: targetingKey is {CONTEXT['targetingKey']}", file=sys.stderr)
    return DONE
