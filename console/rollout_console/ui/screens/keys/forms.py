"""The forms of the keys screen, with validation and parsing of their values."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rollout_console.common.errors import OperationError
from rollout_console.common.listing import first_of
from rollout_console.credentials.key_values import checked_key_name, parse_expiry, parse_limit
from rollout_console.credentials.vault.credential import PREFIX, WORDS, kind_of
from rollout_console.credentials.vault.encrypted import LEAST_PASSPHRASE
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.credentials.vault.profiles import checked_name
from rollout_console.credentials.vault.vault import Place
from rollout_console.tokenlab.types import ApiKey
from rollout_console.ui.dialogs.form import Field, FormDialog, Problem, Values
from rollout_gate.secret import redacted

PLACES: dict[str, Place | None] = {"keyring": "keyring", "encrypted": "encrypted"}
_ONCE, _RUN = "once", "run"
_KEPT = {"keyring": "the system's", "encrypted": "a store with a passphrase"}
_EXPIRES = "30d, 12h, 2w, a date such as 2027-01-31, or never"
_PROFILE = "letters, digits, dots, dashes, underlines"
_MOST_NAMED = 4


def key_form(key: ApiKey | None, profile: str, models: Sequence[str] = ()) -> FormDialog:
    """Return the form for a new key, or for changing one; ``models`` are those in use here."""
    used = f"; routes use {first_of(models, _MOST_NAMED)}" if models else ""
    fields = (
        Field("name", "name", key.name if key else "", "1 to 50 characters",
              check=_said(checked_key_name)),
        Field("limit", "limit", _limit(key), "US dollars, or none", check=_said(_read_limit)),
        Field("models", "models", ", ".join(key.models) if key else "",
              f"ids of those it may use, empty for any{used}"),
        Field("expires", "expires", _expires(key), _EXPIRES,
              check=_said(lambda text: _read_expiry(text, key))),
    )  # fmt: skip
    if key is not None:
        return FormDialog(f"API key {key.name}", fields)
    more = (
        Field("place", "secret to", "keyring", choices={**_KEPT, _ONCE: "shown this once"}),
        Field("profile", "of profile", profile, f"where the secret is kept: {_PROFILE}"),
    )
    return FormDialog("New API key", (*fields, *more), _check_new)


def read_key(values: Values, key: ApiKey | None = None) -> dict[str, Any]:
    """Parse the form of a new key, or of ``key``, into name, limit, models and expires_at.

    Raises OperationError.
    """
    return {
        "name": checked_key_name(values["name"]),
        "limit": _read_limit(values["limit"]),
        "models": tuple(word for word in values["models"].replace(",", " ").split() if word),
        "expires_at": _read_expiry(values["expires"], key),
    }


def credential_form(profile: str) -> FormDialog:
    """Return the form that a credential is pasted into; its input is masked."""
    kinds = " or ".join(f"{prefix}... ({WORDS[kind]})" for kind, prefix in PREFIX.items())
    fields = (
        Field("profile", "profile", profile, _PROFILE, check=_said(checked_name)),
        Field("secret", "credential", "", f"paste {kinds}; it stays hidden", hidden=True,
              check=_check_secret),
        Field("place", "kept in", "keyring", choices={**_KEPT, _RUN: "this run alone"}),
    )  # fmt: skip
    return FormDialog("Add a credential", fields)


def rotation_form(key: ApiKey, models: Sequence[str] = ()) -> FormDialog:
    """Return the form that starts a rotation; ``models`` are those in use here."""
    allowed = key.models or models
    known = f": {first_of(allowed, _MOST_NAMED)}" if allowed else ""
    fields = (
        Field("model", "model", key.models[0] if key.models else "",
              f"proves the new key with one billed request{known}", check=_check_model),
        Field("place", "kept in", "keyring", choices=_KEPT),
    )  # fmt: skip
    return FormDialog(f"Rotate {key.name}", fields)


def passphrase_form(*, new: bool, wrong: str = "") -> FormDialog:
    """Return the form that unlocks the encrypted store, or chooses a new one's passphrase.

    ``wrong`` says why the passphrase that was typed before did not do.
    """
    problem = Problem("passphrase", wrong) if wrong else None
    if not new:
        field = Field("passphrase", "passphrase", "", "of this store; it stays hidden", hidden=True)
        return FormDialog("Unlock the encrypted store", (field,), wrong=problem)
    hint = f"at least {LEAST_PASSPHRASE} characters; it stays hidden"
    first = Field("passphrase", "passphrase", "", hint, hidden=True, check=_check_length)
    again = Field("again", "again", "", "the same", hidden=True)
    note = "Without this passphrase the store cannot be decrypted: keep it in a safe place."
    return FormDialog("A new encrypted store", (first, again), _check_same, note, problem)


def place_of(text: str) -> Place | None:
    """Parse a typed place; return None for shown once, or this run alone."""
    return PLACES.get(text.strip().lower())


def _said(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Return a check that returns the error which ``parse`` raises for a value."""

    def check(value: str) -> str:
        try:
            parse(value)
        except (OperationError, VaultError) as error:
            return redacted(str(error))
        return ""

    return check


def _check_new(values: Values) -> Problem | None:
    words = "" if values["place"] == _ONCE else _said(checked_name)(values["profile"])
    return Problem("profile", words) if words else None


def _check_secret(value: str) -> str:
    if kind_of(value) is not None:
        return ""
    return "a credential of TokenLab's starts with sk- (API key) or mt- (management token)"


def _check_length(value: str) -> str:
    short = len(value) < LEAST_PASSPHRASE
    return f"at least {LEAST_PASSPHRASE} characters are needed; type more" if short else ""


def _check_same(values: Values) -> Problem | None:
    if values["passphrase"] == values["again"]:
        return None
    return Problem("again", "the passphrases do not match; type the same twice")


def _check_model(value: str) -> str:
    return "" if value.strip() else "empty; a model is needed, to prove that the new key works"


def _read_limit(text: str) -> Decimal | None:
    return parse_limit(text.strip() or "none")


def _read_expiry(text: str, key: ApiKey | None) -> datetime | None:
    """Parse an expiry; one that was left as it is, past or not, stays as it is."""
    if key is not None and text.strip() == _expires(key):
        return key.expires_at
    return parse_expiry(text.strip() or "never")


def _limit(key: ApiKey | None) -> str:
    if key is None or key.limit is None:
        return "none"
    return f"{key.limit.quantize(Decimal('0.01'))}"


def _expires(key: ApiKey | None) -> str:
    if key is None or key.expires_at is None:
        return "never"
    return key.expires_at.isoformat().replace("+00:00", "Z")
