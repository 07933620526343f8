"""The gate as an OpenFeature provider; needs the extra ``rollout-gate[openfeature]``."""

from rollout_gate.openfeature.provider import RolloutProvider

__all__ = ["RolloutProvider"]
