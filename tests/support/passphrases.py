"""Files that are encrypted with a passphrase, and quick to open.

age lets whoever opens such a file work for the time that the file names, a second or two by
``pyrage``'s choice, against guessing. What is made here asks for a thousandth of that; it is age v1
all the same (https://age-encryption.org/v1), and ``pyrage`` opens it like any other.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

WORK = 8
"""The logarithm of scrypt's N, where ``pyrage`` chooses 18 or more."""


def encrypted(data: bytes, passphrase: str) -> bytes:
    """Encrypt less than 64 KiB, as ``pyrage.passphrase.encrypt`` does."""
    salt, file_key, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
    wrap = hashlib.scrypt(
        passphrase.encode(), salt=b"age-encryption.org/v1/scrypt" + salt,
        n=1 << WORK, r=8, p=1, dklen=32,
    )  # fmt: skip
    stanza = ChaCha20Poly1305(wrap).encrypt(bytes(12), file_key, None)
    header = f"age-encryption.org/v1\n-> scrypt {_text(salt)} {WORK}\n{_text(stanza)}\n---".encode()
    mac = hmac.digest(_derived(file_key, b"", b"header"), header, "sha256")
    one_and_last = bytes(11) + b"\1"
    body = ChaCha20Poly1305(_derived(file_key, nonce, b"payload"))
    return header + f" {_text(mac)}\n".encode() + nonce + body.encrypt(one_and_last, data, None)


def rewrap(path: Path, passphrase: str) -> None:
    """Encrypt what ``pyrage`` has encrypted anew, so that each who opens it works for less."""
    path.write_bytes(
        encrypted(pyrage.passphrase.decrypt(path.read_bytes(), passphrase), passphrase)
    )


@contextmanager
def quick_passphrases() -> Iterator[None]:
    """Let new files ask for little work, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyrage.passphrase, "encrypt", encrypted)
        yield


def _derived(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256, of one block."""
    return hmac.digest(hmac.digest(salt, key, "sha256"), info + b"\1", "sha256")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
