"""API keys of previous providers, for probes and shadow samples of the previous side.

They come from environment variables, or files that these name, and are never stored.
"""

import re
from pathlib import Path

from rollout_console.credentials.vault.credential import MOST_CHARACTERS
from rollout_console.credentials.vault.environment import PREVIOUS_VARIABLE, Given, read_given_file
from rollout_gate.secret import Secret

_OF_FORMAT = {
    "openai_chat_completions": ("OPENAI_API_KEY",),
    "openai_responses": ("OPENAI_API_KEY",),
    "anthropic_messages": ("ANTHROPIC_API_KEY",),
    "gemini_generate_content": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
}


def route_variable(route: str) -> str:
    """Return the environment variable that holds a route's previous key."""
    return PREVIOUS_VARIABLE + re.sub(r"[^A-Z0-9]+", "_", route.upper())


def previous_key(
    given: Given, route: str, route_format: str, tokenlab_key: Secret | None
) -> tuple[Secret | None, str]:
    """Return the key of a route's previous side and its source, or None and the reason.

    The route's own variable takes precedence over the provider's usual one, and each over its
    ``_FILE`` form. A TokenLab credential is refused: it is never sent to another host.
    """
    names = (route_variable(route), *_OF_FORMAT.get(route_format, ()))
    for name in names:
        text, where = given.previous.get(name), f"${name}"
        file = given.environ.get(f"{name}_FILE", "")
        if text is None and file:
            text, reason = read_given_file(Path(file))
            where = f"${name}_FILE"
            if text is None:
                return None, f"{where}: {reason}"
        if text is None:
            continue
        value = text.strip()
        if not value.isascii() or not value.isprintable() or " " in value or not value:
            return None, f"{where}: it is no key: paste it again"
        if len(value) > MOST_CHARACTERS:
            return None, f"{where}: it has {len(value)} characters, which no key has"
        same = tokenlab_key is not None and value == tokenlab_key.reveal()
        if same or value.startswith("mt-"):
            return None, f"{where}: it is TokenLab's own, which is sent to nobody else"
        return Secret(value), where
    return None, f"no key for the previous side: set ${' or $'.join(names)}, or its _FILE form"
