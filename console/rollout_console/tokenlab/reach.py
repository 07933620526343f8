"""Reachability check of a host, without any credential."""

import asyncio

import httpx

from rollout_console.tokenlab.tls import tls_context
from rollout_console.tokenlab.transport import is_loopback
from rollout_gate.file.formats import root_of

_TEXT_PATH = {
    "openai_chat_completions": "/v1/models",
    "openai_responses": "/v1/models",
    "anthropic_messages": "/v1/models",
    "gemini_generate_content": "/v1beta/models",
}


async def answers(route_format: str, base_url: str, *, timeout_s: float = 5.0) -> tuple[bool, str]:
    """Return whether the side at ``base_url`` is reachable, and its answer in words.

    Any status below 500 counts: without a credential a 401 is the expected answer. Only the status
    is read, as a body may be endless.
    """
    url = root_of(base_url) + _TEXT_PATH.get(route_format, "")
    try:
        trust_env = not is_loopback(url)
        tls = tls_context(url, trust_env=trust_env)
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(timeout=timeout_s, trust_env=trust_env, verify=tls) as client,
            client.stream("GET", url) as answer,
        ):
            status = answer.status_code
    except (httpx.TimeoutException, TimeoutError):
        return False, f"does not answer in {timeout_s:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return False, f"does not answer: {type(error).__name__}"
    alive = status < 500
    return alive, f"answers {status}" + ("" if alive else ", which is no good sign")
