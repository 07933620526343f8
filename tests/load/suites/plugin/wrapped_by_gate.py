"""A pytest plugin: every client that an SDK makes for itself is one of the gate's.

``GATE_SDK`` names the SDK, ``GATE_SIDE`` the side that all requests are decided for, and
``GATE_BASE_URL`` the base URL that the suite's tests use.
"""

import asyncio
import atexit
import importlib
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from rollout_gate import Gate
from rollout_gate.http import clients as http
from rollout_gate.http import network
from rollout_gate.http.exchanges import Exchanges
from rollout_gate.http.transport import kit_of

_FORMATS = {
    "openai": "openai_chat_completions",
    "anthropic": "anthropic_messages",
    "google": "gemini_generate_content",
}
_TOKENLAB_KEY = "tokenlab-key-of-the-suite"


def _gate(sdk: str, side: str) -> Gate:
    path = Path(tempfile.mkdtemp(prefix="rollout-suite-")) / "rollout.toml"
    # On the other side TokenLab has to be elsewhere, or there would be no other side.
    base = os.environ["GATE_BASE_URL"] if side == "tokenlab" else "https://tokenlab.invalid"
    percent = 100 if side == "tokenlab" else 0
    path.write_text(
        f'schema = 1\nalgorithm = "fractional-v3"\n[tokenlab]\nbase_url = "{base}"\n'
        f'[routes.suite]\nformat = "{_FORMATS[sdk]}"\n[routes.suite.orgs]\nacme = {percent}\n'
    )
    return Gate(path, poll_s=60)


def _wrapped(gate: Gate, library: str, timeout: Any, *, is_async: bool) -> type:
    """Return a class that takes what the SDK's own client takes, and is the gate's."""
    kit = kit_of(library)
    base: Any = kit.async_client if is_async else kit.client

    class Wrapped(base):  # type: ignore[misc]
        def __init__(self, **given: Any) -> None:
            transport = given.pop("transport", None)
            options: Any = {"timeout": timeout, **given, "library": library}
            options |= {"org": "acme", "tokenlab_key": _TOKENLAB_KEY}
            if transport is not None:  # the SDK's default client gives way to one that is given
                options = {k: v for k, v in options.items() if k not in network.SETTINGS}
                options["inner"] = transport
            exchanges = http._exchanges(gate, "suite", options)
            inner = http._inner(kit, options, is_async=is_async)
            make = kit.async_transport if is_async else kit.transport
            super().__init__(transport=make(kit, exchanges, inner), **http._settings(kit, options))

        def __del__(self) -> None:
            with suppress(Exception):
                if not self.is_closed and is_async:
                    asyncio.get_running_loop().create_task(self.aclose())
                elif not self.is_closed:
                    self.close()

    return Wrapped


def _wrap(sdk: str, side: str) -> None:
    gate = _gate(sdk, side)
    if sdk == "google":
        # Its tests are inside of it, and import it by this name.
        import google.genai

        sys.path.insert(0, str(Path(google.genai.__path__[0]).parent))
        module = importlib.import_module("genai._api_client")
        for library, name in (("httpx", "Httpx"), ("httpx2", "Httpx2")):
            timeout = importlib.import_module(library).Timeout(5.0)
            for kind in ("Sync", "Async"):
                made = _wrapped(gate, library, timeout, is_async=kind == "Async")
                setattr(module, f"{kind}{name}Client", made)
        return
    timeout = importlib.import_module(f"{sdk}._constants").DEFAULT_TIMEOUT
    for kind in ("", "Async"):
        made = _wrapped(gate, "httpx2", timeout, is_async=bool(kind))
        names = [f"{kind or 'Sync'}HttpxClientWrapper"]
        names += [f"{dash}Default{kind}Httpx{two}Client" for dash in ("", "_") for two in ("", "2")]
        for module in (
            importlib.import_module(sdk),
            importlib.import_module(f"{sdk}._base_client"),
        ):
            for name in names:
                if hasattr(module, name):
                    setattr(module, name, made)


def _count() -> None:
    """Keep how many requests were begun by the gate's clients in this process."""
    began = [0]
    begin = Exchanges.begin

    def counted(self: Exchanges, *given: Any) -> Any:
        began[0] += 1
        return begin(self, *given)

    Exchanges.begin = counted  # type: ignore[method-assign, assignment]
    counts = Path(os.environ["GATE_COUNTS"])
    atexit.register(lambda: counts.open("a").write(f"{began[0]}\n"))


if os.environ.get("GATE_SIDE"):
    _wrap(os.environ["GATE_SDK"], os.environ["GATE_SIDE"])
    _count()
