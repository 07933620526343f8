"""Client of async media tasks: how one stands, and its cancellation. Nothing here creates one."""

import re
from urllib.parse import quote, urlsplit

from rollout_console.tokenlab.errors import Garbage
from rollout_console.tokenlab.transport import Client, Transport
from rollout_gate.file.formats import TASK_PATH
from rollout_gate.http.task_answers import TaskAnswer, task_answer
from rollout_gate.secret import Secret

_POLLED = re.compile(
    r"/v1/(?:tasks|images|videos/generations|music/generations|3d/generations)/[\w.:~-]+",
    re.ASCII,
)
"""The paths of the contract at which a task is polled; the credential goes to no other."""


class TasksClient(Client):
    """Asks about tasks with the API key that created them, and never with a management token.

    Raises ApiError. A task belongs to the key that created it: another one is refused with 403.
    """

    def __init__(self, base_url: str, key: Secret, *, timeout_s: float = 12.0) -> None:
        super().__init__(Transport(base_url, key, "sk-", timeout_s))

    async def task(self, task_id: str, poll_url: str | None = None) -> TaskAnswer:
        """Return how a task stands; ``poll_url`` is the one of the create's answer, if it had one.

        Only its path is used, and only one of the contract's.
        """
        return _told(await self._transport.call("GET", poll_path(task_id, poll_url)))

    async def cancel(self, task_id: str) -> TaskAnswer:
        """Cancel a task that is queued yet; the API refuses it for most others (400, 409)."""
        path = TASK_PATH.format(task=quote(task_id, safe=""))
        return _told(await self._transport.call("DELETE", path, changes=True))


def poll_path(task_id: str, poll_url: str | None) -> str:
    """Return the path at which a task is polled: the answer's own, else the canonical one."""
    path = urlsplit(poll_url).path if poll_url else ""
    if _POLLED.fullmatch(path) and path.rsplit("/", 1)[1] not in (".", ".."):
        return path
    return TASK_PATH.format(task=quote(task_id, safe=""))


def _told(data: bytes) -> TaskAnswer:
    found = task_answer(data)
    if found.state is None:
        raise Garbage("the answer does not say how the task stands")
    return found
