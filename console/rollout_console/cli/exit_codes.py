"""Exit codes: part of the interface."""

DONE = 0
PROBLEMS = 1
USAGE = 2
UNREACHABLE = 3
CONFLICT = 4
