"""Requests that are no call of their route, or come with what is not for where they go: told."""

from typing import Any

import pytest

from rollout_gate.http import client
from tests.support.loopback import CHAT, PREVIOUS, TOKENLAB, Reply, TwoSides
from tests.support.sdks import openai

SAID: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
def told(sides: TwoSides) -> list[str]:
    found: list[str] = []
    sides.gate.subscribe(on_trouble=found.append)
    return found


def make(sides: TwoSides, **more: Any) -> Any:
    return client(sides.gate, "chat", **{"org": "acme", "tokenlab_key": TOKENLAB, **more})


@pytest.mark.parametrize("below", ["azure", "/openai", "/v1//", "/v1/openai", "/v1"])
def test_below_whatever_base_url_a_call_goes_to_the_side_decided(
    sides: TwoSides, below: str
) -> None:
    http = make(sides)
    sdk: Any
    if below == "azure":
        sdk = openai.AzureOpenAI(
            api_key=PREVIOUS, api_version="2024-10-21", azure_endpoint=sides.previous.url,
            http_client=http, max_retries=0,
        )  # fmt: skip
        own = "/openai/deployments/gpt-5.4/chat/completions?api-version=2024-10-21"
    else:
        url = sides.previous.url + below
        sdk = openai.OpenAI(api_key=PREVIOUS, base_url=url, http_client=http, max_retries=0)
        own = f"{below}/chat/completions" if "v1/" not in below else "/v1/openai/chat/completions"
    usual = below in ("/v1//", "/v1")
    with sdk:
        for percent in (100, 0):
            sides.decide(percent)
            sdk.chat.completions.create(model="gpt-5.4", messages=SAID)
    (there,), (back,) = sides.tokenlab.received, sides.previous.received
    assert there.target == "/v1/chat/completions"
    assert back.target == ("/v1/chat/completions" if usual else own)
    assert sides.crossings == []
    assert [line["side"] for line in sides.lines()] == ["tokenlab", "previous"]


def test_on_another_host_a_path_of_its_own_is_the_files(sides: TwoSides) -> None:
    sides.decide(0)
    with make(sides) as http:
        http.post("https://x.openai.azure.com/openai/deployments/d/chat/completions", json={})
    assert sides.previous.received[0].target == "/v1/chat/completions"


def test_what_is_no_call_is_told_once_with_its_shape(sides: TwoSides, told: list[str]) -> None:
    for _ in range(2):  # a client for each request would say it without end
        with make(sides) as http:
            for _ in range(3):
                http.post(f"{sides.previous.url}/v1/messages", json={"model": "m"})
                http.post(f"{sides.previous.url}/v1/responses", json={"model": "m"})
                http.get(f"{sides.previous.url}/v1/models/m-1")
                http.get(f"{sides.previous.url}/v1/models/m-2")
    assert told == []  # no request waits for a callback
    sides.gate.refresh()
    assert told == [
        f"{shape} is no call of route chat (openai_chat_completions): such requests go where the"
        " SDK sends them, are not decided, and have no line in the access log"
        for shape in ("POST /v1/messages", "POST /v1/responses", "GET /v1/models/{}")
    ]
    assert sides.lines() == []


def test_what_is_left_out_of_a_request_is_told_once_by_its_name(
    sides: TwoSides, told: list[str]
) -> None:
    url = f"{sides.previous.url}/v1/chat/completions?trace={PREVIOUS}&alt=json"
    mine = {"X-Own": PREVIOUS, "X-Title": "app", "Authorization": PREVIOUS}
    with make(sides, forward_headers=["x-title"]) as http:
        for _ in range(3):
            http.post(url, json={"model": "m", "api_key": PREVIOUS, "n": 1}, headers=mine)
    sides.gate.refresh()
    assert len(told) == 3
    assert [one.split(",")[0].split("have the ")[1] for one in told] == [
        "field api_key", "header x-own", "query parameter trace",
    ]  # fmt: skip
    assert PREVIOUS not in repr(told)
    there = sides.tokenlab.received[0]
    assert there.target == "/v1/chat/completions?alt=json"
    assert there.header("x-title") == "app"
    assert there.header("x-own") is None
    assert there.body == b'{"model":"new","n":1}'


@pytest.mark.parametrize("name", ["authorization", "X-API-Key", "cookie", "Host", "X-Rollout-Org"])
def test_the_other_sides_credential_cannot_be_passed_on(sides: TwoSides, name: str) -> None:
    with pytest.raises(ValueError, match=f"forward_headers has {name.lower()}"):
        make(sides, forward_headers=[name])


def test_an_sdk_that_has_tokenlabs_key_does_not_give_it_to_the_previous_provider(
    sides: TwoSides, told: list[str]
) -> None:
    sides.decide(0)
    url = f"{sides.previous.url}/v1/chat/completions?key={TOKENLAB}&x=1"
    headers = {"Authorization": f"Bearer {TOKENLAB}", "x-api-key": TOKENLAB, "X-Own": "mine"}
    with make(sides) as http:
        http.post(url, json={"model": "m"}, headers=headers)
        http.post(url, json={"model": "m"}, headers={"X-Own": TOKENLAB + "-and-more"})
    with make(sides, previous_key=PREVIOUS) as http:
        http.post(url, json={"model": "m"}, headers=headers)
    sides.gate.refresh()
    first, second, third = sides.previous.received
    assert first.target == third.target == "/v1/chat/completions?x=1"
    assert first.header("authorization") is None
    assert first.header("x-own") == "mine"
    assert second.header("x-own") is None, "a longer text has it as well"
    assert third.header("authorization") == f"Bearer {PREVIOUS}"
    assert [one for one in told if "come with TokenLab's key" in one] == [
        "requests on route chat come with TokenLab's key, which the previous provider is not sent"
        " (authorization, x-api-key, key): give the SDK the previous provider's key, or"
        " client(..., previous_key=...)"
    ]


def test_the_previous_providers_own_key_is_the_only_one_that_it_gets(sides: TwoSides) -> None:
    sides.decide(0)
    query = "key=AIza-of-the-app&x=1&api_key=mine&pageToken=2&api-version=3"
    call = f"{sides.previous.url}/v1/chat/completions?{query}"
    aside = f"{sides.previous.url}/v1/models?{query}"
    headers = {"Authorization": "Bearer of-the-app", "X-Goog-Api-Key": "AIza-of-the-app"}
    with make(sides, previous_key=PREVIOUS) as http:
        http.post(call, json={"model": "m"}, headers=headers)
        http.get(aside, headers=headers)
        http.get(aside)
    for one in sides.previous.received:
        assert one.target.partition("?")[2] == "x=1&pageToken=2&api-version=3"
        assert one.header("authorization") == f"Bearer {PREVIOUS}"
        assert one.header("x-goog-api-key") is None
    assert len(sides.previous.received) == 3
    with make(sides) as http:  # with the application's own key there is no other
        http.get(aside, headers=headers)
    assert sides.previous.received[3].target == f"/v1/models?{query}"
    assert sides.previous.received[3].header("authorization") == "Bearer of-the-app"


@pytest.mark.parametrize(
    "path", ["/other/v1/models", "/openai/../other/v1/models", "/openai/%2e%2e/v1/models", "/open"]
)
def test_the_previous_providers_key_goes_below_its_base_url_alone(
    sides: TwoSides, path: str
) -> None:
    text = sides.path.read_text().replace(
        f"{sides.previous.url}/v1", f"{sides.previous.url}/openai"
    )
    sides.path.write_text(text)
    sides.gate.refresh()
    sides.gate.refresh()
    assert sides.gate.file is not None
    assert sides.gate.file.routes["chat"].previous_base_url.endswith("/openai")
    with make(sides, previous_key=PREVIOUS) as http:
        http.get(f"{sides.previous.url}/openai/v1/models")
        http.get(f"{sides.previous.url}{path}", headers={"Authorization": "Bearer of-the-app"})
    its, other = sides.previous.received
    assert its.header("authorization") == f"Bearer {PREVIOUS}"
    assert other.header("authorization") == "Bearer of-the-app"


def test_a_previous_side_that_is_tokenlab_is_told_and_logged_as_what_it_is(
    sides: TwoSides, told: list[str]
) -> None:
    """The SDK has TokenLab's base URL already, and the file names no other for the way back."""
    text = sides.path.read_text().replace("= 100", "= 0")
    text = "\n".join(line for line in text.splitlines() if "previous_base_url" not in line)
    new = sides.path.with_suffix(".new")
    new.write_text(text)
    new.replace(sides.path)
    sides.gate.refresh()
    with make(sides) as http:
        url = f"{sides.tokenlab.url}/v1/chat/completions"
        http.post(url, json={"model": "m"}, headers={"Authorization": f"Bearer {PREVIOUS}"})
    sides.gate.refresh()
    (there,) = sides.tokenlab.received
    assert there.header("authorization") == f"Bearer {TOKENLAB}"
    assert [line["side"] for line in sides.lines()] == ["tokenlab"]
    assert [one for one in told if "give the route a previous_base_url" in one]


@pytest.mark.parametrize("key", ["sk-a\nb", "sk-a b", "sk-é", " \n", "sk-\x00"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(
    sides: TwoSides, key: str
) -> None:
    for options in ({"tokenlab_key": key}, {"previous_key": key}):
        with pytest.raises(ValueError, match="is empty, or has a character") as raised:
            make(sides, **options)
        assert "sk-" not in str(raised.value)


def test_blanks_around_a_key_are_no_part_of_it(sides: TwoSides) -> None:
    with make(sides, tokenlab_key=f"{TOKENLAB}\n") as http:
        http.post(f"{sides.previous.url}/v1/chat/completions", json={})
    assert sides.tokenlab.received[0].header("authorization") == f"Bearer {TOKENLAB}"


def test_a_function_that_gives_no_key_fails_its_own_side_alone_and_leaves_a_line(
    sides: TwoSides,
) -> None:
    def fail() -> str:
        raise RuntimeError("the vault is locked")

    url = f"{sides.previous.url}/v1/chat/completions"
    with make(sides, tokenlab_key=fail) as http:
        with pytest.raises(RuntimeError, match="the vault is locked"):
            http.post(url, json={})
        sides.decide(0)
        assert http.post(url, json={}).status_code == 200
    with make(sides, tokenlab_key=lambda: "sk-\n1") as http:
        sides.decide(100)
        with pytest.raises(ValueError, match="tokenlab_key is empty, or has a character"):
            http.post(url, json={})
    found = [(line["side"], line["status"], line.get("error")) for line in sides.lines()]
    assert found == [
        ("tokenlab", 0, "credential"), ("previous", 200, None), ("tokenlab", 0, "credential"),
    ]  # fmt: skip
    assert sides.tokenlab.received == []


def test_answers_are_sent_as_they_come_and_cookies_of_tokenlab_stay_there(sides: TwoSides) -> None:
    sides.tokenlab.answer = lambda _: Reply(200, CHAT, {"Set-Cookie": f"s={TOKENLAB}"})
    with make(sides) as http:
        http.post(f"{sides.previous.url}/v1/chat/completions", json={})
        sides.decide(0)
        http.post(f"{sides.previous.url}/v1/chat/completions", json={})
    assert sides.crossings == []


@pytest.mark.parametrize("first", ["acme", "back", "low"])
def test_what_has_several_orgs_is_decided_for_the_safest(
    sides: TwoSides, told: list[str], first: str
) -> None:
    """In whatever order: a rollback of one of them counts, then the previous provider."""
    sides.decide(100, "low = 0\nback = { percent = 100, rolled_back = true }\n")
    url = f"{sides.previous.url}/v1/chat/completions"
    with make(sides) as http:
        for orgs, side, logged in (
            ({first, "acme", "back", "low"}, "previous", "back"),
            ({first, "acme", "low"} - {"back"}, "previous", "low"),
            ({"acme"}, "tokenlab", "acme"),
        ):
            order = sorted(orgs, key=lambda org: org != first)
            headers = [("X-Rollout-Org", org) for org in [*order, *order[-1:]]]
            assert http.post(url, json={"model": "m"}, headers=headers).status_code == 200
            assert (sides.lines()[-1]["side"], sides.lines()[-1]["org"]) == (side, logged)
        many = [("X-Rollout-Org", "acme")] + [("X-Rollout-Key", f"k{it}") for it in range(80)]
        assert http.post(url, json={"model": "m"}, headers=many).status_code == 200
        assert sides.lines()[-1]["side"] == "previous"
    sides.gate.refresh()
    (words,) = [one for one in told if "x-rollout-org" in one]
    assert words.startswith("requests on route chat have several values of x-rollout-org")


def test_several_lines_of_flags_are_one_list(sides: TwoSides) -> None:
    sides.decide(100, "[routes.chat.flags]\noff = 0\n")
    url = f"{sides.previous.url}/v1/chat/completions"
    headers = [("X-Rollout-Flags", "off"), ("X-Rollout-Flags", "other")]
    with make(sides) as http:
        assert http.post(url, json={"model": "m"}, headers=headers).status_code == 200
    assert sides.lines()[-1]["side"] == "previous"
