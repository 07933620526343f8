"""The lines that put the gate into an application, for the SDK of each route's format."""

from collections.abc import Sequence

from rollout_console.changes.toml_edit.line import quoted
from rollout_console.scaffold.draft import USUAL_PREVIOUS, RouteDraft
from rollout_gate.file.model import MEDIA_FORMATS


def sdk_lines(route: RouteDraft, file: str) -> Sequence[str]:
    """Return Python code that sends a route's requests through the gate, see docs/gate.md.

    ``file`` is the path of the rollout file as the application is to open it. The literals are
    TOML's basic strings, which Python reads alike.
    """
    org = quoted(route.orgs[0] if route.orgs else "acme")
    gate = f"client(Gate({quoted(file)}), {quoted(route.name)})"
    first = ["from rollout_gate import Gate, subject", "from rollout_gate.http import client", ""]
    within = [f"with subject(org={org}):  # whom the request is for"]
    if route.format in MEDIA_FORMATS:
        own = gate.removesuffix(")") + ', previous_key=os.environ["PREVIOUS_API_KEY"])'
        return ["import os", "", *first, f"http = {own}", *within, "    http.post(...)"]
    if route.format == "gemini_generate_content":
        return [
            "from google import genai",
            "from google.genai import types",
            *first,
            f"options = types.HttpOptions(httpx_client={gate})",
            "sdk = genai.Client(http_options=options)",
            *within,
            "    sdk.models.generate_content(...)",
        ]
    module, name, call = {
        "openai_chat_completions": ("openai", "OpenAI", "chat.completions.create"),
        "openai_responses": ("openai", "OpenAI", "responses.create"),
        "anthropic_messages": ("anthropic", "Anthropic", "messages.create"),
    }[route.format]
    base = ""
    if route.previous_base_url not in ("", USUAL_PREVIOUS[route.format]):
        base = f"base_url={quoted(route.previous_base_url)}, "
    return [
        f"from {module} import {name}",
        *first,
        f"sdk = {name}({base}http_client={gate})",
        *within,
        f"    sdk.{call}(...)",
    ]
