"""Read the answers of each format, chunk by chunk of a stream or whole, into a Reading.

Sources: the types of the SDKs of OpenAI, Anthropic and Google, and OpenTelemetry's gen_ai
conventions for finish reasons, autumn 2026. Enums are open: an unknown word is kept, and no error.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from rollout_gate.answers.reading import (
    Reading,
    error_in,
    failure_in,
    objects,
    tokens,
    total,
)
from rollout_gate.answers.task_states import is_refusal, state_of
from rollout_gate.file.model import MEDIA_FORMATS

Json = Mapping[str, Any]

_CHAT = {
    "tool_calls": "tool_call", "function_call": "tool_call",
}  # fmt: skip
_RESPONSES = {"max_output_tokens": "length", "max_tokens": "length", "failed": "error"}
_MESSAGES = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop",
    "max_tokens": "length", "model_context_window_exceeded": "length",
    "tool_use": "tool_call", "refusal": "content_filter",
}  # fmt: skip
_GEMINI = {
    "STOP": "stop", "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE",
         "MODEL_ARMOR", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        "content_filter",
    ),
    **dict.fromkeys(
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL",
         "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE", "OTHER"),
        "error",
    ),
}  # fmt: skip


MOST_ID = 200
"""The length in characters of the longest id of an answer that is kept."""


class FormatReader(Protocol):
    """Reads the JSON values of one format's answers.

    ``middle`` decodes the usual event in the middle of a stream, which has nothing that matters
    once there is content; it fails for every other. ``body_is_whole`` is whether a body whose JSON
    is complete is whole, though it has no final status.
    """

    middle: msgspec.json.Decoder[Any]
    body_is_whole: bool

    def look(self, value: Json, reading: Reading) -> None:
        """Take what one value, a chunk or a whole answer, says."""


class _Choices:
    """Which of the choices (or candidates) of an answer are still open, by their index."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._finished: set[str] = set()

    def see(self, choice: Json, word: Any, words: Mapping[str, str], reading: Reading) -> None:
        """Take a choice, and its finish reason where it has one; complete once none is open."""
        index = repr(choice.get("index", 0))
        if isinstance(word, str) and word:
            reading.finished(word, words)
            self._open.discard(index)
            self._finished.add(index)
        elif index not in self._finished:
            self._open.add(index)
        reading.complete = not self._open


class _ChatChoice(msgspec.Struct):
    index: Literal[0] = 0
    finish_reason: None = None
    error: None = None


class _ChatMiddle(msgspec.Struct):
    choices: list[_ChatChoice]
    error: None = None
    usage: None = None


class ChatReader:
    """OpenAI Chat Completions: done when every choice has a finish reason, or with ``[DONE]``."""

    middle = msgspec.json.Decoder(_ChatMiddle)
    body_is_whole = True

    def __init__(self) -> None:
        self._choices = _Choices()

    def look(self, value: Json, reading: Reading) -> None:
        if failure := failure_in(value):
            reading.failed(failure)
        for choice in objects(value.get("choices")):
            self._choice(choice, reading)
            self._choices.see(choice, choice.get("finish_reason"), _CHAT, reading)
        usage = value.get("usage")
        if isinstance(usage, dict):
            reading.input_tokens = tokens(usage, "prompt_tokens")
            reading.output_tokens = tokens(usage, "completion_tokens")
            reading.cached_input_tokens = tokens(usage, "prompt_tokens_details", "cached_tokens")
            reading.reasoning_tokens = tokens(
                usage, "completion_tokens_details", "reasoning_tokens"
            )

    def _choice(self, choice: Json, reading: Reading) -> None:
        if error := error_in(choice):
            reading.failed(error)
        for name in ("delta", "message"):
            said = choice.get(name)
            if isinstance(said, dict):
                self._said(said, reading)
        if choice.get("text"):  # the legacy API of completions
            reading.has_content()

    def _said(self, said: Json, reading: Reading) -> None:
        get = said.get
        if get("content") or get("tool_calls") or get("function_call") or get("audio"):
            reading.has_content()
        elif any(map(get, ("reasoning_content", "reasoning", "reasoning_details",
                           "thinking_blocks"))):  # fmt: skip
            reading.has_reasoning()
        if said.get("images"):
            reading.has_content()
        if said.get("refusal"):
            reading.begun = True
            reading.is_refused()


_RUN_BY_SERVER = frozenset(
    ("web_search_call", "file_search_call", "code_interpreter_call", "mcp_call", "mcp_list_tools")
)
"""Tools that the server runs: their calls are steps to an answer, and nothing to answer."""


class _ResponsesMiddle(msgspec.Struct):
    type: Literal[
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.custom_tool_call_input.delta",
    ]
    error: None = None


class ResponsesReader:
    """OpenAI Responses: done with ``response.completed``, ``.incomplete``, ``.failed``."""

    middle = msgspec.json.Decoder(_ResponsesMiddle)
    body_is_whole = True

    def look(self, value: Json, reading: Reading) -> None:
        if failure := failure_in(value):
            reading.failed(failure)
        kind = value.get("type")
        if isinstance(kind, str) and not isinstance(value.get("output"), list):
            self._event(kind, value, reading)
        else:
            self._response(value, reading)

    def _event(self, kind: str, value: Json, reading: Reading) -> None:
        if kind.endswith(".delta"):
            self._delta(kind, value, reading)
        item = value.get("item")
        if isinstance(item, dict) and kind.startswith("response.output_item."):
            self._item(item, reading)
        response = value.get("response")
        ended = kind in ("response.completed", "response.incomplete", "response.failed",
                         "response.cancelled")  # fmt: skip
        if isinstance(response, dict) or ended:
            response = response if isinstance(response, dict) else {}
            self._response(response, reading, ended=kind.removeprefix("response.") if ended else "")

    @staticmethod
    def _delta(kind: str, value: Json, reading: Reading) -> None:
        if not value.get("delta"):
            return
        if "reasoning" in kind:
            reading.has_reasoning()
        elif "refusal" in kind:
            reading.begun = True
            reading.is_refused()
        else:
            reading.has_content()

    def _response(self, response: Json, reading: Reading, ended: str | None = None) -> None:
        """Take a response object; ``ended`` is how its event says that it ended, None of a body."""
        if reading.answer_id is None:
            name = response.get("id")
            if isinstance(name, str) and 0 < len(name) <= MOST_ID:
                reading.answer_id = name
        status = response.get("status")
        word = ended if ended is not None else (status if isinstance(status, str) else "")
        items = objects(response.get("output"))
        for item in items:
            self._item(item, reading)
        if word in ("queued", "in_progress") and ended is None:
            reading.complete = reading.pending = True  # a response in the background
        if word in ("completed", "incomplete", "failed", "cancelled"):
            reading.complete = True
            if word == "failed" or response.get("error"):
                reading.failed(response.get("error"))
            reading.finished(*self._finish(word, response, items))
            self._usage(response.get("usage"), reading)

    @staticmethod
    def _finish(word: str, response: Json, items: list[Json]) -> tuple[str, Mapping[str, str]]:
        details = response.get("incomplete_details")
        if word == "incomplete":
            reason = details.get("reason") if isinstance(details, dict) else None
            return (reason if isinstance(reason, str) else word), _RESPONSES
        if word == "completed":
            last = str(items[-1].get("type")) if items else ""
            called = last.endswith("_call") and last not in _RUN_BY_SERVER
            return ("tool_call" if called else "stop"), _RESPONSES
        return word, _RESPONSES

    def _item(self, item: Json, reading: Reading) -> None:
        kind = item.get("type")
        if kind == "reasoning" or kind in _RUN_BY_SERVER:
            reading.has_reasoning()
        elif kind != "message":
            reading.has_content()  # a call of a tool, and what else there will be
        for part in objects(item.get("content")) if kind == "message" else []:
            if part.get("type") == "refusal":
                reading.begun = True
                reading.is_refused()
            elif part.get("text") or part.get("type") not in ("output_text", "text"):
                reading.has_content()

    @staticmethod
    def _usage(usage: Any, reading: Reading) -> None:
        if isinstance(usage, dict):
            reading.input_tokens = tokens(usage, "input_tokens")
            reading.output_tokens = tokens(usage, "output_tokens")
            reading.cached_input_tokens = tokens(usage, "input_tokens_details", "cached_tokens")
            reading.reasoning_tokens = tokens(usage, "output_tokens_details", "reasoning_tokens")


class _MessagesMiddle(msgspec.Struct):
    type: Literal["content_block_delta", "content_block_stop", "ping"]
    error: None = None


class MessagesReader:
    """Anthropic Messages: a stream is done with ``message_stop``, a body with a stop reason."""

    middle = msgspec.json.Decoder(_MessagesMiddle)
    body_is_whole = False

    def __init__(self) -> None:
        self._input: dict[str, int | None] = {}

    def look(self, value: Json, reading: Reading) -> None:
        kind = value.get("type")
        if failure := failure_in(value):
            reading.failed(failure)
        elif kind == "message_stop":
            reading.complete = True
        elif kind in ("content_block_start", "content_block_delta"):
            for name in ("content_block", "delta"):
                part = value.get(name)
                if isinstance(part, dict):
                    self._part(part, reading)
        elif kind == "message_start":
            message = value.get("message")
            if isinstance(message, dict):
                self._message(message, reading)
        elif kind == "message_delta":
            delta = value.get("delta")
            self._stopped(delta if isinstance(delta, dict) else {}, reading)
            self._usage(value.get("usage"), reading)
        elif "content" in value:
            self._message(value, reading)
            reading.complete = self._stopped(value, reading)

    def _message(self, message: Json, reading: Reading) -> None:
        for part in objects(message.get("content")):
            self._part(part, reading)
        self._usage(message.get("usage"), reading)

    @staticmethod
    def _stopped(where: Json, reading: Reading) -> bool:
        word = where.get("stop_reason")
        if isinstance(word, str) and word:
            reading.finished(word, _MESSAGES)
            reading.pending = reading.pending or word == "pause_turn"
            return True
        return False

    @staticmethod
    def _part(part: Json, reading: Reading) -> None:
        kind = str(part.get("type"))
        if kind in ("text", "text_delta"):
            if part.get("text"):
                reading.has_content()
        elif "thinking" in kind or kind in ("signature_delta", "server_tool_use"):
            reading.has_reasoning()
        elif kind.endswith("_tool_result"):
            reading.has_reasoning()  # of a tool that the server runs
        elif kind != "citations_delta":
            reading.has_content()

    def _usage(self, usage: Any, reading: Reading) -> None:
        if not isinstance(usage, dict):
            return
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            count = tokens(usage, name)
            if count is not None:  # the counts of message_delta are cumulative
                self._input[name] = count
        reading.input_tokens = total(*self._input.values())
        reading.cached_input_tokens = self._input.get("cache_read_input_tokens")
        output = tokens(usage, "output_tokens")
        reading.output_tokens = reading.output_tokens if output is None else output


class _GeminiCandidate(msgspec.Struct):
    index: Literal[0] = 0
    finishReason: None = None


class _GeminiMiddle(msgspec.Struct):
    candidates: list[_GeminiCandidate]
    error: None = None
    promptFeedback: None = None


class GeminiReader:
    """Gemini generateContent: done when every candidate has a ``finishReason``."""

    middle = msgspec.json.Decoder(_GeminiMiddle)
    body_is_whole = False

    def __init__(self) -> None:
        self._candidates = _Choices()

    def look(self, value: Json, reading: Reading) -> None:
        if failure := failure_in(value):
            reading.failed(failure)
        feedback = value.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            reading.finished("SAFETY", _GEMINI)
            reading.complete = True
        for candidate in objects(value.get("candidates")):
            self._content(candidate, reading)
            self._candidates.see(candidate, candidate.get("finishReason"), _GEMINI, reading)
        usage = value.get("usageMetadata")
        if isinstance(usage, dict):
            thoughts = tokens(usage, "thoughtsTokenCount")
            reading.input_tokens = tokens(usage, "promptTokenCount")
            reading.output_tokens = total(tokens(usage, "candidatesTokenCount"), thoughts)
            reading.cached_input_tokens = tokens(usage, "cachedContentTokenCount")
            reading.reasoning_tokens = thoughts

    @staticmethod
    def _content(candidate: Json, reading: Reading) -> None:
        content = candidate.get("content")
        for part in objects(content.get("parts")) if isinstance(content, dict) else []:
            if part.get("thought") is True:
                reading.has_reasoning()
            elif part.get("text") or any(name not in _NO_CONTENT for name in part):
                reading.has_content()


_NO_CONTENT = frozenset(("text", "thought", "thoughtSignature"))


class _MediaMiddle(msgspec.Struct):
    type: Literal["keepalive"]


class MediaReader:
    """Media: a body with data, or with the id of a task; of a stream an event ``*.completed``."""

    middle = msgspec.json.Decoder(_MediaMiddle)
    body_is_whole = True

    def look(self, value: Json, reading: Reading) -> None:
        status, get = value.get("status"), value.get
        is_failed = isinstance(status, str) and state_of(status) == "failed"
        if (error := error_in(value)) or is_failed or get("type") == "error":
            reading.failed(error or {**value, "type": None, "status": None})
        if str(get("type")).endswith(".completed"):
            reading.has_content()
            reading.complete = True
        elif any(map(get, ("data", "url", "b64_json", "output", "results"))):
            reading.has_content()
        elif (
            not status
            and not get("task_id")
            and is_refusal(get("code"), get("message") or get("msg"))
        ):
            reading.failed({**value, "type": None, "status": None})
        elif any(get(name) not in (None, "") for name in ("task_id", "id")):
            reading.pending = True
        usage = value.get("usage")
        if isinstance(usage, dict):
            reading.input_tokens = tokens(usage, "input_tokens")
            reading.output_tokens = tokens(usage, "output_tokens")


_READERS: Mapping[str, Callable[[], FormatReader]] = {
    "openai_chat_completions": ChatReader,
    "openai_responses": ResponsesReader,
    "anthropic_messages": MessagesReader,
    "gemini_generate_content": GeminiReader,
    **dict.fromkeys(MEDIA_FORMATS, MediaReader),
}


def reader_of(route_format: str) -> FormatReader | None:
    """Return a new reader of one answer in this format; None for a format that is unknown."""
    made = _READERS.get(route_format)
    return None if made is None else made()
