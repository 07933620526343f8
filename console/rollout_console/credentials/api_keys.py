"""Use cases of credentials and API keys, shared by the screen and the commands."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Set
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from rollout_console.common.errors import OperationError
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.key_values import (
    KeyBurn,
    KeyWarning,
    checked_key_name,
    warnings_of,
)
from rollout_console.credentials.vault.credential import (
    PREFIX,
    PURPOSES,
    WORDS,
    Credential,
    Purpose,
    checked,
    kind_of,
)
from rollout_console.credentials.vault.errors import BadCredential, UncertainWrite, VaultError
from rollout_console.credentials.vault.profiles import Profile, ProfileList, checked_name
from rollout_console.credentials.vault.vault import Place, Vault
from rollout_console.tokenlab.errors import ApiError, Uncertain
from rollout_console.tokenlab.types import ApiKey, Balance, Billing, CreatedKey, Proof
from rollout_gate.secret import Secret

if TYPE_CHECKING:
    from rollout_console.tokenlab.client import ManagementClient
    from rollout_console.tokenlab.inference import InferenceClient
    from rollout_console.tokenlab.tasks import TasksClient


class UncertainSecret(OperationError):
    """A key was made, and it is not known whether its secret is kept: ``key`` still works."""

    def __init__(self, key: ApiKey, profile: str, why: UncertainWrite) -> None:
        self.key = key
        self.made = f"key {key.name} ({key.id or 'its id is in keys list'}) was made, and works"
        self.unknown = f"whether its secret is kept for profile {profile} is not known: {why}"
        remedy = f"keys revoke {key.id}" if key.id else "find it with keys list"
        super().__init__(
            f"{self.made}; {self.unknown}. Look with keys verify --profile {profile}, and where it"
            f" is not there, revoke it: {remedy}"
        )


class ApiKeys:
    """The credentials and the organisation's API keys, as one profile sees them.

    Methods that use the vault may block for seconds; those that call the API raise ApiError, and
    OperationError without a credential for it. Methods that change something raise ReadOnly.
    """

    def __init__(
        self,
        vault: Vault,
        profiles: ProfileList,
        profile: str,
        base_url: str,
        *,
        access: WriteAccess | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.vault = vault
        self.profiles = profiles
        self.profile = profile
        self.base_url = base_url
        self._first = Profile(profile, base_url)
        self.access = access or WriteAccess()
        self._clock = clock

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return self._clock()

    # -- credentials -----------------------------------------------------------------------------

    def doctor(self, profile: str = "") -> list[Credential]:
        """Resolve both credentials of a profile, past the cache, with every source tried."""
        name = profile or self.profile
        return [self.vault.resolve(name, purpose, anew=True) for purpose in PURPOSES]

    def known_profiles(self) -> list[Profile]:
        """Return the profiles added locally, those of config.toml, and the initial one, by name."""
        found = self.profiles.all()
        for name, config in self.vault.config.profiles.items():
            found.setdefault(name, Profile(name, config.base_url))
        known = found.get(self._first.name, self._first)
        found[known.name] = known if known.base_url else self._first
        return [found[name] for name in sorted(found)]

    def add(self, profile: str, text: str, place: Place | None) -> str:
        """Store a pasted credential for a profile; return where. Its prefix tells its kind.

        ``place`` None keeps it in memory for this run alone. Raises VaultError, ReadOnly.
        """
        self.access.require()
        checked_name(profile)
        purpose = kind_of(text)
        if purpose is None:
            kinds = " or ".join(f"{PREFIX[p]} ({WORDS[p]})" for p in PURPOSES)
            raise BadCredential(f"that is no credential of TokenLab's: one starts with {kinds}")
        return self.keep(profile, purpose, checked(purpose, text), place)

    def keep(self, profile: str, purpose: Purpose, secret: Secret, place: Place | None) -> str:
        """Store a credential for a profile; return where. Raises VaultError, ReadOnly."""
        self.access.require()
        if place is None:
            self.vault.use_for_this_run(profile, purpose, secret)
            return "this run alone"
        # The list of profiles comes first: where that cannot be written, no credential is replaced.
        before, after = self.profiles.change(
            profile,
            lambda known: Profile(
                profile, known.base_url or self.base_url, {**known.places, purpose: place}
            ),
        )
        try:
            return self.vault.put(profile, purpose, secret, place)
        except UncertainWrite:
            raise
        except VaultError:
            with suppress(VaultError):
                self.profiles.change(profile, lambda known: before if known == after else known)
            raise

    def remove(self, profile: str, purposes: Iterable[Purpose] = PURPOSES) -> list[str]:
        """Delete credentials of a profile; return where they were. Raises VaultError, ReadOnly."""
        self.access.require()
        places: list[str] = []
        removed = tuple(purposes)
        self.profiles.all()  # raises VaultError before anything is deleted
        for purpose in removed:
            found = self.vault.remove(profile, purpose)
            places += [f"{WORDS[purpose]} in {place}" for place in found]
        self.profiles.change(profile, lambda known: _without(known, removed))
        return places

    def forget(
        self, profile: str, purpose: Purpose, place: Place, *, keeps_profile: bool = False
    ) -> None:
        """Delete a credential of a profile from one store alone. Raises VaultError, ReadOnly.

        The profile is dropped with its last credential, and its base URL with it, unless
        ``keeps_profile``.
        """
        self.access.require()
        self.vault.forget(profile, purpose, place)
        known = self.profiles.all().get(profile)
        if known is None or known.places.get(purpose) != place:
            return

        def forgotten(known: Profile) -> Profile | None:
            if known.places.get(purpose) != place:
                return known
            return _without(known, [purpose], keeps_profile=keeps_profile)

        self.profiles.change(profile, forgotten)

    async def verify(self, purpose: Purpose, model: str) -> str:
        """Verify a credential with one real call; return the result as a sentence.

        A management token requests the balance; an API key sends one inference request of a few
        tokens to ``model``, as nothing less proves it. Raises ReadOnly for that one.
        """
        if purpose == "management_token":
            balance = await self.balance()
            return f"it works: the balance is ${balance.balance:,.2f}"
        self.access.require_to_spend()
        return (await self.prove(self._secret("api_key"), model)).words

    async def balance(self) -> Balance:
        """Return the organisation's balance."""
        async with self.management() as client:
            return await client.balance()

    async def prove(self, key: Secret, model: str) -> Proof:
        """Verify an API key with one inference request of a few tokens to ``model``."""
        async with self._inference(key) as client:
            return await client.prove(model)

    def tasks(self) -> "TasksClient":
        """Return a client that asks about tasks with the profile's API key."""
        from rollout_console.tokenlab.tasks import TasksClient

        return TasksClient(self._address(), self._secret("api_key"))

    # -- the organisation's API keys -------------------------------------------------------------

    async def keys(self) -> list[ApiKey]:
        """Return all API keys of the organisation."""
        async with self.management() as client:
            return await client.keys()

    async def create(
        self,
        name: str,
        *,
        limit: Decimal | None = None,
        models: tuple[str, ...] = (),
        expires_at: datetime | None = None,
    ) -> CreatedKey:
        """Create an API key; its secret is in the answer and nowhere else.

        Where the answer does not tell whether it was created (Uncertain), the key list is compared
        with the one before, and the OperationError names the new key to revoke: its secret is
        lost. An id that the answer does not tell is looked up there as well.
        """
        self.access.require()
        checked = checked_key_name(name)
        async with self.management() as client:
            # Compare ids, not creation times: clock skew between both sides is unbounded.
            before = {key.id for key in await client.keys()}
            try:
                created = await client.create_key(
                    checked, limit=limit, models=models, expires_at=expires_at
                )
            except Uncertain as error:
                found = await _new_keys(client, checked, before)
                raise OperationError(f"{error}. {found}") from None
            if not created.key.id:
                with suppress(ApiError):
                    new = [
                        key for key in await client.keys()
                        if key.name == checked and key.id not in before
                    ]  # fmt: skip
                    if len(new) == 1:
                        created = replace(created, key=new[0])
            return created

    async def create_kept(
        self,
        name: str,
        profile: str,
        place: Place,
        *,
        limit: Decimal | None = None,
        models: tuple[str, ...] = (),
        expires_at: datetime | None = None,
    ) -> tuple[CreatedKey, str]:
        """Create an API key and store its secret for a profile; return the key and where.

        The store is checked first. A key whose secret could not be stored after all is revoked:
        the API never shows the secret a second time. Where the store may still store it, it is not
        revoked, as the profile would be left with a key that does not work.
        """
        self.access.require()
        checked_name(profile)
        await asyncio.to_thread(self.vault.check, place, profile)
        created = await self.create(name, limit=limit, models=models, expires_at=expires_at)
        try:
            where = await asyncio.to_thread(self.keep, profile, "api_key", created.secret, place)
        except UncertainWrite as error:
            raise UncertainSecret(created.key, profile, error) from None
        except VaultError as error:
            raise await self.revoke_lost(created.key, f"kept: {error}") from None
        return created, where

    async def revoke_lost(self, key: ApiKey, why: str) -> OperationError:
        """Revoke a new key whose secret is lost; return the error to raise.

        ``why`` completes the sentence "its secret could not be". Only the answer to the create
        holds the secret, so nobody can use such a key, except someone who intercepted it.
        """
        if not key.id:
            return OperationError(
                f"key {key.name} was made, but its secret could not be {why}. It still works, and"
                " the API's answer does not tell its id: find it with keys list, and revoke it"
            )
        lost = f"key {key.name} ({key.id}) was made, but its secret could not be {why}"
        try:
            await self.change(key, status="revoked")
        except ApiError as error:
            return OperationError(
                f"{lost}. It still works: revoke it (keys revoke {key.id}), as revoking it now "
                f"failed: {error}"
            )
        return OperationError(f"{lost}. It was revoked again")

    async def change(self, key: ApiKey, **changes: Any) -> ApiKey:
        """Change a key's ``name``, ``limit``, ``models``, ``expires_at`` or ``status``."""
        self.access.require()
        if key.status == "revoked":
            raise OperationError(f"{key.name} is revoked, which is final: make a new key")
        if "name" in changes:
            changes["name"] = checked_key_name(changes["name"])
        async with self.management() as client:
            return await client.change_key(key.id, changes)

    async def billing(
        self, key: ApiKey, start: str = "", end: str = "", model: str = ""
    ) -> Billing:
        """Return what a key has cost, by model and by day."""
        async with self.management() as client:
            return await client.billing(key.id, start=start, end=end, model=model)

    async def soon(self, burn: KeyBurn | None = None) -> list[KeyWarning]:
        """Fetch the keys and return their warnings, most severe first; ``burn`` adds burn rates."""
        keys = await self.keys()
        spending = [] if burn is None else burn.warnings(keys, self._clock())
        return _gravest_first([*self.warnings(keys), *spending])

    def warnings(self, keys: Iterable[ApiKey]) -> list[KeyWarning]:
        """Return the warnings of active keys, the most severe first."""
        now = self._clock()
        found = [w for key in keys if key.status == "active" for w in warnings_of(key, now)]
        return _gravest_first(found)

    # -- helpers ---------------------------------------------------------------------------------

    def _secret(self, purpose: Purpose) -> Secret:
        credential = self.vault.resolve(self.profile, purpose)
        if credential.secret is None:
            raise OperationError(credential.problem)
        return credential.secret

    def _address(self) -> str:
        if not self.base_url:
            raise OperationError(
                f"profile {self.profile} has no address here, and a credential goes nowhere else: "
                "name the address with --base-url, or add the profile with keys add; nothing was "
                "sent"
            )
        return self.base_url

    def management(self) -> "ManagementClient":
        """Return a client of the management API, for many calls in a row; the caller closes it."""
        from rollout_console.tokenlab.client import ManagementClient

        return ManagementClient(self._address(), self._secret("management_token"))

    def _inference(self, key: Secret) -> "InferenceClient":
        from rollout_console.tokenlab.inference import InferenceClient

        return InferenceClient(self._address(), key)


def with_token(profile: str, base_url: str, token: Secret | None, profiles: Path) -> ApiKeys:
    """Return the ApiKeys of a process that was handed a management token, or none, and no more.

    It looks for no credential by itself and changes nothing; core dumps and ptrace are disabled.
    """
    from rollout_console.credentials.vault.environment import Given
    from rollout_console.credentials.vault.hardening import keep_memory_private
    from rollout_console.credentials.vault.vault import empty_vault

    keep_memory_private()
    given = Given({}, {"management_token": token.reveal()} if token is not None else {})
    access = WriteAccess(read_only=True)
    return ApiKeys(empty_vault(given), ProfileList(profiles), profile, base_url, access=access)


async def _new_keys(client: "ManagementClient", name: str, before: Set[str]) -> str:
    """Return a sentence on whether the key list shows a new key, after an uncertain create."""
    try:
        keys = await client.keys()
    except ApiError as error:
        return f"The list of keys cannot be asked either: {error}"
    new = [key.id for key in keys if key.name == name and key.id not in before]
    if not new:
        return f"No new key of the name {name} is in the list"
    return (
        f"The list has a new key of that name, {' '.join(new)}: its secret is lost. Unless another "
        f"operator just made it, revoke it (keys revoke {new[0]})"
    )


def _gravest_first(found: Iterable[KeyWarning]) -> list[KeyWarning]:
    return sorted(found, key=lambda one: ("alarm", "warning", "note").index(one.level))


def _without(
    known: Profile, purposes: Collection[str], *, keeps_profile: bool = False
) -> Profile | None:
    """Return a profile without some of its credentials, None where none is left."""
    left = {name: place for name, place in known.places.items() if name not in purposes}
    return Profile(known.name, known.base_url, left) if left or keeps_profile else None
