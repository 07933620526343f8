"""``keys``: local profiles, and the organisation's API keys."""

import asyncio
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from msgspec.structs import asdict

from rollout_console.cli.confirm import agreed
from rollout_console.cli.credentials import ask_hidden
from rollout_console.cli.exit_codes import DONE, PROBLEMS
from rollout_console.cli.streams import Output
from rollout_console.common.errors import Misused, OperationError
from rollout_console.common.folders import state_folder
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.key_values import (
    as_json,
    find_key,
    matches,
    parse_expiry,
    parse_limit,
    sort_keys,
)
from rollout_console.credentials.rotation import Rotations
from rollout_console.credentials.vault.credential import WORDS, Credential
from rollout_console.tokenlab.types import ApiKey, Billing


def keys(options: Namespace, room: ApiKeys) -> int:
    """Run one of the ``keys`` commands; return the exit code."""
    return _COMMANDS[options.keys_command](options, room)


def _doctor(options: Namespace, room: ApiKeys) -> int:
    found = room.doctor(options.profile_name or "")
    if options.json:
        print(json.dumps([_credential_json(one) for one in found], indent=2))
    else:
        for one in found:
            print(f"{WORDS[one.purpose]} of profile {visible(one.profile)}:")
            for step in one.steps:
                sign = "+" if step.found and not step.reason else "!" if step.found else "-"
                print(f"  {sign} {visible(step.source)}: {visible(step.reason) or 'found, used'}")
    return DONE if all(one.secret is not None for one in found) else PROBLEMS


def _credential_json(one: Credential) -> dict[str, object]:
    return {
        "profile": one.profile,
        "purpose": one.purpose,
        "found": one.secret is not None,
        "source": one.source,
        "steps": [{"source": s.source, "found": s.found, "reason": s.reason} for s in one.steps],
    }


def _profiles(options: Namespace, room: ApiKeys) -> int:
    found = room.known_profiles()
    if options.json:
        rows = [{"name": p.name, "base_url": p.base_url, "places": p.places} for p in found]
        print(json.dumps(rows, indent=2))
        return DONE
    for profile in found:
        mark = "*" if profile.name == room.profile else " "
        kept = ", ".join(f"{purpose} in {place}" for purpose, place in profile.places.items())
        shown = f"{profile.name}  {profile.base_url}  {kept or '-'}"
        print(f"{mark} {visible(shown)}")
    return DONE


def _add(options: Namespace, room: ApiKeys) -> int:
    text = _pasted(options, room)
    where = room.add(options.profile_name, text, options.to)
    print(f"kept for profile {options.profile_name} in the {where.removeprefix('the ')}")
    return DONE


def _pasted(options: Namespace, room: ApiKeys) -> str:
    """Return the credential from standard input or a hidden prompt; never from an argument."""
    given = next(iter(room.vault.given.stdin.values()), None)
    if given is not None:
        return given
    text = ask_hidden(f"API key or management token of profile {options.profile_name} (hidden): ")
    if text is None:
        raise OperationError("nothing was typed; pipe it in and add --token-stdin")
    return text


def _remove(options: Namespace, room: ApiKeys) -> int:
    if not _sure(options, f"forget the credentials of profile {options.profile_name}"):
        return PROBLEMS
    places = room.remove(options.profile_name)
    print(f"removed: {', '.join(places)}" if places else "there was nothing to remove")
    return DONE


def _verify(options: Namespace, room: ApiKeys) -> int:
    found = {c.purpose: c for c in room.doctor()}
    if options.model:
        room.access.require_to_spend()
    rows: list[dict[str, object]] = []
    for purpose, credential in found.items():
        said = credential.problem
        if credential.secret is not None and purpose == "api_key" and not options.model:
            said = "add --model ID to prove it with one request of a few tokens"
        elif credential.secret is not None:
            said = asyncio.run(room.verify(purpose, options.model))
        source = credential.source if credential.secret is not None else ""
        rows.append({"purpose": purpose, "source": source, "said": said})
        if not options.json:
            print(f"{WORDS[purpose]}{visible(source and f' from {source}')}: {visible(said)}")
    if options.json:
        print(json.dumps(rows, indent=2))
    return DONE if all(row["source"] for row in rows) else PROBLEMS


def _list(options: Namespace, room: ApiKeys) -> int:
    everything = asyncio.run(room.keys())
    found = [key for key in everything if matches(key, options.filter)]
    if options.status:
        found = [key for key in found if key.status == options.status]
    found = sort_keys(found, options.sort)
    start = (options.page - 1) * options.limit
    shown = found[start : start + options.limit]
    if options.json:
        print(json.dumps([as_json(key) for key in shown], indent=2))
    else:
        for line in _table(shown):
            print(line.rstrip())
        if len(shown) < len(found):
            pages = -(-len(found) // options.limit)
            print(f"page {options.page} of {pages}, {counted(len(found), 'key')}", file=sys.stderr)
    for warning in room.warnings(everything):
        print(f"{warning.level}: {visible(warning.sentence)}", file=sys.stderr)
    return DONE


def _table(found: Sequence[ApiKey]) -> list[str]:
    rows = [("ID", "NAME", "PREFIX", "STATUS", "USED", "LIMIT", "EXPIRES", "LAST USED", "MODELS")]
    rows += [
        (
            visible(key.id), visible(key.name), visible(key.prefix), visible(key.status),
            f"${key.used:,.4f}", "none" if key.limit is None else f"${key.limit:,.2f}",
            _day(key.expires_at, "never"), _day(key.last_used_at, "never"),
            visible(", ".join(key.models)) or "any",
        )
        for key in found
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]


def _create(options: Namespace, room: ApiKeys) -> int:
    limit, expires_at = parse_limit(options.limit), parse_expiry(options.expires)
    models, kept = tuple(options.models), ""
    if options.store:
        created, kept = asyncio.run(
            room.create_kept(
                options.name, options.store, options.to,
                limit=limit, models=models, expires_at=expires_at,
            )
        )  # fmt: skip
    else:
        created = asyncio.run(
            room.create(options.name, limit=limit, models=models, expires_at=expires_at)
        )
    body: dict[str, object] = as_json(created.key) | {"kept_in": kept}
    if created.odd:
        body["odd"] = list(created.odd)
    if options.show_secret:
        body["key"] = created.secret.reveal()
    if options.json:
        print(json.dumps(body, indent=2))
    else:
        print(visible(f"made: {created.key.name} ({created.key.id or 'its id is not known'})"))
        if kept:
            print(visible(f"its secret is in the {kept}, profile {options.store}"))
        if options.show_secret:
            print(created.secret.reveal())
    sys.stdout.flush()
    if created.problem:
        print(f"warning: {visible(created.problem)}", file=sys.stderr)
    lost = sys.stdout.lost if isinstance(sys.stdout, Output) else None
    if lost is not None and options.show_secret and not kept:
        raise asyncio.run(room.revoke_lost(created.key, f"written: {lost}"))
    return DONE


def _change(make: Callable[[Namespace], dict[str, object]]) -> Callable[[Namespace, ApiKeys], int]:
    def run(options: Namespace, room: ApiKeys) -> int:
        changes = make(options)
        key = find_key(asyncio.run(room.keys()), options.key)
        words = " ".join(f"{name} {_words(value)}" for name, value in changes.items())
        if not _sure(options, f"key {key.name} ({key.id}): {words}", key.name):
            return PROBLEMS
        changed = asyncio.run(room.change(key, **changes))
        if options.json:
            print(json.dumps(as_json(changed), indent=2))
        else:
            print(visible(f"done: {changed.name} ({changed.id}): {words}"))
        return DONE

    return run


def _rotate(options: Namespace, room: ApiKeys) -> int:
    rotations = _rotations_of(room)
    key = find_key(asyncio.run(room.keys()), options.key)
    found = rotations.find(key)
    if options.abandon:
        if found is None:
            raise OperationError(f"key {key.name} is not being rotated")
        if not _sure(options, f"stay with key {found.old_name}, revoke {found.new_name}"):
            return PROBLEMS
        print(visible(asyncio.run(rotations.abandon(found))))
        return DONE
    if found is None:
        if not options.model:
            raise Misused("say with --model ID what proves the new key")
        what = f"rotate key {key.name} ({key.id}) of profile {room.profile}"
        if not _sure(options, what, key.name):
            return PROBLEMS
        start = rotations.start(
            key, options.to, options.model,
            quiet_s=options.quiet_s, safe_s=options.safe_s,
            force=options.force,
        )  # fmt: skip
        progress = asyncio.run(start)
    else:
        progress = asyncio.run(rotations.advance(found))
    if options.json:
        body = asdict(progress.rotation) | {"did": progress.did, "waits_for": progress.waits_for}
        print(json.dumps(body, indent=2))
        return DONE
    for line in progress.did:
        print(visible(line))
    waits = f"waits for {progress.waits_for}" if progress.waits_for else "the rotation is done"
    print(visible(waits))
    return DONE


def _list_rotations(options: Namespace, room: ApiKeys) -> int:
    found = _rotations_of(room).under_way()
    if options.json:
        print(json.dumps([asdict(rotation) for rotation in found], indent=2))
        return DONE
    for one in found:
        said = (
            f"{one.old_name} ({one.old_id}) to {one.new_name}, profile {one.profile}: "
            f"next is {one.step}, since {one.since[:16]}"
        )
        print(visible(said))
    return DONE


def _rotations_of(room: ApiKeys) -> Rotations:
    return Rotations(room, state_folder() / "rotations.json")


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "any"
    return "none" if value is None else str(value)


def _usage(options: Namespace, room: ApiKeys) -> int:
    key = find_key(asyncio.run(room.keys()), options.key)
    found = asyncio.run(
        room.billing(key, start=options.start, end=options.end, model=options.model)
    )
    if options.json:
        print(json.dumps(_billing_json(key, found), indent=2))
        return DONE
    print(visible(f"{key.name} ({key.id}): {counted(found.requests, 'request')}, ${found.cost:f}"))
    for title, rows in (("by model", found.by_model), ("by day", found.by_day)):
        print(title)
        for row in rows:
            requests = f"{row.requests:>8} " if title == "by model" else " " * 9
            print(f"  {visible(row.name):<32} {requests} ${row.cost:f}")
    return DONE


def _billing_json(key: ApiKey, found: Billing) -> dict[str, object]:
    return {
        "id": key.id,
        "requests": found.requests,
        "cost_usd": f"{found.cost:f}",
        "by_model": [
            {"model": row.name, "requests": row.requests, "cost_usd": f"{row.cost:f}"}
            for row in found.by_model
        ],
        "by_day": [{"date": row.name, "cost_usd": f"{row.cost:f}"} for row in found.by_day],
    }


def _sure(options: Namespace, what: str, wanted: str = "yes") -> bool:
    """Confirm on the terminal; a change to a key is confirmed by typing the key's name."""
    return options.yes or agreed("do it", "nothing was changed", wanted=wanted, lines=[what])


def _day(at: datetime | None, never: str) -> str:
    return never if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


_COMMANDS: dict[str, Callable[[Namespace, ApiKeys], int]] = {
    "doctor": _doctor,
    "profiles": _profiles,
    "add": _add,
    "remove": _remove,
    "verify": _verify,
    "list": _list,
    "create": _create,
    "rename": _change(lambda o: {"name": o.name}),
    "limit": _change(lambda o: {"limit": parse_limit(o.limit)}),
    "models": _change(lambda o: {"models": tuple(o.models)}),
    "expire": _change(lambda o: {"expires_at": parse_expiry(o.expires)}),
    "deactivate": _change(lambda _: {"status": "inactive"}),
    "reactivate": _change(lambda _: {"status": "active"}),
    "revoke": _change(lambda _: {"status": "revoked"}),
    "rotate": _rotate,
    "rotations": _list_rotations,
    "usage": _usage,
}
