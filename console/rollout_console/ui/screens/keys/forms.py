"""The forms of the keys screen, with validation and parsing of their values."""

from decimal import Decimal
from typing import Any

from rollout_console.common.errors import OperationError
from rollout_console.credentials.key_values import checked_key_name, parse_expiry, parse_limit
from rollout_console.credentials.vault.credential import kind_of
from rollout_console.credentials.vault.encrypted import LEAST_PASSPHRASE
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.credentials.vault.profiles import checked_name
from rollout_console.credentials.vault.vault import Place
from rollout_console.tokenlab.types import ApiKey
from rollout_console.ui.dialogs.form import Field, FormDialog, Values

PLACES: dict[str, Place | None] = {"keyring": "keyring", "encrypted": "encrypted"}
_ONCE, _RUN = "once", "run"


def key_form(key: ApiKey | None, profile: str) -> FormDialog:
    """Return the form for a new key, or for changing one."""
    fields = (
        Field("name", "name", key.name if key else "", "1 to 50 characters"),
        Field("limit", "limit", _limit(key), "US dollars, or none"),
        Field("models", "models", ", ".join(key.models) if key else "", "ids; empty: any"),
        Field("expires", "expires", _expires(key), "2027-01-31, or never"),
    )
    if key is not None:
        return FormDialog(f"API key {key.name}", fields, _check_key)
    more = (
        Field("place", "secret to", "keyring", "keyring, encrypted, or once (shown once)"),
        Field("profile", "of profile", profile, "where the secret is kept"),
    )
    return FormDialog("New API key", (*fields, *more), _check_new)


def read_key(values: Values) -> dict[str, Any]:
    """Parse a key form into name, limit, models and expires_at; raises OperationError."""
    return {
        "name": checked_key_name(values["name"]),
        "limit": parse_limit(values["limit"] or "none"),
        "models": tuple(word for word in values["models"].replace(",", " ").split() if word),
        "expires_at": parse_expiry(values["expires"] or "never"),
    }


def credential_form(profile: str) -> FormDialog:
    """Return the form that a credential is pasted into; its input is masked."""
    fields = (
        Field("profile", "profile", profile, "letters, digits, dots, dashes"),
        Field("secret", "credential", "", "paste: sk-... or mt-... (hidden)", hidden=True),
        Field("place", "kept in", "keyring", "keyring, encrypted, or run (this run alone)"),
    )
    return FormDialog("Add a credential", fields, _check_credential)


def rotation_form(key: ApiKey) -> FormDialog:
    """Return the form that starts a rotation."""
    fields = (
        Field("model", "model", key.models[0] if key.models else "", "proves the new key, billed"),
        Field("place", "kept in", "keyring", "keyring, or encrypted"),
    )
    return FormDialog(f"Rotate {key.name}", fields, _check_rotation)


def passphrase_form(*, new: bool) -> FormDialog:
    """Return the form that unlocks the encrypted store, or chooses a new one's passphrase."""
    hint = f"at least {LEAST_PASSPHRASE} characters (hidden)"
    field = Field("passphrase", "passphrase", "", hint, hidden=True)
    if not new:
        return FormDialog("Unlock the encrypted store", (field,))
    again = Field("again", "again", "", "the same", hidden=True)
    note = (
        "Without this passphrase the store cannot be decrypted without it: keep it in a safe place."
    )
    return FormDialog("A new encrypted store", (field, again), _check_passphrase, note)


def place_of(text: str) -> Place | None:
    """Parse a typed place; return None for shown once, or this run alone."""
    return PLACES.get(text.strip().lower())


def _check_key(values: Values) -> str:
    try:
        read_key(values)
    except OperationError as error:
        return str(error)
    return ""


def _check_new(values: Values) -> str:
    place = values["place"].strip().lower()
    if place not in (*PLACES, _ONCE):
        return "the secret goes to keyring, encrypted, or once"
    return _check_key(values) or (_check_profile(values["profile"]) if place != _ONCE else "")


def _check_credential(values: Values) -> str:
    if kind_of(values["secret"]) is None:
        return "a credential of TokenLab's starts with sk- (API key) or mt- (management token)"
    if values["place"].strip().lower() not in (*PLACES, _RUN):
        return "it is kept in keyring, encrypted, or run"
    return _check_profile(values["profile"])


def _check_passphrase(values: Values) -> str:
    if len(values["passphrase"]) < LEAST_PASSPHRASE:
        return f"at least {LEAST_PASSPHRASE} characters are needed"
    return "" if values["passphrase"] == values["again"] else "the passphrases do not match"


def _check_rotation(values: Values) -> str:
    if not values["model"].strip():
        return "a model is needed, to prove that the new key works"
    return "" if place_of(values["place"]) else "the secret is kept in keyring or encrypted"


def _check_profile(name: str) -> str:
    try:
        checked_name(name)
    except VaultError as error:
        return str(error)
    return ""


def _limit(key: ApiKey | None) -> str:
    if key is None or key.limit is None:
        return "none"
    return f"{key.limit.quantize(Decimal('0.01'))}"


def _expires(key: ApiKey | None) -> str:
    if key is None or key.expires_at is None:
        return "never"
    return key.expires_at.isoformat().replace("+00:00", "Z")
