"""What is known of an answer while it is read, and the outcome that follows from it at its end."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from msgspec import Struct

from rollout_gate.answers.error_codes import MOST_TEXT, code_of

Outcome = Literal["ok", "error", "truncated", "empty", "filtered", "abandoned"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

_SEVERITY = ("error", "content_filter", "length", "tool_call", "stop")
_MOST_TOKENS = 10**12


class Conclusion(Struct, frozen=True):
    """The outcome of one answer, and what it says of itself.

    ``finish_reason`` is one of OpenTelemetry's gen_ai conventions, or the provider's own word where
    they have none for it. Token counts are None where the answer has none; ``input_tokens`` include
    the cached ones, and ``output_tokens`` those of reasoning.
    """

    outcome: Outcome
    error: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None


class Reading(Struct):
    """The facts of one answer so far.

    ``answer_id`` is the id by which a later request may name the answer, where its format has one.
    ``events`` counts JSON values, ``begun`` is set by the first content, tool call, refusal or
    reasoning, ``content`` by the first that an application can use (not by reasoning alone), and
    ``complete`` by the answer's last word.
    """

    events: int = 0
    begun: bool = False
    content: bool = False
    reasoning: bool = False
    refused: bool = False
    complete: bool = False
    pending: bool = False
    error: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    answer_id: str | None = None

    def has_content(self) -> None:
        """Note that content, or a tool call, came."""
        self.begun = self.content = True

    def has_reasoning(self) -> None:
        """Note that the model reasons: its first token, but nothing to use."""
        self.begun = self.reasoning = True

    def is_refused(self) -> None:
        """Note that the model, or a filter, refuses."""
        self.refused = True

    def failed(self, error: Any) -> None:
        """Note a failure inside the answer; of several the first counts."""
        if self.error is None:
            self.error = code_of(error)

    def finished(self, word: str, words: Mapping[str, str]) -> None:
        """Note a finish reason, in the provider's word; of several choices the gravest counts."""
        reason = words.get(word, word[:MOST_TEXT])
        if reason == "error":
            self.failed({"code": word})
        if reason == "content_filter":
            self.refused = True
        if self.finish_reason is None or _gravity(reason) < _gravity(self.finish_reason):
            self.finish_reason = reason

    def concluded(self) -> Conclusion:
        """Return the outcome, of an answer whose last byte has come."""
        reason = self.finish_reason
        if self.error is not None:
            return self._as("error", self.error)
        if not self.complete:
            outcome: Outcome = "truncated" if self.events else "empty"
            return self._as(outcome, outcome)
        if self.content or self.pending:
            return self._as("ok")
        if self.refused:
            return self._as("filtered")
        if reason == "length" and (self.reasoning or self.output_tokens != 0):
            # The application's own limit ended a model that was still reasoning; many do not show
            # that, and without usage it is unknown.
            return self._as("ok")
        return self._as("empty", "empty")

    def abandoned(self) -> Conclusion:
        """Return the outcome, of an answer that the application left."""
        if self.error is not None or self.complete:
            return self.concluded()
        return self._as("abandoned", "abandoned")

    def _as(self, outcome: Outcome, error: str | None = None) -> Conclusion:
        return Conclusion(
            outcome,
            error,
            "error" if outcome == "error" else self.finish_reason,
            self.input_tokens,
            self.output_tokens,
            self.cached_input_tokens,
            self.reasoning_tokens,
        )


def _gravity(reason: str) -> int:
    return _SEVERITY.index(reason) if reason in _SEVERITY else len(_SEVERITY)


def tokens(usage: Mapping[str, Any], *path: str) -> int | None:
    """Return a count at a path of nested objects; None where it is none (0 or more)."""
    value: Any = usage
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value < _MOST_TOKENS else None


def total(*counts: int | None) -> int | None:
    """Return the sum of the counts that are known; None where none is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list; none where it is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def error_in(value: Mapping[str, Any]) -> Any:
    """Return the error at the top level of an answer; None where it has none, or an empty one."""
    return value.get("error") or None


def failure_in(value: Mapping[str, Any]) -> Any:
    """Return the error that a value has, or is: one that calls itself an error, as of vLLM."""
    if error := error_in(value):
        return error
    return value if value.get("type") == "error" or value.get("object") == "error" else None
