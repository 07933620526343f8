"""The gate's metrics by OpenTelemetry's API; the application has the SDK, and sets it up.

The gate's own metrics have the names and attributes of those for Prometheus, so that an exporter to
Prometheus makes the same series of them. Beside them are those of the semantic conventions for
generative AI (1.41; development), with their attributes and the buckets that they advise.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rollout_gate.access_log import AccessLine
from rollout_gate.answers.status_class import StatusClass
from rollout_gate.file.model import MEDIA_FORMATS
from rollout_gate.metrics.counted import BUCKETS_S, Counted, class_of, counted, side_of
from rollout_gate.metrics.labels import MOST_NAMES, OTHERS, BoundedNames
from rollout_gate.metrics.watching import HOST, Metrics, Whose
from rollout_gate.version import __version__

if TYPE_CHECKING:  # not at run time: it is an extra, and imported once metrics are made
    from opentelemetry.metrics import MeterProvider

MOST_ORGS = 200
"""How many orgs have values of their own, by default. An SDK keeps 2,000 sets of attributes of an
instrument, unless a view says otherwise; what comes later has no side and no class any more."""

GEN_AI_BUCKETS_S = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""What the conventions advise for durations."""

_PROVIDERS = {
    "openai_chat_completions": "openai", "openai_responses": "openai",
    "anthropic_messages": "anthropic", "gemini_generate_content": "gcp.gen_ai",
}  # fmt: skip
"""Of the previous side, by its format, as the conventions name them."""
_ERRORS = frozenset((
    "timeout", "connect", "protocol", "redirect", "credential", "truncated", "empty", "abandoned",
    "cancelled", "unsent", "unsendable",
))  # fmt: skip
"""Errors that the gate names; a provider's own codes are not bounded, so their class stands."""
_Attributes = dict[str, str]


class OpenTelemetryMetrics(Metrics):
    """Records requests with a MeterProvider of OpenTelemetry, by default the global one.

    The global one may be set later. ``most_orgs`` is how many orgs have values of their own; later
    ones are ``(others)``. More than 200 take a view with a higher cardinality limit.
    ``gen_ai=False`` leaves out the metrics of the semantic conventions: of an application whose
    SDKs are instrumented already.

    Raises ModuleNotFoundError without opentelemetry-api, and ValueError for a bad ``most_orgs``.
    """

    def __init__(
        self,
        provider: "MeterProvider | None" = None,
        *,
        most_orgs: int = MOST_ORGS,
        gen_ai: bool = True,
    ) -> None:
        super().__init__(most_orgs)
        api = _api()
        self._observation = api.Observation
        meter = (api.get_meter_provider() if provider is None else provider).get_meter(
            "rollout_gate", __version__
        )
        self._requests = meter.create_counter(
            "rollout_gate.requests", "{request}", "Requests by side, status class and outcome."
        )
        self._repeated = meter.create_counter(
            "rollout_gate.attempts.repeated", "{request}", "Second and later attempts."
        )
        self._operation_requests = meter.create_counter(
            "rollout_gate.operations", "{request}", "Requests that are no generation."
        )
        self._durations = meter.create_histogram(
            "rollout_gate.request.duration", "s",
            "Time to the last byte, of what came from no cache; the guard judges ok and abandoned.",
            explicit_bucket_boundaries_advisory=BUCKETS_S,
        )  # fmt: skip
        self._first_tokens = meter.create_histogram(
            "rollout_gate.time_to_first_token", "s", "Time to a stream's first content.",
            explicit_bucket_boundaries_advisory=BUCKETS_S,
        )  # fmt: skip
        meter.create_observable_gauge(
            "rollout_gate.revision.info", [self._observe_revisions], "",
            "The revision of the rollout file that decides.",
        )  # fmt: skip
        meter.create_observable_gauge(
            "rollout_gate.file.trouble", [self._observe_trouble], "",
            "1 while the rollout file is not in force as it is, else 0.",
        )  # fmt: skip
        self._gen_ai = _GenAi(meter) if gen_ai else None
        self._attributes: dict[Whose, _Attributes] = {}

    def _count(self, line: AccessLine) -> None:
        if line.operation is not None:
            self._operation_requests.add(1, self._operation_attributes(line, line.operation))
            return
        facts = counted(line)
        whose = self._whose(line)
        mine = self._attributes.get(whose)
        if mine is None:
            mine = self._attributes[whose] = whose._asdict()
        self._requests.add(1, {**mine, "class": facts.status_class, "outcome": facts.outcome})
        if facts.duration_s is not None:
            self._durations.record(facts.duration_s, {**mine, "class": facts.status_class})
        if facts.first_token_s is not None:
            self._first_tokens.record(facts.first_token_s, mine)
        if facts.is_repeated:
            self._repeated.add(1, mine)
        if self._gen_ai is not None:
            self._gen_ai.count(line, facts, whose, self._format(line.route))

    def _operation_attributes(self, line: AccessLine, operation: str) -> _Attributes:
        return {
            "route": self._route_value(line.route),
            "side": side_of(line),
            "operation": self._operations.value(operation),
            "class": class_of(line).value,
        }

    def _format(self, route: str) -> str:
        found = self._route(route)
        return "" if found is None else found.format

    def _changed(self, change: object = None) -> None:
        """Do nothing: the SDK asks when it collects."""

    def _in_forked_child(self) -> None:
        """Do nothing: what a fork needs is up to the SDK."""

    # The SDK calls these with its own locks held: they take none.

    def _observe_revisions(self, options: Any) -> Iterator[Any]:
        for one in self._revisions():
            yield self._observation(1, {"host": HOST, "revision": one})

    def _observe_trouble(self, options: Any) -> Iterable[Any]:
        return (self._observation(int(self._has_trouble())),)


class _GenAi:
    """The metrics of the semantic conventions."""

    def __init__(self, meter: Any) -> None:
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=GEN_AI_BUCKETS_S,
        )  # fmt: skip
        self._first_chunks = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "Time to receive the first chunk.",
            explicit_bucket_boundaries_advisory=GEN_AI_BUCKETS_S,
        )  # fmt: skip
        self._models = BoundedNames(MOST_NAMES)

    def count(self, line: AccessLine, facts: Counted, whose: Whose, route_format: str) -> None:
        """Record a generation, good or not: the conventions have errors as an attribute."""
        attributes = {
            "gen_ai.operation.name": _operation_of(route_format),
            "gen_ai.provider.name": _provider_of(whose.side, route_format),
            "rollout_gate.route": whose.route,
            "rollout_gate.side": whose.side,
        }
        if line.model:
            attributes["gen_ai.request.model"] = self._models.value(line.model)
        if line.ttft_ms is not None and facts.first_token_s is not None:
            self._first_chunks.record(facts.first_token_s, attributes)
        if 0 <= line.latency_ms <= 1e9:
            if facts.status_class != StatusClass.OK.value:
                attributes["error.type"] = _error_type(line, facts)
            self._durations.record(line.latency_ms / 1000, attributes)


def _operation_of(route_format: str) -> str:
    is_content = route_format in MEDIA_FORMATS or route_format == "gemini_generate_content"
    return "generate_content" if is_content else "chat"


def _provider_of(side: str, route_format: str) -> str:
    if side == "previous":
        return _PROVIDERS.get(route_format, "previous")
    return "tokenlab" if side == "tokenlab" else OTHERS


def _error_type(line: AccessLine, facts: Counted) -> str:
    if 300 <= line.status <= 599:
        return str(line.status)
    return line.error if line.error in _ERRORS else facts.status_class


def _api() -> Any:
    try:
        from opentelemetry import metrics
    except ModuleNotFoundError as error:
        if error.name not in ("opentelemetry", "opentelemetry.metrics"):
            raise
        raise ModuleNotFoundError(
            "OpenTelemetryMetrics needs opentelemetry-api, which is not installed; install it, or"
            " the gate with its extra: rollout-gate[otel]",
            name="opentelemetry",
        ) from None
    return metrics
