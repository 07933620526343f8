"""The order of the sources, and the reason each gives."""

import os
import resource
import signal
from pathlib import Path
from typing import get_args

import pytest

from rollout_console.credentials.vault.command import ask_command
from rollout_console.credentials.vault.config import ProfileConfig, VaultConfig, load_vault_config
from rollout_console.credentials.vault.credential import checked
from rollout_console.credentials.vault.encrypted import EncryptedStore
from rollout_console.credentials.vault.environment import (
    Given,
    passphrase_from,
    take_from_environment,
)
from rollout_console.credentials.vault.errors import (
    BadCredential,
    NoKeyring,
    StoreClosed,
    UnfitKeyring,
    VaultError,
)
from rollout_console.credentials.vault.keyring_store import KeyringStore
from rollout_console.credentials.vault.profiles import Profile, ProfileList, checked_name
from rollout_console.credentials.vault.vault import Place, Vault, empty_vault
from rollout_gate.secret import Secret
from tests.support.waiting import HANGS_S, has_ended, soon, until

KEY, TOKEN = "sk-canary-0000001", "mt-canary-0000002"


class Drawer(KeyringStore):
    """A keyring in memory: what is tested here is the order, and test_keyring has the real one."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get(self, profile: str, purpose: str) -> str | None:
        return self.kept.get((profile, purpose))

    def put(self, profile: str, purpose: str, secret: Secret) -> None:
        self.kept[(profile, purpose)] = secret.reveal()

    def delete(self, profile: str, purpose: str) -> bool:
        return self.kept.pop((profile, purpose), None) is not None


def vault_of(
    tmp_path: Path, given: Given | None = None, config: VaultConfig | None = None
) -> Vault:
    encrypted = EncryptedStore(tmp_path / "vault.age", lambda _new: "correct horse")
    return Vault(given or Given(), config or VaultConfig(), Drawer(), encrypted)


@pytest.mark.usefixtures("quick")
def test_the_order_and_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "tokenlab_api_key").write_text("sk-canary-systemd")
    config = VaultConfig(credential_command=("printf", "sk-canary-command-{profile}-{purpose}"))
    environ = {
        "TOKENLAB_API_KEY": "sk-canary-variable",
        "TOKENLAB_API_KEY_FILE": str(tmp_path / "key"),
        "CREDENTIALS_DIRECTORY": str(folder),
        "PATH": os.environ["PATH"],
    }
    expected = [
        ("--token-stdin", "sk-canary-stdin"),
        ("$TOKENLAB_API_KEY", "sk-canary-variable"),
        ("$TOKENLAB_API_KEY_FILE", KEY),
        ("$CREDENTIALS_DIRECTORY/tokenlab_api_key", "sk-canary-systemd"),
        ("credential_command", "sk-canary-command-prod-api_key"),
        ("keyring", "sk-canary-keyring"),
        ("encrypted store", "sk-canary-encrypted"),
        ("typed; kept for this run alone", "sk-canary-typed"),
    ]
    stdin = "sk-canary-stdin"
    store = EncryptedStore(tmp_path / "vault.age", lambda _new: "correct horse")
    for position, (source, secret) in enumerate(expected):
        vault = vault_of(tmp_path, take_from_environment(dict(environ), stdin), config)
        vault.encrypted = store
        if position < 6:
            vault.keyring.put("prod", "api_key", Secret("sk-canary-keyring"))
        if position < 7:
            vault.encrypted.put("prod", "api_key", Secret("sk-canary-encrypted"))
        vault.ask = lambda _profile, _purpose: "sk-canary-typed"
        found = vault.resolve("prod", "api_key")
        assert found.secret is not None, found
        assert (found.source, found.secret.reveal()) == (source, secret)
        assert [step.found for step in found.steps] == [False] * position + [True]
        assert all(step.reason for step in found.steps[:-1])
        assert "canary" not in repr(found)
        # Take this source away, and the next is found.
        stdin = ""
        for name in ("TOKENLAB_API_KEY", "TOKENLAB_API_KEY_FILE", "CREDENTIALS_DIRECTORY"):
            if source.startswith(f"${name}/") or source == f"${name}":
                del environ[name]
        if source == "credential_command":
            config = VaultConfig()
        (tmp_path / "vault.age").unlink(missing_ok=True)


def test_an_explicit_credential_that_is_wrong_ends_the_search(tmp_path: Path) -> None:
    vault = vault_of(tmp_path, take_from_environment({"TOKENLAB_API_KEY": TOKEN}))
    vault.keyring.put("prod", "api_key", Secret(KEY))
    found = vault.resolve("prod", "api_key")
    assert found.secret is None
    assert "management token (mt-...), which never works as API key" in found.problem
    assert "canary" not in found.problem
    away = take_from_environment({"TOKENLAB_API_KEY_FILE": str(tmp_path / "none")})
    assert "No such file" in vault_of(tmp_path, away).resolve("prod", "api_key").problem


def test_the_environment_is_emptied_of_secrets() -> None:
    environ = {"TOKENLAB_API_KEY": KEY, "TOKENLAB_MANAGEMENT_TOKEN": TOKEN, "HOME": "/"}
    given = take_from_environment(environ)
    assert environ == {"HOME": "/"}
    assert dict(given.environ) == {"HOME": "/"}
    assert "canary" not in repr(given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        (TOKEN, "never works as API key"),
        ("hunter2hunter2", "does not start with sk-"),
        ("sk-with space", "a space"),
        ("sk-b\x1b[31mad", "a sign"),
        ("sk-ünïcode", "a sign"),
        ("sk-1", "4 characters"),
        ("sk-" + "x" * 5000, "5003 characters"),
    ],
)
def test_what_is_no_credential_is_refused_without_being_repeated(text: str, words: str) -> None:
    with pytest.raises(BadCredential, match=words) as caught:
        checked("api_key", text)
    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("false",), "exit code 1"),
        (("no-such-program-here",), "cannot be run"),
        (("true",), "printed nothing"),
        (("echo", "a\0b"), "a word with a sign"),
        (("echo", "a\ud800b"), "a word with a sign"),
        (("sh", "-c", "echo sk-canary-1 >&2; exit 3"), "exit code 3"),
    ],
)
def test_a_command_that_fails_says_so(tmp_path: Path, argv: tuple[str, ...], words: str) -> None:
    given = Given(environ={"PATH": os.environ["PATH"]})
    vault = vault_of(tmp_path, given, VaultConfig({"prod": ProfileConfig("", argv)}))
    found = vault.resolve("prod", "api_key")
    assert words in found.problem
    assert "canary" not in found.problem


def test_a_command_that_hangs_is_stopped_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rollout_console.credentials.vault import vault as module

    child = tmp_path / "pid"
    argv = ("sh", "-c", f"sleep {HANGS_S} & echo $! > {child}; wait")

    def hurried(*arguments: object) -> str:
        return ask_command(*arguments, limit_s=1.0)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "ask_command", hurried)
    given = Given(environ={"PATH": os.environ["PATH"]})
    vault = vault_of(tmp_path, given, VaultConfig(credential_command=argv))
    with soon():
        assert "did not end" in vault.resolve("prod", "api_key").problem
        until(lambda: has_ended(int(child.read_text())))


def test_a_command_that_leaves_something_behind_is_not_waited_for(tmp_path: Path) -> None:
    """What it left holds the pipe, in a session of its own where no signal of ours reaches it."""
    given = Given(environ={"PATH": os.environ["PATH"]})
    words = (
        "sh",
        "-c",
        f"setsid sleep {HANGS_S} & echo $! > {tmp_path}/pid; echo {KEY}; echo more",
    )
    vault = vault_of(tmp_path, given, VaultConfig(credential_command=words))
    with soon():
        found = vault.resolve("prod", "api_key")
    left = int((tmp_path / "pid").read_text())
    try:
        assert found.secret is not None
        assert found.secret.reveal() == KEY
    finally:
        os.kill(left, signal.SIGKILL)


def test_a_command_that_closes_its_output_is_stopped_in_time(tmp_path: Path) -> None:
    words = ("sh", "-c", f"echo {KEY}; exec >&-; sleep {HANGS_S}")
    with soon(), pytest.raises(StoreClosed, match="did not end"):
        ask_command(words, "prod", "api_key", {"PATH": os.environ["PATH"]}, limit_s=0.5)


def test_a_command_that_prints_without_end_is_stopped() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreClosed, match="far too much"):
        ask_command(("cat", "/dev/zero"), "prod", "api_key", {"PATH": os.environ["PATH"]})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_command_gets_no_secret_of_ours(tmp_path: Path) -> None:
    given = take_from_environment(
        {"TOKENLAB_MANAGEMENT_TOKEN": TOKEN, "PATH": os.environ["PATH"], "EXTRA": "sk-from-env-1"}
    )
    shows = ("sh", "-c", 'test -z "$TOKENLAB_MANAGEMENT_TOKEN" && printf %s "$EXTRA"')
    vault = vault_of(tmp_path, given, VaultConfig(credential_command=shows))
    assert vault.resolve("prod", "api_key").source == "credential_command"


def test_the_encrypted_store(tmp_path: Path) -> None:
    path = tmp_path / "new" / "vault.age"
    asked: list[bool] = []

    def ask(new: bool) -> str:
        asked.append(new)
        return "correct horse"

    store = EncryptedStore(path, ask)
    assert store.get("prod", "api_key") is None
    store.put("prod", "api_key", Secret(KEY))
    store.put("prod", "management_token", Secret(TOKEN))
    assert asked == [True], "asked more than once in a run"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert b"canary" not in path.read_bytes()
    assert path.read_bytes().startswith(b"age-encryption.org/v1")
    other = EncryptedStore(path, lambda _new: "correct horse")
    assert other.get("prod", "api_key") == KEY
    assert other.delete("prod", "api_key")
    assert not other.delete("prod", "api_key")
    assert store.get("prod", "management_token") == TOKEN
    assert {p.name for p in path.parent.iterdir()} == {"vault.age", "vault-identity.age"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("passphrase", "words"), [("wrong horse", "wrong passphrase"), (None, "nobody can be asked")]
)
def test_an_encrypted_store_that_does_not_open(
    tmp_path: Path, passphrase: str | None, words: str
) -> None:
    path = tmp_path / "vault.age"
    EncryptedStore(path, lambda _new: "correct horse").put("prod", "api_key", Secret(KEY))
    before = path.read_bytes()
    closed = EncryptedStore(path, lambda _new: passphrase)
    with pytest.raises(StoreClosed, match=words):
        closed.get("prod", "api_key")
    with pytest.raises(StoreClosed, match=words):
        closed.put("prod", "api_key", Secret("sk-other-000001"))
    assert path.read_bytes() == before


@pytest.mark.usefixtures("quick")
def test_a_damaged_store_and_a_weak_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "vault.age"
    store = EncryptedStore(path, lambda _new: "correct horse")
    store.put("prod", "api_key", Secret(KEY))
    path.write_bytes(b"not age at all")
    with pytest.raises(StoreClosed, match="corrupt"):
        store.get("prod", "api_key")
    path.unlink()
    store.identity_path.unlink()
    with pytest.raises(StoreClosed, match="at least 8"):
        EncryptedStore(path, lambda _new: "short").put("prod", "api_key", Secret(KEY))
    assert not path.exists()


def test_the_passphrase_comes_from_a_file_and_no_variable(tmp_path: Path) -> None:
    (tmp_path / "rollout_vault_passphrase").write_text("correct horse\n")
    assert passphrase_from({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "correct horse"
    named = {"ROLLOUT_VAULT_PASSPHRASE_FILE": str(tmp_path / "rollout_vault_passphrase")}
    assert passphrase_from(named) == "correct horse"
    assert passphrase_from({"ROLLOUT_VAULT_PASSPHRASE": "correct horse"}) is None


def test_profiles(tmp_path: Path) -> None:
    profiles = ProfileList(tmp_path / "profiles.json")
    assert profiles.all() == {}
    made = Profile("prod", "https://api.tokenlab.sh", {"api_key": "keyring"})
    profiles.change("prod", lambda _none: made)
    assert ProfileList(profiles.path).all()["prod"] == made
    profiles.change("prod", lambda _made: None)
    assert profiles.all() == {}
    profiles.path.write_text("{")
    with pytest.raises(VaultError, match="corrupt"):
        profiles.all()
    for bad in ("", "a b", "ü", "x" * 65, "../etc"):
        with pytest.raises(VaultError):
            checked_name(bad)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('credential_command = "pass show x"', "list of words"),
        ("credential_command = []", "list of words"),
        ('[profiles.prod]\napi_key = "sk-canary-0001"', "credentials never go here"),
        ("profiles = 3", "must be a table"),
        ("[profiles.prod]\nbase_url = 3", "must be a text"),
        ("x = [", "config.toml"),
    ],
)
def test_a_wrong_config_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(VaultError, match=words) as caught:
        load_vault_config(path)
    assert "canary" not in str(caught.value)


def test_what_is_there_now_is_looked_for_without_asking(tmp_path: Path) -> None:
    vault = vault_of(tmp_path)

    def ask(_profile: str, _purpose: str) -> str:
        raise AssertionError("asked")

    vault.ask = ask
    assert vault.present("prod", "api_key").secret is None
    vault.put("prod", "api_key", Secret(KEY), "keyring")
    vault.keyring.put("prod", "api_key", Secret("sk-by-another-01"))  # by another process
    found = vault.present("prod", "api_key").secret
    assert found is not None
    assert found.reveal() == "sk-by-another-01"
    vault.use_for_this_run("prod", "api_key", Secret("sk-typed-000001"))
    assert vault.present("prod", "api_key").source.startswith("typed")
    found = vault.resolve("prod", "api_key").secret
    assert found is not None
    assert found.reveal() == "sk-typed-000001"


@pytest.mark.usefixtures("quick")
def test_one_place_alone_is_forgotten(tmp_path: Path) -> None:
    vault = vault_of(tmp_path)
    for place in get_args(Place):
        vault.put("prod", "api_key", Secret(KEY), place)
    assert vault.forget("prod", "api_key", "keyring")
    assert not vault.forget("prod", "api_key", "keyring")
    assert vault.kept("prod", "api_key", "keyring") is None
    assert vault.kept("prod", "api_key", "encrypted") is not None


def test_an_empty_vault_looks_nowhere() -> None:
    found = empty_vault().resolve("demo", "api_key")
    assert found.secret is None
    assert "add one with keys add" in found.problem


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [NoKeyring("none here"), UnfitKeyring("it keeps plain text")])
def test_a_keyring_that_is_never_used_stops_no_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StoreClosed
) -> None:
    vault = vault_of(tmp_path)
    vault.encrypted.put("prod", "api_key", Secret(KEY))

    def delete(*_: object) -> bool:
        raise error

    monkeypatch.setattr(vault.keyring, "delete", delete)
    assert vault.remove("prod", "api_key") == ["encrypted store"]
    assert vault.encrypted.get("prod", "api_key") is None
