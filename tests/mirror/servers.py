"""A server with a mirrored file, and the text of the file."""

from pathlib import Path

from rollout_console.changes.edits import Edit
from rollout_console.changes.switch import Switch
from rollout_console.etcd.answers import Value
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.mirror.mirror import Mirror
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse

KEY = "/rollout/prod"
FILE = """\
# kept as it is
schema = 1
algorithm = "fractional-v3"
[routes.chat]
format = "openai_chat_completions"
model = "m"
default_percent = {default}
[routes.chat.orgs]
acme = {acme}   # a note
globex = 10
"""


def text(acme: str = "5", default: str = "0") -> bytes:
    return FILE.format(acme=acme, default=default).encode()


class Server:
    """A server with a mirrored file; ``said`` is what its mirror told."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "rollout.toml"
        self.said: list[str] = []
        self._history = History(folder / "history.sqlite3")
        self.start()

    def start(self) -> None:
        """Start the mirror's process, also again after it was killed."""
        switch = Switch(self.path, self._history, Actor("mirror", "gw-01"))
        self.mirror = Mirror(switch, KEY, self.said.append, f"etcd://gw:2379{KEY}")

    def gets(self, data: bytes | None, revision: int, cluster: int = 1, now: int = 0) -> None:
        """Read the key, of that mod revision, in a cluster at revision ``now``, or at 9."""
        value = None if data is None else Value(KEY, data, revision)
        self.mirror.take(value, cluster, now or max(9, revision))

    def edits(self, *edits: Edit) -> None:
        """Change the file as somebody on the server does."""
        switch = Switch(self.path, self._history, Actor("jo", "gw-01"))
        switch.open()
        switch.store.write(switch.store.prepare(edits))
        self.mirror.look()

    @property
    def file(self) -> RolloutFile:
        return parse(self.path.read_bytes())

    def is_latched(self, org: str = "acme") -> bool:
        return self.file.is_latched("chat", org)
