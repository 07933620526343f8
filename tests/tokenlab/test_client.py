"""The client: exact money, and no credential where it must not go."""

import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import httpx
import pytest
from jsonschema import Draft202012Validator

from rollout_console.credentials.key_values import SORTS, as_json, sort_keys, warnings_of
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.client import ManagementClient
from rollout_console.tokenlab.errors import (
    ApiError,
    Garbage,
    Refused,
    Uncertain,
    Unreachable,
    Unsafe,
)
from rollout_console.tokenlab.inference import InferenceClient
from rollout_console.tokenlab.types import Proof
from rollout_gate.secret import Secret
from tests.support.contract import converted, published_contract
from tests.support.waiting import soon

TOKEN = Secret("mt-sim-demo")


async def test_the_balance_is_exact(sim: SimServer) -> None:
    async with ManagementClient(sim.base_url + "/v1", TOKEN) as client:
        found = await client.balance()
    assert found.balance == found.total_recharge - found.total_used
    assert isinstance(found.balance, Decimal)


async def test_a_wrong_token_is_refused_without_being_shown(sim: SimServer) -> None:
    async with ManagementClient(sim.base_url, Secret("mt-canary-1234")) as client:
        with pytest.raises(Refused) as caught:
            await client.balance()
    assert caught.value.status == 401
    assert "canary" not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "garbage"}, Garbage),
        ({"kind": "drop"}, Unreachable),
        ({"kind": "truncate"}, Unreachable),
        ({"kind": "drip"}, Unreachable),
        ({"kind": "slow", "latency_ms": 60_000}, Unreachable),
        ({"status": 503}, Refused),
        ({"status": 429}, Refused),
    ],
)
async def test_every_fault_is_one_sentence(
    sim: SimServer, fault: dict[str, object], error: type[ApiError]
) -> None:
    sim.state.faults.add(fault)
    async with ManagementClient(sim.base_url, TOKEN, timeout_s=0.3) as client:
        with pytest.raises(error) as caught:
            await client.balance()
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, Refused):
        assert caught.value.retry_after_s == 2.0


def test_credentials_do_not_go_where_they_must_not() -> None:
    with pytest.raises(Unsafe, match="mt-"):
        ManagementClient("https://api.tokenlab.sh", Secret("sk-canary"))
    with pytest.raises(Unsafe, match="not https"):
        ManagementClient("http://api.tokenlab.sh", TOKEN)


def test_a_secret_shows_its_prefix_alone() -> None:
    secret = Secret("mt-canary")
    assert "canary" not in f"{secret} {secret!r} {secret:>20}"


async def test_the_life_of_a_key(sim: SimServer) -> None:
    async with ManagementClient(sim.base_url, TOKEN) as client:
        expires = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        made = await client.create_key(
            "ci", limit=Decimal("12.34"), models=("gpt-5.4",), expires_at=expires
        )
        assert made.key.limit == Decimal("12.34")
        assert made.key.expires_at == expires
        assert made.secret.prefix == "sk-"
        assert made.secret.reveal() not in repr(made)
        assert made.key in await client.keys()
        async with InferenceClient(sim.base_url, made.secret) as inference:
            assert await inference.prove("gpt-5.4") == Proof(True, "it works: gpt-5.4 answered")
            proof = await inference.prove("claude-sonnet-4-6")
            assert proof == Proof(False, "the key is valid, but may not use the model asked for")
        changed = await client.change_key(
            made.key.id,
            {"name": "renamed", "limit": None, "models": (), "expires_at": None,
             "status": "inactive"},
        )  # fmt: skip
        assert (changed.name, changed.limit, changed.models) == ("renamed", None, ())
        assert (changed.expires_at, changed.status) == (None, "inactive")
        async with InferenceClient(sim.base_url, made.secret) as inference:
            with pytest.raises(Refused) as caught:
                await inference.prove("gpt-5.4")
        assert caught.value.status == 401
        await client.change_key(made.key.id, {"limit": Decimal(0), "status": "active"})
        async with InferenceClient(sim.base_url, made.secret) as inference:
            assert "limit is used up" in (await inference.prove("gpt-5.4")).words
        spent = await client.billing(made.key.id)
        assert spent.requests == 1
        assert spent.cost == sum(row.cost for row in spent.by_model) > 0
        assert spent.cost == sum(row.cost for row in spent.by_day)
        assert (await client.billing(made.key.id, model="other")).requests == 0


async def test_keys_are_listed_page_by_page(sim: SimServer) -> None:
    async with ManagementClient(sim.base_url, TOKEN) as client:
        for i in range(205):
            await client.create_key(f"many-{i}")
        found = await client.keys()
    names, ids = [key.name for key in found], [key.id for key in found]
    assert {f"many-{i}" for i in range(205)} <= set(names)
    assert len(ids) == len(set(ids))


async def test_a_lost_answer_to_a_change_is_uncertain(sim: SimServer) -> None:
    sim.state.faults.add({"kind": "drop"})
    async with ManagementClient(sim.base_url, TOKEN, timeout_s=0.5) as client:
        with pytest.raises(Uncertain, match="may have been made"):
            await client.create_key("lost")
        with pytest.raises(Unreachable) as caught:
            await client.keys()
    assert not isinstance(caught.value, Uncertain)
    async with ManagementClient("http://127.0.0.1:9", TOKEN) as client:
        with pytest.raises(Unreachable) as caught:
            await client.create_key("never sent")
    assert not isinstance(caught.value, Uncertain)


class _Echo(BaseHTTPRequestHandler):
    """A host that redirects, or repeats the credential it was sent in its error."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        _Echo.seen.append(self.path)
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "http://localhost:1/stolen")
            self.end_headers()
            return
        body = json.dumps(
            {"error": {"message": f"bad {self.headers['Authorization']} sk-other-12345"}}
        )
        self.send_response(400)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[str]:
    _Echo.seen.clear()
    with HTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Says(BaseHTTPRequestHandler):
    """A host that answers everything with one text."""

    answer: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(_Says.answer)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def says() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Says) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def a_key(**fields: object) -> dict[str, object]:
    return {
        "id": "key_1", "name": "one", "key_prefix": "sk-1...", "status": "active",
        "used_amount_decimal": "1.5", "created_at": "2026-01-01T00:00:00Z", **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["1e999999999", "-1e999999999", "1e-999999999", "0e999999999", "1e16", "9" * 70, "NaN", "inf",
     "", "one"],
)  # fmt: skip
async def test_an_amount_that_no_money_has_is_garbage(says: str, text: str) -> None:
    answers = (
        {"organization_id": "o", "balance_decimal": text, "total_recharge_decimal": "1",
         "total_used_decimal": "1"},
        {"data": [a_key(used_amount_decimal=text)]},
        {"data": [a_key(limit_amount_decimal=text)]},
    )  # fmt: skip
    garbage = r"implausible amount|an amount that is not a number"
    async with ManagementClient(says, TOKEN) as client:
        for answer, ask in zip(answers, (client.balance, client.keys, client.keys), strict=True):
            _Says.answer = json.dumps(answer).encode()
            with soon(), pytest.raises(Garbage, match=garbage):
                await ask()


@pytest.mark.parametrize(
    ("currency", "taken"),
    [("USD", True), ("usd", True), ("", True), ("EUR", False), ("CNY", False)],
)
async def test_an_amount_in_another_currency_is_in_no_sum(
    says: str, currency: str, taken: bool
) -> None:
    item: dict[str, Any] = {"cost_decimal": "1", "created_at": "2026-01-01T00:00:00Z"}
    pages: dict[str, Any] = {"pagination": {"total": 1, "totalPages": 1}}
    total: dict[str, Any] = {"total_cost_decimal": "1", "currency": currency}
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    async with ManagementClient(says, TOKEN) as client:

        async def usage() -> object:
            return await client.usage("k", page=1, start=noon, end=noon)

        async def billing() -> object:
            return await client.billing("k")

        answers: tuple[tuple[dict[str, Any], Callable[[], Awaitable[object]]], ...] = (
            ({"items": [{**item, "currency": currency}], **pages}, usage),
            ({"items": [item], **pages, "summary": total}, usage),
            ({"summary": {"total_requests": 1, **total}, "breakdowns": {}}, billing),
            ({**json.loads(BALANCE % b""), "currency": currency}, client.balance),
        )
        for answer, ask in answers:
            _Says.answer = json.dumps(answer).encode()
            if taken:
                await ask()
            else:
                with pytest.raises(Garbage, match="an amount that is not in US dollars"):
                    await ask()


BALANCE = (
    b'{"organization_id": "o%b", "balance_decimal": "1", "total_recharge_decimal": "1",'
    b' "total_used_decimal": "1"}'
)


@pytest.mark.parametrize("odd", [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\\ud800"])
async def test_bytes_that_are_no_utf8_are_garbage_and_the_next_answer_is_read(
    says: str, odd: bytes
) -> None:
    async with ManagementClient(says, TOKEN) as client:
        for ask, answer in (
            (client.balance, BALANCE % odd),
            (client.keys, b'{"data": [{"id": "' + odd + b'"}]}'),
            (client.keys, b'\xff\xfe{"data": []}'),
        ):
            _Says.answer = answer
            with pytest.raises(Garbage, match="is not what the API's contract says"):
                await ask()
        _Says.answer = b"\xef\xbb\xbf" + BALANCE % b""
        assert (await client.balance()).balance == 1


async def test_large_and_small_money_is_exact(says: str) -> None:
    amounts = ("999999999999999.99", "0.000000000000000001", "1E+3", "-0.5")
    async with ManagementClient(says, TOKEN) as client:
        for text in amounts:
            _Says.answer = json.dumps({"data": [a_key(used_amount_decimal=text)]}).encode()
            (found,) = await client.keys()
            assert found.used == Decimal(text)


async def test_a_time_at_the_end_of_all_times_breaks_no_list(says: str) -> None:
    keys = [
        a_key(id="far", expires_at="9999-12-31T23:59:59-12:00"),
        a_key(id="past", created_at="0001-01-01T00:00:00+12:00"),
        a_key(id="usual", expires_at="2027-01-01T00:00:00+01:00"),
    ]
    _Says.answer = json.dumps({"data": keys}).encode()
    async with ManagementClient(says, TOKEN) as client:
        far, past, usual = await client.keys()
    assert far.expires_at == datetime.max.replace(tzinfo=UTC)
    assert past.created_at == datetime.min.replace(tzinfo=UTC)
    assert usual.expires_at == datetime(2026, 12, 31, 23, tzinfo=UTC)
    for order in SORTS:
        assert len(sort_keys([far, past, usual], order)) == 3
    assert list(warnings_of(far, datetime.now(UTC))) == []
    assert [as_json(key)["id"] for key in (far, past, usual)] == ["far", "past", "usual"]


async def test_a_host_that_repeats_the_credential_is_not_repeated(echo: str) -> None:
    async with ManagementClient(echo, Secret("mt-canary-9876")) as client:
        with pytest.raises(Refused) as caught:
            await client.balance()
    assert "canary" not in str(caught.value)
    assert "other" not in str(caught.value)


async def test_a_redirect_is_not_followed(echo: str) -> None:
    async with ManagementClient(f"{echo}/redirect", Secret("mt-canary-9876")) as client:
        with pytest.raises(Refused, match="not followed"):
            await client.balance()
    assert len(_Echo.seen) == 1


def test_each_kind_goes_to_its_own_routes_alone() -> None:
    with pytest.raises(Unsafe, match="API key"):
        InferenceClient("https://api.tokenlab.sh", TOKEN)
    for plain in ("http://api.tokenlab.sh", "ftp://api.tokenlab.sh", "api.tokenlab.sh"):
        with pytest.raises(Unsafe, match="not https"):
            InferenceClient(plain, Secret("sk-canary-0001"))


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "https://[v1.x]", "http://127.0.0.1:port", "http://[::1]:99999", "https://a\x1bb",
     "https://xn--a.com", "https://a.com\n"],
)  # fmt: skip
def test_what_is_no_url_is_one_sentence(url: str) -> None:
    with pytest.raises(Unsafe, match="is no URL; nothing was sent") as caught:
        ManagementClient(url, TOKEN)
    assert str(caught.value).isprintable()


async def test_every_request_is_what_the_contract_says() -> None:
    """What the client sends is held against the published contract: path, query and body."""
    contract = published_contract()
    paths = contract["paths"]
    sent: list[httpx.Request] = []

    async def record(request: httpx.Request) -> None:
        sent.append(request)

    with SimServer(seed=9) as sim:
        await _send_everything(sim, record)
    assert len(sent) == 7
    for request in sent:
        template = re.sub("(api-keys/)[^/]+", r"\1{keyId}", request.url.path)
        operation = paths[template][request.method.lower()]
        known = {p["name"] for p in operation.get("parameters", ()) if p.get("in") == "query"}
        assert set(request.url.params) <= known
        body = operation.get("requestBody")
        if body is not None:
            schema = body["content"]["application/json"]["schema"]
            root = converted({**schema, "components": contract["components"]})
            Draft202012Validator(root).validate(json.loads(request.content))


async def _send_everything(sim: SimServer, record: Callable[[httpx.Request], Any]) -> None:
    async with ManagementClient(sim.base_url, TOKEN) as client:
        client._transport._client.event_hooks["request"].append(record)
        await client.balance()
        await client.keys()
        made = await client.create_key("all", limit=Decimal("1.5"), models=("gpt-5.4",))
        expires = datetime(2031, 1, 1, tzinfo=UTC)
        await client.change_key(made.key.id, {"name": "more", "expires_at": expires})
        await client.change_key(made.key.id, {"limit": None, "models": (), "status": "revoked"})
        await client.billing(made.key.id, start="2026-01-01", end="2026-12-31", model="gpt-5.4")
    async with InferenceClient(sim.base_url, Secret("sk-sim-demo")) as inference:
        inference._transport._client.event_hooks["request"].append(record)
        await inference.prove("gpt-5.4")
