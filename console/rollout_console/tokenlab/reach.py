"""Reachability check of a host, without any credential."""

import asyncio

import httpx

from rollout_console.common.connection_errors import failure_words
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
    """Return whether an API answers at ``base_url``, and its answer in words.

    Without a credential a 401 is the expected answer, and any other status below 500 counts too,
    but not a redirect to another host, which no request follows, nor, for a text format, a web page
    in the place of JSON. Only status and headers are read, as a body may be endless.
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
            status, headers = answer.status_code, answer.headers
    except (httpx.TimeoutException, TimeoutError):
        return False, f"does not answer in {timeout_s:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return False, f"does not answer: {failure_words(error)}"
    problem = _problem(status, headers, url, is_text=route_format in _TEXT_PATH)
    return not problem, f"answers {status}{problem}"


def _problem(status: int, headers: httpx.Headers, url: str, *, is_text: bool) -> str:
    if status >= 500:
        return ", a server error"
    if 300 <= status < 400:
        try:
            is_same = httpx.URL(url).join(headers.get("location", "")).host == httpx.URL(url).host
        except httpx.InvalidURL:
            is_same = False
        return "" if is_same else ", a redirect to another host, which no request follows"
    expected = status in (401, 403, 405, 429) or "json" in headers.get("content-type", "")
    return ", but not as an API: is the path right?" if is_text and not expected else ""
