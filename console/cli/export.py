"""``export``: the rollout file in another tool's words."""

import json
import sys
from argparse import Namespace

from console.cli.codes import DONE
from console.operations.export import write_export
from console.operations.flagd import CONTEXT, GENERATIONS, as_flagd
from console.operations.switch import Switch
from console.operations.visible import visible


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
