"""The read-only view in a browser: textual-serve, narrowed; loaded by ``rollout-console web``."""
