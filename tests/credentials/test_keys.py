"""Making keys where no answer tells whether one was made."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rollout_console.common.errors import OperationError
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.profiles import ProfileList
from rollout_console.tokenlab.errors import Refused, Uncertain
from rollout_console.tokenlab.types import ApiKey
from tests.credentials.vault.test_vault import vault_of
from tests.support.loopback import Answer, Origin, Received, Reply

KEY: dict[str, Any] = {
    "id": "key_1", "name": "ci", "key_prefix": "sk-abc", "status": "active",
    "used_amount_decimal": "0", "limit_amount_decimal": None, "models": [],
    "created_at": "2001-01-01T00:00:00Z", "key": "sk-abc-canary",
}  # fmt: skip
"""As a server whose clock is far behind makes it."""
OLD = KEY | {"id": "key_0", "created_at": "2099-01-01T00:00:00Z"}


def saying(create: Reply, listed: list[dict[str, Any]]) -> Answer:
    """Answer a create, and list the old key before it and ``listed`` after it."""
    created: list[Received] = []

    def answer(request: Received) -> Reply:
        if request.method == "POST":
            created.append(request)
            return create
        return Reply(200, {"data": listed if created else [OLD]})

    return answer


@pytest.mark.parametrize("listed", [[OLD, KEY], [OLD], []])
@pytest.mark.parametrize(
    "create",
    [
        Reply(200, b"{}"),
        Reply(204, b""),
        Reply(201, b"<html>"),
        Reply(201, KEY | {"key": ""}),
        Reply(500, {"error": {"message": "no"}}),
        Reply(504, b"<html>"),
    ],
)
async def test_what_may_have_been_made_is_looked_for(
    tmp_path: Path, create: Reply, listed: list[dict[str, Any]]
) -> None:
    with Origin(saying(create, listed)) as origin, pytest.raises(OperationError) as caught:
        await room_at(tmp_path, origin.url).create("ci")
    said = str(caught.value)
    assert "canary" not in said
    if KEY in listed:
        assert "a new key of that name, key_1:" in said
        assert "keys revoke key_1" in said
    else:
        assert "No new key of the name ci is in the list" in said
    assert [one.method for one in origin.received] == ["GET", "POST", "GET"]


ODD: dict[str, Reply] = {
    "": Reply(200, KEY),
    "used_amount_decimal": Reply(201, KEY | {"used_amount_decimal": "1e99"}),
    "limit_amount_decimal": Reply(201, KEY | {"limit_amount_decimal": "NaN"}),
    "created_at, models": Reply(201, KEY | {"created_at": "soon", "models": None}),
    "status": Reply(201, {name: value for name, value in KEY.items() if name != "status"}),
    "id": Reply(201, KEY | {"id": 7}),
    "id, name, key_prefix, status, used_amount_decimal, created_at": Reply(
        201, b'{"name": "\xff", "key": "sk-abc-canary", "models": ' + b"[" * 9999
    ),
}


@pytest.mark.parametrize("odd", ODD)
async def test_a_good_secret_is_never_lost(tmp_path: Path, odd: str) -> None:
    """The API shows it once, so whatever else is odd in its answer is said, and no more."""
    with Origin(saying(ODD[odd], [OLD, KEY])) as origin:
        created = await room_at(tmp_path, origin.url).create("ci", limit=Decimal(5))
    assert created.secret.reveal() == KEY["key"]
    assert (created.key.id, created.key.name) == ("key_1", "ci")
    assert sorted(created.odd) == sorted(filter(None, odd.split(", ")))
    assert bool(created.problem) == bool(odd)
    if odd == "limit_amount_decimal":
        assert created.key.limit == 5


async def test_an_odd_change_may_have_been_made(tmp_path: Path) -> None:
    with Origin(lambda _: Reply(200, KEY | {"used_amount_decimal": "1e99"})) as origin:
        room = room_at(tmp_path, origin.url)
        key = ApiKey("k", "ci", "sk", "active", None, Decimal(0), (), None, None, datetime.now(UTC))
        with pytest.raises(Uncertain, match="implausible amount; the change may have been made"):
            await room.change(key, status="revoked")


async def test_what_was_refused_was_not_made(tmp_path: Path) -> None:
    create = Reply(400, {"error": {"message": "no such model", "code": "model_not_found"}})
    with Origin(saying(create, [KEY])) as origin, pytest.raises(Refused, match="no such model"):
        await room_at(tmp_path, origin.url).create("ci")
    assert [one.method for one in origin.received] == ["GET", "POST"]


def room_at(folder: Path, url: str) -> ApiKeys:
    vault = vault_of(folder, Given(variables={"management_token": "mt-canary"}))
    return ApiKeys(vault, ProfileList(folder / "config.toml"), "prod", url)
