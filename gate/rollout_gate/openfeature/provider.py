"""The gate as an OpenFeature provider; needs the extra ``rollout-gate[openfeature]``.

>>> api.set_provider_and_wait(RolloutProvider("rollout.toml"))
>>> context = EvaluationContext(targeting_key="user-7", attributes={"org": "acme"})
>>> api.get_client().get_boolean_value("chat", False, context)

``rollout_gate`` does not import this module: an application without OpenFeature needs no SDK.
"""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

try:
    from openfeature.provider import AbstractProvider, FeatureProvider, Metadata, ProviderStatus
except ModuleNotFoundError as error:
    if error.name not in ("openfeature", "openfeature.provider"):
        raise  # it is installed, a dependency of it is not
    raise ModuleNotFoundError(
        "rollout_gate.openfeature needs openfeature-sdk, which is not installed; install it, or"
        " the gate with its extra: rollout-gate[openfeature]",
        name=error.name,
    ) from None
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode, OpenFeatureError, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.hook import Hook

from rollout_gate.decision.decision import Decision
from rollout_gate.file.model import RolloutFile
from rollout_gate.gate import Gate
from rollout_gate.openfeature.evaluation import (
    Object,
    as_object,
    decide_for,
    is_tokenlab,
    metadata_of,
    percent_of,
    reason_of,
    side_of,
    whole_percent,
)

_T = TypeVar("_T")
_Emit = Callable[[FeatureProvider, ProviderEvent, ProviderEventDetails], None]

_WAIT_S = 0.01
_WAITS = 500
_providers: "WeakSet[RolloutProvider]" = WeakSet()


class RolloutProvider(AbstractProvider):
    """Evaluates OpenFeature flags by a rollout file: each flag is a route.

    Given a path, it makes a Gate of its own in ``initialize`` and closes it in ``shutdown``; a
    Gate that it is given stays open. One provider serves any number of clients and domains. An
    evaluation never waits for I/O, so the async methods are the same, and never raises.

    **Values.** Boolean: whether the request goes to TokenLab. String: the side, ``tokenlab`` or
    ``previous``. Float and integer: the percent that goes to TokenLab, which is 0 while rolled
    back; as an integer only if it is one, else TYPE_MISMATCH (0.5 must not be rounded to 0).
    Object: the decision's fields and ``percent``, as a dict. The variant is the side.
    ``flag_metadata`` has ``rule``, ``revision``, ``bucket``, ``percent``, ``model``, ``format``
    and ``route``. In it and in the object the percent is the one in the file, rolled back or not.

    **Context.** The targeting key is the key that keeps one subject on one side; without one, the
    org is. Attributes: ``org``, ``key_alias`` and ``flags`` (a list of names). A targeting key is
    never taken for an org: it is a user, a session or a job, and one that happens to be named
    like an org would get that org's share. A context without ``org`` is an error, because an
    org's rollback could not reach it; ``org=""`` means that the request is of no org.

    **Reasons.** DISABLED: rolled back, at any level. SPLIT: the share is strictly between 0
    and 100, so the bucket decides. Else TARGETING_MATCH where a line of ``keys``, ``flags`` or
    ``orgs`` gave the share, and DEFAULT where ``default_percent`` did.

    **Errors**, with the default value of the call (give ``False`` or ``previous``, as the gate
    would): FLAG_NOT_FOUND for a route that the file does not have, PROVIDER_NOT_READY before
    there was a good file, INVALID_CONTEXT for a targeting key without ``org`` and for what is not
    a string or a list of strings, TARGETING_KEY_MISSING with neither a targeting key nor an org,
    and GENERAL for any unexpected exception. A latch takes precedence over a bad context: where
    one is set, the value is ``previous``, whatever is wrong with the subject (the bucket is then
    -1).

    **Events.** READY. STALE when the file becomes missing or invalid and the last good version
    stays in force, READY on recovery. CONFIGURATION_CHANGED for each new version;
    ``flags_changed`` names the routes that differ, all of them where the entire file was rolled
    back or resumed. Without a first good version ``initialize`` raises, so the SDK emits ERROR;
    READY follows once there is a good file.
    """

    def __init__(
        self, source: str | Path | Gate, *, poll_s: float = 0.25, hooks: Iterable[Hook] = ()
    ) -> None:
        """``poll_s`` is the polling interval, in seconds, of the file at a path, not of a Gate."""
        super().__init__()
        self._source = source
        self._poll_s = poll_s
        self._hooks = list(hooks)
        self._gate: Gate | None = None
        self._unsubscribe: Callable[[], None] = _nothing
        self._turn = threading.Lock()  # one initialize or shutdown at a time
        self._attached = 0
        self._shut = False
        self._lock = threading.RLock()  # serializes the events
        self._told: ProviderEvent | None = None
        self._file: RolloutFile | None = None
        self._ended = threading.Event()
        _providers.add(self)

    def attach(self, on_emit: _Emit) -> None:
        """Register the callback for events; called by the SDK before ``initialize``."""
        with self._turn:
            self._attached += 1
            self._shut = False
            super().attach(on_emit)

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Begin to follow the file; raises ProviderNotReadyError without a good version yet.

        It continues to follow the file after that.
        """
        with self._turn:
            if self._shut:
                raise ProviderNotReadyError("the provider was shut down")
            self._release()
            source = self._source
            gate = source if isinstance(source, Gate) else Gate(source, poll_s=self._poll_s)
            file = gate.file
            with self._lock:
                self._gate, self._file, self._ended = gate, file, threading.Event()
                self._unsubscribe = gate.subscribe(
                    on_change=lambda _: self._tell(), on_trouble=lambda _: self._tell()
                )
            if self._attached:
                said = (
                    ProviderEvent.PROVIDER_ERROR if file is None else ProviderEvent.PROVIDER_READY
                )
                threading.Thread(
                    target=self._settle, args=(self._ended, said), name="rollout-ready", daemon=True
                ).start()
        if file is None:
            raise ProviderNotReadyError(gate.trouble or "there is no good rollout file yet")

    def shutdown(self) -> None:
        """Unsubscribe from the gate, and close it if it is the provider's own."""
        with self._turn:
            # Reference count: the SDK shuts a replaced provider down late, perhaps after it was
            # set once more.
            self._attached = max(0, self._attached - 1)
            if self._attached == 0:
                self._shut = True
                self._release()

    def get_metadata(self) -> Metadata:
        return Metadata(name="rollout-console")

    def get_provider_hooks(self) -> list[Hook]:
        return list(self._hooks)

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, default_value, evaluation_context, is_tokenlab)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, default_value, evaluation_context, side_of)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, default_value, evaluation_context, whole_percent)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        return self._resolve(flag_key, default_value, evaluation_context, percent_of)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Object,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Object]:
        return self._resolve(flag_key, default_value, evaluation_context, as_object)

    def _resolve(
        self,
        route: str,
        default: _T,
        context: EvaluationContext | None,
        value_of: Callable[[Decision], _T],
    ) -> FlagResolutionDetails[_T]:
        try:
            decision = decide_for(self._gate, route, context)
            return FlagResolutionDetails(
                value=value_of(decision),
                reason=reason_of(decision),
                variant=decision.side,
                flag_metadata=metadata_of(decision),
            )
        except OpenFeatureError as error:
            return FlagResolutionDetails(
                value=default,
                reason=Reason.ERROR,
                error_code=error.error_code,
                error_message=error.error_message,
            )
        except Exception as error:  # noqa: BLE001 - a bad context must not fail a request
            return FlagResolutionDetails(
                value=default,
                reason=Reason.ERROR,
                error_code=ErrorCode.GENERAL,
                error_message=f"{type(error).__name__}: {error}",
            )

    def _settle(self, ended: threading.Event, said: ProviderEvent) -> None:
        """Emit the events that have happened since, once the SDK has set the provider's status.

        The SDK sets it after ``initialize`` has returned, and would overwrite an earlier event.
        """
        client = _ClientOf(self)
        for _ in range(_WAITS):
            if client.get_provider_status() is not ProviderStatus.NOT_READY:
                break
            if ended.wait(_WAIT_S):
                return
        ended.wait(_WAIT_S)  # the SDK calls its handlers after it has set the status
        with self._lock:
            if not ended.is_set():
                self._told = said
                self._tell()

    def _tell(self) -> None:
        with self._lock:
            gate = self._gate
            if self._told is None or gate is None or (file := gate.file) is None:
                return
            trouble = gate.trouble
            now = ProviderEvent.PROVIDER_STALE if trouble else ProviderEvent.PROVIDER_READY
            if now is not self._told:
                self._told = now
                self.emit(now, _details(file, message=trouble or None))
            before, self._file = self._file, file
            if before is not None and before.revision != file.revision:
                self.emit_provider_configuration_changed(
                    _details(file, flags_changed=_changed(before, file))
                )

    def _release(self) -> None:
        with self._lock:
            gate, self._gate = self._gate, None
            self._told = self._file = None
            self._ended.set()
            self._unsubscribe()
            self._unsubscribe = _nothing
        if gate is not None and gate is not self._source:
            gate.close()  # outside the lock: it joins a thread whose callback may wait for the lock


class _ClientOf(OpenFeatureClient):
    """A client bound to one provider, whatever its domain, to query the provider's status."""

    def __init__(self, provider: FeatureProvider) -> None:
        super().__init__(domain=None, version=None)
        self._its_provider = provider

    @property
    def provider(self) -> FeatureProvider:
        return self._its_provider


def _changed(before: RolloutFile, after: RolloutFile) -> list[str]:
    names = sorted({*before.routes, *after.routes})
    if before.rolled_back != after.rolled_back:
        return names
    return [name for name in names if before.routes.get(name) != after.routes.get(name)]


def _details(
    file: RolloutFile, *, message: str | None = None, flags_changed: list[str] | None = None
) -> ProviderEventDetails:
    return ProviderEventDetails(
        flags_changed=flags_changed, message=message, metadata={"revision": file.revision}
    )


def _nothing() -> None:
    """Do nothing: the unsubscribe function before there is a subscription."""


def _after_fork_in_child() -> None:
    """Replace the locks: one that another thread held at the fork would stay held forever."""
    for provider in list(_providers):
        provider._turn, provider._lock = threading.Lock(), threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)
