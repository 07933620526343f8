"""The one error of asking Prometheus."""

from rollout_gate.file.errors import RolloutError


class PrometheusError(RolloutError):
    """Prometheus cannot be asked, refuses, or answers what cannot be used.

    ``str()`` is one sentence that holds no credential; ``is_late`` is whether the answer took too
    long.
    """

    def __init__(self, sentence: str, *, is_late: bool = False) -> None:
        super().__init__(sentence)
        self.is_late = is_late
