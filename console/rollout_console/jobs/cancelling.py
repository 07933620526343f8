"""Cancel a task at TokenLab, and say in words why the API refuses to."""

import asyncio
from typing import Protocol

from rollout_console.common.errors import OperationError
from rollout_console.jobs.job_book import JobBook
from rollout_console.tokenlab.errors import Refused
from rollout_gate.http.create_records import Create
from rollout_gate.http.task_answers import TaskAnswer

_WORDS = {
    400: "tasks of this kind cannot be cancelled; it goes on",
    401: "the API key does not work",
    403: "only the API key that created it may cancel it",
    404: "it does not know the task, or not any more",
    409: "it is not queued any more; it goes on to its end",
}


class Canceller(Protocol):
    """What cancels a task: ``TasksClient``."""

    async def cancel(self, task_id: str) -> TaskAnswer:
        """Cancel a task; raises ApiError."""


async def cancel_task(book: JobBook, client: Canceller, create: Create) -> TaskAnswer:
    """Cancel a job's task, and record the answer.

    Raises OperationError with the reason where the API refuses it, else ApiError.
    """
    task_id = create.task_id or ""
    try:
        answer = await client.cancel(task_id)
    except Refused as error:
        if error.status not in _WORDS:
            raise
        raise OperationError(
            f"TokenLab does not cancel {task_id}: {_WORDS[error.status]} ({error})"
        ) from None
    await asyncio.to_thread(book.seen, task_id, answer)
    return answer
