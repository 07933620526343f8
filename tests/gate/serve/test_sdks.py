"""Official SDKs of other languages, and of Python, with nothing but another base URL."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout_console.sim.server import SimServer
from tests.gate.http.clients import TEXT
from tests.support.loopback import CHAT, Reply, TwoSides
from tests.support.parts import missing_part, need
from tests.support.sdks import anthropic, genai, openai, types
from tests.support.serving import Proxy, serving
from tests.support.waiting import PATIENCE_S, until

KEY = "sk-sim-demo"
JAVA = Path(__file__).parents[2] / "java"
NODE = Path(__file__).parents[2] / "node"
EVENTS = {"Content-Type": "text/event-stream"}
STREAM = (
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
)
FILE = """\
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "{url}"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
previous_base_url = "{previous}/v1"
[routes.chat.orgs]
acme = 100
[routes.claude]
format = "anthropic_messages"
model = "claude-sonnet-4-6"
previous_base_url = "{previous}"
[routes.claude.orgs]
acme = 100
[routes.gemini]
format = "gemini_generate_content"
model = "gemini-3.5-flash"
previous_base_url = "{previous}"
[routes.gemini.orgs]
acme = 100
[routes.video]
format = "video"
model = "google-video-1"
default_percent = 100
previous_base_url = "{previous}/v1"
"""


@pytest.fixture
def proxy(sim: SimServer, tmp_path: Path) -> Iterator[Proxy]:
    path = tmp_path / "rollout.toml"
    path.write_text(FILE.format(url=sim.base_url, previous=sim.previous_base_url))
    with serving(path, key=KEY) as found:
        yield found


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "access.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_client_of_the_jdk(proxy: Proxy, tmp_path: Path) -> None:
    """It offers HTTP/2 with each request, whole, streamed, and 20 at once."""
    if shutil.which("java") is None:
        pytest.skip("there is no Java here")
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", str(JAVA / "ThroughProxy.java"), proxy.url],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    if "jdk.compiler" in done.stderr:
        pytest.skip("this Java has no compiler")
    assert done.returncode == 0, done.stderr
    status, body, streams, many = done.stdout.splitlines()
    assert status == "200 HTTP_1_1"
    assert json.loads(body)["choices"]
    assert (streams, many) == ("true", "200")
    until(lambda: len(lines(tmp_path)) == 22)
    found = lines(tmp_path)
    assert {(one["side"], one["org"], one["outcome"]) for one in found} == {
        ("tokenlab", "acme", "ok")
    }


def through_node(url: str, *words: str) -> Any:
    need("node")
    if not (NODE / "node_modules" / "openai").is_dir():
        missing_part("the Node SDKs are not installed: npm ci --prefix tests/node")
    done = subprocess.run(
        ["node", "through_proxy.mjs", url, *words], cwd=NODE, capture_output=True, text=True,
        timeout=PATIENCE_S, env={**os.environ, "NO_PROXY": "*"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("org", "side"), [("acme", "tokenlab"), ("other", "previous")])
def test_node(proxy: Proxy, tmp_path: Path, org: str, side: str) -> None:
    found = through_node(proxy.url, org)
    assert found["openai"]["text"].strip() == found["openai"]["stream"].strip() == TEXT
    assert found["anthropic"]["text"].strip() == found["anthropic"]["stream"].strip() == TEXT
    assert found["error"]["status"] == 404
    assert "no route of the rollout file" in found["error"]["message"]
    until(lambda: len(lines(tmp_path)) >= 4)
    logged = [line for line in lines(tmp_path) if line["status"] == 200]
    assert [line["route"] for line in logged[:4]] == ["chat", "chat", "claude", "claude"]
    assert {line["side"] for line in logged[:4]} == {side}
    assert {line["org"] for line in logged[:4]} == {org}
    models = {found["openai"]["model"], found["anthropic"]["model"]}
    wanted = {"gpt-5.4", "claude-sonnet-4-6"} if side == "tokenlab" else {"gpt-5", "claude-x"}
    assert models == wanted


def test_node_retries_are_attempts(sides: TwoSides) -> None:
    """The SDK says that it tries again: the second line of the log is the same request's."""
    replies = iter([Reply(503, {}), Reply(200, CHAT)])
    sides.tokenlab.answer = lambda _: next(replies, Reply(200, STREAM, EVENTS))
    with serving(sides.path) as proxy:
        found = through_node(proxy.url, "acme", "chat")
        assert found["openai"]["text"] == "ok"
        until(lambda: len(sides.lines()) == 3)
    told = [(line["status"], line["attempt"]) for line in sides.lines()]
    assert told == [(503, 1), (200, 2), (200, 1)]
    assert {line["side"] for line in sides.lines()} == {"tokenlab"}


def test_python(proxy: Proxy, tmp_path: Path) -> None:
    """Python's SDKs too, for an application that cannot take the library."""
    org = {"X-Rollout-Org": "acme"}
    with openai.OpenAI(
        base_url=f"{proxy.url}/chat/v1", api_key="previous-key", default_headers=org
    ) as one:
        chat = one.chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": "x"}]
        )
        assert (chat.choices[0].message.content or "").strip() == TEXT
    with anthropic.Anthropic(
        base_url=f"{proxy.url}/claude", api_key="previous-key", default_headers=org
    ) as two, two.messages.stream(
        model="claude-x", max_tokens=50, messages=[{"role": "user", "content": "x"}]
    ) as stream:  # fmt: skip
        assert "".join(stream.text_stream).strip() == TEXT
    options = types.HttpOptions(base_url=f"{proxy.url}/gemini", headers=org)
    three = genai.Client(api_key="previous-key", http_options=options)
    try:
        answer = three.models.generate_content(model="gemini-3.5-flash", contents="x")
        assert (answer.text or "").strip() == TEXT
    finally:
        three.close()
    until(lambda: len(lines(tmp_path)) == 3)
    assert {line["side"] for line in lines(tmp_path)} == {"tokenlab"}
    assert "previous-key" not in (tmp_path / "access.jsonl").read_text()


def test_a_job_is_created_once(proxy: Proxy, tmp_path: Path) -> None:
    """A create that is repeated with its job id is answered from the ledger, as in Python."""
    need("curl")
    create = [
        "curl", "-sS", "-X", "POST", f"{proxy.url}/video/v1/videos/generations",
        "-H", "Content-Type: application/json", "-H", "Authorization: Bearer previous-key",
        "-H", "X-Rollout-Org: acme", "-H", "X-Rollout-Job-Id: job-1",
        "-d", '{"model": "google-video-1", "prompt": "a cat"}',
    ]  # fmt: skip
    made = [
        json.loads(subprocess.run(create, capture_output=True, check=True, timeout=60).stdout)
        for _ in range(2)
    ]
    assert made[0]["id"] == made[1]["id"]
    task = subprocess.run(
        ["curl", "-sS", f"{proxy.url}/video/v1/tasks/{made[0]['id']}"], capture_output=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(task.stdout)["id"] == made[0]["id"]
    until(lambda: len(lines(tmp_path)) == 2)
    assert [line.get("operation") for line in lines(tmp_path)].count(None) == 1
