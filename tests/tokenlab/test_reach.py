"""Whether an API answers at a base URL: what every answer without a credential means."""

import pytest

from rollout_console.tokenlab.reach import answers
from tests.support.loopback import Origin, Reply

PAGE = {"Content-Type": "text/html"}
ELSEWHERE = {"Location": "https://login.example.com/"}


@pytest.mark.parametrize(
    ("reply", "alive", "words"),
    [
        (Reply(401, b"no", PAGE), True, "answers 401"),
        (Reply(200, {"data": []}), True, "answers 200"),
        (Reply(404, {"error": "no list here"}), True, "answers 404"),
        (Reply(429, b"", PAGE), True, "answers 429"),
        (Reply(404, b"<html>", PAGE), False, "answers 404, but not as an API: is the path right?"),
        (Reply(200, b"<html>", PAGE), False, "answers 200, but not as an API: is the path right?"),
        (Reply(307, b"", {"Location": "/v1/models/"}), True, "answers 307"),
        (Reply(302, b"", ELSEWHERE), False, "answers 302, a redirect to another host"),
        (Reply(302, b"", {"Location": "http://[broken"}), False, "answers 302, a redirect"),
        (Reply(503, b"", PAGE), False, "answers 503, a server error"),
    ],
)
async def test_what_an_answer_means(reply: Reply, alive: bool, words: str) -> None:
    with Origin(lambda _: reply) as origin:
        found, said = await answers("openai_chat_completions", f"{origin.url}/v1")
    assert found is alive, said
    assert said.startswith(words)


async def test_a_media_side_has_no_path_to_ask() -> None:
    with Origin(lambda _: Reply(404, b"<html>", PAGE)) as origin:
        assert await answers("video", origin.url) == (True, "answers 404")
