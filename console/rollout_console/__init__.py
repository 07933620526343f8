"""The console that operators install."""

import sys

# Block the import of httpx's own command line (rich, click and pygments: 40% of httpx's import),
# which it does without where click is not installed. The console calls the library alone.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
