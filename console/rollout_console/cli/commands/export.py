"""``export``: the rollout file as flagd's JSON, or the JSON Schema of the file."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.common.stop_signal import stop_on_signals
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.revision import SHORT
from rollout_gate.systemd import Systemd

if TYPE_CHECKING:
    from rollout_console.export.outputs import Output


def export(options: Namespace, switch: Switch) -> int:
    """Print what was asked for, or write it atomically to ``--out``."""
    with ExitStack() as stack:
        if options.form == "flagd":
            return _flagd(options, switch, stack)
        return _schema(options, switch, stack)


def _flagd(options: Namespace, switch: Switch, stack: ExitStack) -> int:
    from rollout_console.export.flagd import CONTEXT, GENERATIONS, as_flagd

    out = _output(options, switch, '"flags"', stack)

    def write(file: RolloutFile) -> str:
        return _write(out, switch, as_flagd(file), counted(len(file.routes), "flag"))

    file = switch.open().file  # a file that cannot be used is refused before anything is written
    done = write(file)
    print(f"warning: {GENERATIONS}", file=sys.stderr)
    print(f"note: targetingKey is {CONTEXT['targetingKey']}", file=sys.stderr)
    if done:
        _say(done)
    if options.follow and out is not None:
        _follow(switch, out, file, write)
    return DONE


def _follow(
    switch: Switch, out: "Output", file: RolloutFile, write: Callable[[RolloutFile], str]
) -> None:
    from rollout_console.export.follower import ExportFollower

    stop = stop_on_signals()
    follower = ExportFollower(
        switch.path, out, lambda file: f"{write(file)}, revision {file.revision[:SHORT]}", _say
    )
    follower.wrote(file)
    systemd = Systemd(os.environ)
    systemd.ready()
    try:
        follower.run(stop, lambda words: systemd.keep_alive(visible(words)))
    finally:
        systemd.ends()
        follower.close()


def _schema(options: Namespace, switch: Switch, stack: ExitStack) -> int:
    from rollout_console.export.json_schema import json_schema

    schema = json_schema()
    out = _output(options, switch, schema["title"], stack)
    if done := _write(out, switch, schema, "the JSON Schema of the rollout file"):
        _say(done)
    return DONE


def _say(words: str) -> None:
    print(visible(words), file=sys.stderr, flush=True)


def _output(options: Namespace, switch: Switch, mark: str, stack: ExitStack) -> "Output | None":
    """Return where to write, None to print.

    ``mark`` is a text by which an earlier export is known; ``stack`` closes what is opened.
    """
    if options.out is None:
        return None
    from rollout_console.etcd.address import is_etcd
    from rollout_console.export.outputs import EtcdOutput, FileOutput

    def is_what(head: bytes) -> bool:
        return head.lstrip()[:1] == b"{" and mark.encode() in head

    what = f"an export of {options.form}"
    if is_etcd(options.out):
        from rollout_console.etcd.client import EtcdClient

        client = stack.enter_context(EtcdClient.of(options.out, os.environ))
        return EtcdOutput(client, what, is_what)
    return FileOutput(Path(options.out), switch.path, what, is_what)


def _write(out: "Output | None", switch: Switch, value: object, about: str) -> str:
    """Print, or write; return what was written in words, empty where it was printed."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    data = text.encode("utf-8", "backslashreplace")
    if out is None:
        sys.stdout.write(data.decode())
        return ""
    switch.access.require()
    out.write(data)
    return f"{out}: {about}"
