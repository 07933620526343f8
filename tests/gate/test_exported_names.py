"""The gate's public surface: what an application may import, and nothing by accident."""

import importlib

import pytest

SURFACE = {
    "rollout_gate": ("AccessLine", "AccessLog", "Decision", "Gate", "subject", "timestamp"),
    "rollout_gate.http": ("async_client", "client"),
    "rollout_gate.metrics": ("OpenTelemetryMetrics", "PrometheusMetrics"),
    "rollout_gate.openfeature": ("RolloutProvider",),
}


@pytest.mark.parametrize(("module", "names"), SURFACE.items())
def test_exported_names(module: str, names: tuple[str, ...]) -> None:
    found = importlib.import_module(module)
    assert tuple(found.__all__) == names
    for name in names:
        assert getattr(found, name).__doc__, f"{module}.{name} has no docstring"
    assert found.__doc__
