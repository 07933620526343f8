"""Consoles that change the same credentials at once: none loses what another has stored."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout_console.common.flock import locked_folder
from rollout_console.credentials.vault import folder_lock
from rollout_console.credentials.vault.encrypted import EncryptedStore
from rollout_console.credentials.vault.errors import StoreClosed, VaultError, WrongPassphrase
from rollout_console.credentials.vault.profiles import Profile, ProfileList
from rollout_gate.secret import Secret

KEY = "sk-canary-0000001"


@pytest.mark.usefixtures("quick")
def test_two_stores_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "vault.age"
    script = """
import sys
from pathlib import Path
from rollout_gate.secret import Secret
from tests.support.waiting import HANGS_S, has_ended, soon, until
from rollout_console.credentials.vault.encrypted import EncryptedStore
store = EncryptedStore(Path(sys.argv[1]), lambda new: "correct horse")
for i in range(2):
    store.put(f"{sys.argv[2]}-{i}", "api_key", Secret("sk-canary-000001"))
"""
    EncryptedStore(path, lambda _new: "correct horse").put("first", "api_key", Secret(KEY))
    children = [
        subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in ("a", "b")
    ]
    assert [child.wait(timeout=60) for child in children] == [0, 0]
    store = EncryptedStore(path, lambda _new: "correct horse")
    for name in ("first", "a-0", "a-1", "b-0", "b-1"):
        assert store.get(name, "api_key"), name


@pytest.mark.usefixtures("quick")
def test_a_store_that_another_console_makes_meanwhile_is_kept(tmp_path: Path) -> None:
    """The other is done while this one is asked for the passphrase of a new store."""
    path = tmp_path / "vault.age"

    def asks(mine: str, theirs: str) -> Callable[[bool], str]:
        def ask(new: bool) -> str:
            if new:
                EncryptedStore(path, lambda _: theirs).put("theirs", "api_key", Secret(KEY))
            return mine

        return ask

    store = EncryptedStore(path, asks("battery staple", "correct horse"))
    with pytest.raises(WrongPassphrase):
        store.put("mine", "api_key", Secret(KEY))
    assert EncryptedStore(path, lambda _: "correct horse").get("theirs", "api_key") == KEY
    for one in (path, store.identity_path):
        one.unlink()
    store = EncryptedStore(path, asks("correct horse", "correct horse"))
    store.put("mine", "api_key", Secret(KEY))
    fresh = EncryptedStore(path, lambda _: "correct horse")
    assert [fresh.get(name, "api_key") for name in ("mine", "theirs")] == [KEY, KEY]


@pytest.mark.usefixtures("quick")
def test_nothing_is_encrypted_to_an_identity_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "vault.age"
    asked: list[bool] = []

    def ask(new: bool) -> str:
        asked.append(new)
        return "correct horse"

    store = EncryptedStore(path, ask)
    store.put("old", "api_key", Secret(KEY))
    path.unlink()
    store.identity_path.unlink()
    EncryptedStore(path, lambda _: "correct horse").open()  # another makes a new one
    store.put("new", "api_key", Secret(KEY))
    assert asked == [True, False]
    assert EncryptedStore(path, lambda _: "correct horse").get("new", "api_key") == KEY
    EncryptedStore(path, lambda _: "x").identity_path.unlink()
    with pytest.raises(StoreClosed, match=r"vault-identity\.age cannot be read"):
        store.put("lost", "api_key", Secret(KEY))


@pytest.mark.usefixtures("quick")
def test_nobody_waits_for_a_passphrase_that_is_being_typed(tmp_path: Path) -> None:
    path = tmp_path / "vault.age"
    asked: list[bool] = []

    def ask(new: bool) -> str:
        with locked_folder(tmp_path, 0):
            asked.append(new)
        return "correct horse"

    EncryptedStore(path, ask).put("prod", "api_key", Secret(KEY))
    assert EncryptedStore(path, ask).delete("prod", "api_key")
    assert asked == [True, False]


@pytest.mark.usefixtures("quick")
def test_a_folder_that_another_console_holds_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "LOCK_WAIT_S", 0)
    store = EncryptedStore(tmp_path / "vault.age", lambda _: "correct horse")
    found = ProfileList(tmp_path / "profiles.json")
    with locked_folder(tmp_path, 0):
        with pytest.raises(StoreClosed, match="another console is changing"):
            store.put("prod", "api_key", Secret(KEY))
        with pytest.raises(VaultError, match="another console is changing"):
            found.change("prod", lambda known: known)
    assert list(tmp_path.iterdir()) == []


def test_profiles_that_are_changed_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "profiles.json"

    def add(purpose: str) -> None:
        for i in range(20):
            ProfileList(path).change(
                f"p{i}",
                lambda known: Profile(known.name, "", {**known.places, purpose: "keyring"}),
            )

    purposes = ("api_key", "management_token")
    adders = [threading.Thread(target=add, args=(purpose,)) for purpose in purposes]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    found = ProfileList(path).all()
    assert len(found) == 20
    assert all(sorted(one.places) == sorted(purposes) for one in found.values())


@pytest.mark.usefixtures("quick")
def test_files_that_are_symlinks_stay_so_and_are_shared(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    for folder in (shared, own):
        folder.mkdir()
    names = ("vault.age", "vault-identity.age", "profiles.json")
    EncryptedStore(shared / names[0], lambda _: "correct horse").open()
    for name in names:
        (own / name).symlink_to(shared / name)
    store = EncryptedStore(own / names[0], lambda _: "correct horse")
    store.put("prod", "api_key", Secret(KEY))
    ProfileList(own / names[2]).change("prod", lambda known: known)
    assert all((own / name).is_symlink() for name in names)
    fresh = EncryptedStore(shared / names[0], lambda _: "correct horse")
    assert fresh.get("prod", "api_key") == KEY
    assert list(ProfileList(shared / names[2]).all()) == ["prod"]
