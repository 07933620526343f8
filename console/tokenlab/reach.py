"""Whether a host answers at all; nothing secret is sent."""

import httpx

from console.rollout.routemap import root_of
from console.tokenlab.transport import is_loopback

_TEXT_PATH = {
    "openai_chat_completions": "/v1/models",
    "openai_responses": "/v1/models",
    "anthropic_messages": "/v1/models",
    "gemini_generate_content": "/v1beta/models",
}


async def answers(route_format: str, base_url: str, *, timeout_s: float = 5.0) -> tuple[bool, str]:
    """Return whether the side behind ``base_url`` answers, and what it said in words.

    Without a credential the right answer is a refusal: that is somebody at home.
    """
    url = root_of(base_url) + _TEXT_PATH.get(route_format, "")
    try:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=not is_loopback(url)) as client:
            answer = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return False, f"does not answer: {type(error).__name__}"
    alive = answer.status_code < 500
    return alive, f"answers {answer.status_code}" + ("" if alive else ", which is no good sign")
