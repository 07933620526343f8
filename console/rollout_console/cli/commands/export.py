"""``export``: the rollout file as flagd's JSON, or the JSON Schema of the file."""

import json
import os
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Callable

from rollout_console.changes.output_file import write_output
from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_gate.file.model import RolloutFile
from rollout_gate.systemd import Systemd


def export(options: Namespace, switch: Switch) -> int:
    """Print what was asked for, or write it atomically to ``--out``."""
    return _flagd(options, switch) if options.form == "flagd" else _schema(options, switch)


def _flagd(options: Namespace, switch: Switch) -> int:
    from rollout_console.export.flagd import CONTEXT, GENERATIONS, as_flagd

    def write(file: RolloutFile) -> str:
        return _write(options, switch, as_flagd(file), '"flags"', counted(len(file.routes), "flag"))

    file = switch.open().file  # a file that cannot be used is refused before anything is written
    done = write(file)
    print(f"warning: {GENERATIONS}", file=sys.stderr)
    print(f"note: targetingKey is {CONTEXT['targetingKey']}", file=sys.stderr)
    if done:
        _say(done)
    if options.follow:
        _follow(options, switch, file, write)
    return DONE


def _follow(
    options: Namespace, switch: Switch, file: RolloutFile, write: Callable[[RolloutFile], str]
) -> None:
    from rollout_console.export.follower import ExportFollower

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    follower = ExportFollower(
        switch.path,
        options.out,
        lambda file: f"{write(file)}, revision {file.revision[:12]}",
        _say,
    )
    follower.wrote(file)
    systemd = Systemd(os.environ)
    systemd.ready()
    try:
        follower.run(stop, lambda words: systemd.keep_alive(visible(words)))
    finally:
        systemd.ends()
        follower.close()


def _say(words: str) -> None:
    print(visible(words), file=sys.stderr, flush=True)


def _schema(options: Namespace, switch: Switch) -> int:
    from rollout_console.export.json_schema import json_schema

    schema = json_schema()
    about = "the JSON Schema of the rollout file"
    if done := _write(options, switch, schema, schema["title"], about):
        _say(done)
    return DONE


def _write(options: Namespace, switch: Switch, value: object, mark: str, about: str) -> str:
    """Print, or write to a file; return what was written in words, empty where it was printed.

    ``mark`` is a text by which an earlier export is known.
    """
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
        return f"{options.out}: {about}"
    return ""
