"""The keyring, real: unlocked, locked, away, hanging, or of a kind that is not to be trusted."""

import sys
from pathlib import Path

import pytest

from rollout_console.credentials.vault.errors import NotKept, StoreClosed, UncertainWrite
from rollout_console.credentials.vault.keyring_store import KeyringStore
from rollout_gate.secret import Secret
from tests.credentials.vault.secret_service import run_with_keyring
from tests.support.waiting import until

KEEP = """
from rollout_gate.secret import Secret
from rollout_console.credentials.vault.keyring_store import KeyringStore
store = KeyringStore()
store.put("prod", "api_key", Secret("sk-canary-000001"))
print(KeyringStore().get("prod", "api_key"), KeyringStore().get("other", "api_key"))
print(store.name, store.delete("prod", "api_key"), store.delete("prod", "api_key"))
print(store.get("prod", "api_key"))
"""

FAIL = """
import time
from rollout_gate.secret import Secret
from rollout_console.credentials.vault.errors import StoreClosed
from rollout_console.credentials.vault.keyring_store import KeyringStore
store = KeyringStore()
for _ in range(2):
    start = time.monotonic()
    try:
        store.put("prod", "api_key", Secret("sk-canary-000001"))
    except StoreClosed as error:
        print(round(time.monotonic() - start), type(error).__name__, error)
"""


def test_what_is_kept_is_read_back_and_forgotten(tmp_path: Path) -> None:
    said = run_with_keyring(KEEP, tmp_path).splitlines()
    assert said == ["sk-canary-000001 None", "keyring: SecretService True False", "None"]


def test_a_locked_keyring_is_a_bounded_wait_and_one_sentence(tmp_path: Path) -> None:
    said = run_with_keyring(FAIL, tmp_path, state="locked").splitlines()
    assert len(said) == 2
    for line in said:
        seconds, _, sentence = line.partition(" ")
        assert int(seconds) <= 4
        assert "lock" in sentence
        assert "canary" not in sentence


def test_no_secret_service_is_said(tmp_path: Path) -> None:
    said = run_with_keyring(FAIL, tmp_path, state="none").splitlines()
    assert [line.split()[1] for line in said] == ["NoKeyring", "NoKeyring"]


def test_without_any_bus_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    _reset()
    with pytest.raises(StoreClosed, match="no keyring here"):
        KeyringStore().get("prod", "api_key")


BACKENDS = """
import threading
import time
from keyring.backend import KeyringBackend

class PlaintextKeyring(KeyringBackend):
    priority = 9
    def get_password(self, service, username): return "sk-canary-plain"
    def set_password(self, service, username, password): pass
    def delete_password(self, service, username): pass

class Hanging(PlaintextKeyring):
    asked = 0

    def get_password(self, service, username):
        Hanging.asked += 1
        time.sleep(30)

class Slow(PlaintextKeyring):
    kept, answers = None, threading.Event()
    def get_password(self, service, username): return Slow.kept
    def set_password(self, service, username, password):
        Slow.answers.wait()
        Slow.kept = password

class Forgetful(PlaintextKeyring):
    def get_password(self, service, username): return None

class Talkative(PlaintextKeyring):
    def set_password(self, service, username, password): raise ValueError(password)
"""


@pytest.fixture
def backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_backends.py").write_text(BACKENDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("odd_backends", None)


def _reset() -> None:
    import keyring.core

    keyring.core._keyring_backend = None  # chosen anew from the environment


def chosen(monkeypatch: pytest.MonkeyPatch, name: str) -> KeyringStore:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", name)
    _reset()
    return KeyringStore(limit_s=0.4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("keyring.backends.null.Keyring", "keeps nothing"),
        ("odd_backends.PlaintextKeyring", "plain text"),
        ("no_such_module.Keyring", "names no backend"),
    ],
)
@pytest.mark.usefixtures("backends")
def test_backends_that_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    store = chosen(monkeypatch, name)
    with pytest.raises(StoreClosed, match=words):
        store.get("p", "api_key")
    with pytest.raises(StoreClosed, match=words):
        store.put("p", "api_key", Secret("sk-canary-000001"))


@pytest.mark.usefixtures("backends")
def test_a_hanging_backend_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = chosen(monkeypatch, "odd_backends.Hanging")
    for tried in (1, 2):
        for _ in range(5):
            with pytest.raises(StoreClosed, match="did not answer within"):
                store.get("p", "api_key")
        assert sys.modules["odd_backends"].Hanging.asked == tried
        store.retry()


@pytest.mark.usefixtures("backends")
def test_a_write_that_is_late_may_be_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    store = chosen(monkeypatch, "odd_backends.Slow")
    with pytest.raises(UncertainWrite, match=r"did not answer within .* may still be stored"):
        store.put("p", "api_key", Secret("sk-canary-000001"))
    with pytest.raises(StoreClosed, match="did not answer") as error:  # it is not asked again
        store.put("p", "api_key", Secret("sk-canary-000002"))
    assert not isinstance(error.value, UncertainWrite)
    sys.modules["odd_backends"].Slow.answers.set()
    until(lambda: sys.modules["odd_backends"].Slow.kept == "sk-canary-000001")


@pytest.mark.usefixtures("backends")
def test_what_is_not_kept_or_said_too_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotKept, match="did not keep it"):
        chosen(monkeypatch, "odd_backends.Forgetful").put("p", "api_key", Secret("sk-canary-0001"))
    with pytest.raises(StoreClosed) as caught:
        chosen(monkeypatch, "odd_backends.Talkative").put("p", "api_key", Secret("sk-canary-0001"))
    assert "canary" not in str(caught.value)


@pytest.fixture(autouse=True)
def _leave_no_choice_behind() -> object:
    yield
    _reset()
