"""The two kinds of credential, told apart by prefix, and their validation."""

from typing import Literal

import msgspec

from rollout_console.credentials.vault.errors import BadCredential
from rollout_gate.secret import Secret

Purpose = Literal["api_key", "management_token"]

PURPOSES: tuple[Purpose, ...] = ("api_key", "management_token")
PREFIX: dict[Purpose, str] = {"api_key": "sk-", "management_token": "mt-"}
WORDS: dict[Purpose, str] = {"api_key": "API key", "management_token": "management token"}

MOST_CHARACTERS = 4096
_LEAST_CHARACTERS = 8


class Step(msgspec.Struct, frozen=True):
    """One source that was tried for a credential, and its outcome.

    ``found`` without a reason means a usable credential; with a reason, an invalid one. ``notable``
    marks a reason that an operator may want to act on, ``closed`` a source that is unavailable now
    and may have a credential at another time.
    """

    source: str
    reason: str
    found: bool = False
    notable: bool = False
    closed: bool = False


class Credential(msgspec.Struct, frozen=True):
    """The result of resolving a profile's credential; ``secret`` is None where none was found.

    ``source`` names where it came from, ``steps`` every source tried up to it, with the reasons.
    """

    profile: str
    purpose: Purpose
    secret: Secret | None = None
    source: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def problem(self) -> str:
        """Why there is no credential, in one sentence; empty where there is one."""
        if self.secret is not None:
            return ""
        what = f"no {WORDS[self.purpose]} for profile {self.profile!r}"
        return f"{what}: {self.trouble or 'add one with keys add, or see keys doctor'}"

    @property
    def trouble(self) -> str:
        """The first reason that an operator may want to act on; empty without one."""
        told = (step for step in self.steps if step.reason and (step.found or step.notable))
        return next((f"{step.source}: {step.reason}" for step in told), "")


def checked(purpose: Purpose, text: str) -> Secret:
    """Validate ``text`` as a credential; raises BadCredential, which never quotes the text."""
    value = text.strip()
    words, prefix = WORDS[purpose], PREFIX[purpose]
    if not value:
        raise BadCredential(f"it is empty; a {words} starts with {prefix}")
    found = kind_of(value)
    if found is not None and found != purpose:
        raise BadCredential(wrong_kind(found, purpose))
    if found is None:
        raise BadCredential(f"it does not start with {prefix}, as every {words} does")
    if not value.isascii() or any(sign <= " " or sign == "\x7f" for sign in value):
        raise BadCredential(f"it holds a space or a sign that no {words} has; paste it again")
    if not _LEAST_CHARACTERS <= len(value) <= MOST_CHARACTERS:
        raise BadCredential(f"it has {len(value)} characters, which no {words} has")
    return Secret(value)


def wrong_kind(found: Purpose, wanted: Purpose) -> str:
    """Return the sentence that refuses one kind of credential in place of the other."""
    one = f"{'an' if found == 'api_key' else 'a'} {WORDS[found]} ({PREFIX[found]}...)"
    return f"it is {one}, which never works as {WORDS[wanted]}; nothing was sent"


def kind_of(text: str) -> Purpose | None:
    """Return the kind of credential that a text's prefix marks, or None."""
    stripped = text.strip()
    return next((purpose for purpose in PURPOSES if stripped.startswith(PREFIX[purpose])), None)
