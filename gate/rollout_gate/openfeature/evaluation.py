"""One OpenFeature flag evaluation: from the context to the gate's decision, and to a value."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    InvalidContextError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagValueType, Reason

from rollout_gate.decision.decision import Decision
from rollout_gate.gate import Gate

Object = Sequence[FlagValueType] | Mapping[str, FlagValueType]
_LATCH = "rolled_back."


class _Subject(NamedTuple):
    org: str
    key: str | None
    key_alias: str | None
    flags: tuple[str, ...]


def decide_for(gate: Gate | None, route: object, context: EvaluationContext | None) -> Decision:
    """Return the gate's decision for an evaluation context.

    Raises ProviderNotReadyError, FlagNotFoundError, and, unless a latch decides anyway,
    InvalidContextError or TargetingKeyMissingError.
    """
    file = None if gate is None else gate.file
    if gate is None or file is None:
        raise ProviderNotReadyError((gate and gate.trouble) or "there is no good rollout file yet")
    if not isinstance(route, str) or route not in file.routes:
        raise FlagNotFoundError(f"the rollout file has no route {route!r}")
    try:
        subject = _subject(context)
        decision = gate.decide(
            route, subject.org, key=subject.key, key_alias=subject.key_alias, flags=subject.flags
        )
        if decision.rule == "bad_argument":
            raise InvalidContextError("the targeting key or an attribute is no text")
    except (InvalidContextError, TargetingKeyMissingError):
        org = _attributes(context).get("org")
        latched = gate.decide(route, org if isinstance(org, str) else "", key="-")
        if latched.rule.startswith(_LATCH):
            return Decision.of(**{**latched.as_dict(), "bucket": -1})
        raise
    if decision.rule == "unknown_route":  # race: the file has changed since
        raise FlagNotFoundError(f"the rollout file has no route {route!r}")
    return decision


def _subject(context: EvaluationContext | None) -> _Subject:
    key: Any = None if context is None else context.targeting_key
    attributes = _attributes(context)
    org = attributes.get("org", "")
    key_alias = attributes.get("key_alias")
    flags = attributes.get("flags")
    if key is not None and not isinstance(key, str):
        raise InvalidContextError("the targeting key is no text")
    if not isinstance(org, str):
        raise InvalidContextError("the attribute org is no text")
    if not key and not org:
        raise TargetingKeyMissingError("neither a targeting key nor the attribute org")
    if "org" not in attributes:
        raise InvalidContextError('the attribute org is missing; give "" for a request of none')
    if key_alias is not None and not isinstance(key_alias, str):
        raise InvalidContextError("the attribute key_alias is no text")
    if flags is None:
        flags = ()
    # A string would be iterated by character, a dict would count a flag that is switched off.
    listed = isinstance(flags, Sequence | Set) and not isinstance(flags, str)
    if not listed or not all(isinstance(flag, str) for flag in flags):
        raise InvalidContextError("the attribute flags is no list of texts")
    return _Subject(org, key, key_alias, tuple(flags))


def _attributes(context: EvaluationContext | None) -> Mapping[str, Any]:
    attributes: Any = None if context is None else context.attributes
    return attributes if isinstance(attributes, Mapping) else {}


def reason_of(decision: Decision) -> Reason:
    """Return OpenFeature's reason; SPLIT only where the bucket made the difference."""
    if decision.rule.startswith(_LATCH):
        return Reason.DISABLED
    if 0 < decision.points < 10_000:
        return Reason.SPLIT
    return Reason.DEFAULT if decision.rule == "default_percent" else Reason.TARGETING_MATCH


def metadata_of(decision: Decision) -> dict[str, bool | int | float | str]:
    """Return the flag metadata for hooks to log: flat, as OpenFeature requires."""
    return {
        "rule": decision.rule,
        "revision": decision.revision,
        "bucket": decision.bucket,
        "percent": decision.percent,
        "model": decision.model,
        "format": decision.format,
        "route": decision.route,
    }


def is_tokenlab(decision: Decision) -> bool:
    """Return the boolean value: whether the request goes to TokenLab."""
    return decision.side == "tokenlab"


def side_of(decision: Decision) -> str:
    """Return the string value: the side."""
    return decision.side


def percent_of(decision: Decision) -> float:
    """Return the float value: the percent, 0 to 100, that goes to TokenLab; 0 while latched."""
    return 0.0 if decision.rule.startswith(_LATCH) else decision.percent


def whole_percent(decision: Decision) -> int:
    """Return the integer value: the percent; raises TypeMismatchError if it is not an integer."""
    percent = percent_of(decision)
    if not percent.is_integer():
        raise TypeMismatchError(f"{percent} percent is not whole: ask for a float")
    return int(percent)


def as_object(decision: Decision) -> Object:
    """Return the object value: every field of the decision, and the percent in the file."""
    return {**decision.as_dict(), "percent": decision.percent}
