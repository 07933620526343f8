"""Errors of the first rollout file.

RolloutError
└── ScaffoldError    what was given cannot become a rollout file
"""

from rollout_gate.file.errors import RolloutError


class ScaffoldError(RolloutError):
    """What was given cannot become a rollout file; ``str()`` is one clear sentence."""
