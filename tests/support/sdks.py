"""The SDKs, each imported once a test uses it: together they take seconds of every worker."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anthropic
    import openai
    from google import genai
    from google.genai import errors, types
else:

    class _Lazily:
        """A module that is imported when a name of it is first asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # pytest looks for these in whatever a test module has
                raise AttributeError(name)
            return getattr(import_module(self._name), name)

    anthropic = _Lazily("anthropic")
    openai = _Lazily("openai")
    genai = _Lazily("google.genai")
    errors = _Lazily("google.genai.errors")
    types = _Lazily("google.genai.types")

__all__ = ["anthropic", "errors", "genai", "openai", "types"]
