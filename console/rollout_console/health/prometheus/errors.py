"""The one error of asking Prometheus."""

from rollout_gate.file.errors import RolloutError


class PrometheusError(RolloutError):
    """Prometheus cannot be asked, refuses, or answers what cannot be used.

    ``str()`` is one sentence that holds no credential.
    """
