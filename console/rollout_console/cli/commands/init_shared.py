"""``init`` on an address of etcd: put the text of a rollout file there, as the first version."""

import json
from argparse import Namespace
from functools import partial
from pathlib import Path

from rollout_console.cli.exit_codes import CONFLICT, DONE, USAGE
from rollout_console.cli.outcome import Outcome
from rollout_console.cli.prompts import say
from rollout_console.common.safe_text import visible
from rollout_console.fleet.shared_file import SharedFile
from rollout_gate.file.parse import parse
from rollout_gate.file.read import read_file
from rollout_gate.file.revision import SHORT


def init_shared(options: Namespace, shared: SharedFile) -> int:
    """Make the key from the text of ``--from-file``; one that is there is left as it is."""
    if not options.dry_run:
        options.access.require()
    if shared.view.file is not None:
        say(
            f"rollout-console: {shared.name} exists, and is left as it is; look at it with"
            f" rollout-console -f {shared.location} show"
        )
        return CONFLICT
    if not options.from_file:
        say(
            "rollout-console: write a rollout file first (rollout-console init), and put it into"
            " etcd with --from-file PATH"
        )
        return USAGE
    data, _ = read_file(Path(options.from_file))
    file = parse(data)  # raises for one that cannot be used
    if not options.dry_run:
        with Outcome(shared) as outcome:
            outcome.of(
                f"putting {options.from_file} into {shared.name}", partial(shared.create, data)
            )
    wrote = "would write" if options.dry_run else "wrote"
    routes = len(file.routes)
    words = f"{wrote} {shared.location}: {routes} route{'' if routes == 1 else 's'}"
    if options.json:
        body = {"path": shared.location, "written": not options.dry_run, "revision": file.revision}
        print(json.dumps(body, indent=2))
    else:
        print(f"{visible(words)}, as in {visible(options.from_file)} (revision"
              f" {file.revision[:SHORT]})")  # fmt: skip
    return DONE
