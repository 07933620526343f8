"""The gate's metrics, for Prometheus and OpenTelemetry, of the records of the access log.

``PrometheusMetrics().watch(gate)`` counts what the clients of a gate log. Both libraries are
optional, and imported once an object is made.
"""

from rollout_gate.metrics.otel import OpenTelemetryMetrics
from rollout_gate.metrics.prometheus import PrometheusMetrics

__all__ = ["OpenTelemetryMetrics", "PrometheusMetrics"]
