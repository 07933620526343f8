"""Exit codes of ``rollout-console``: a stable interface for scripts."""

DONE = 0
PROBLEMS = 1
USAGE = 2
UNREACHABLE = 3
CONFLICT = 4
