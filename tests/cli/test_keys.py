"""``keys`` as an operator uses it, each command in a process of its own, against the simulator.

Canary secrets are planted, every command and error is provoked, and whatever the program wrote or
printed is searched for them.
"""

import base64
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from rollout_console.credentials.vault.encrypted import EncryptedStore
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import ApiKey as SimKey
from rollout_gate.secret import Secret
from tests.support.commands import Commands
from tests.support.loopback import Origin, Received, Reply
from tests.support.passphrases import quick_passphrases, rewrap

Run = Callable[..., subprocess.CompletedProcess[str]]

CANARY_KEY = "sk-canary+key/7f3a9c55e1"
CANARY_TOKEN = "mt-canary+token/7f3a9c55e1"
CANARY_PREVIOUS = "previous-canary/7f3a9c55e1"
PASSPHRASE = "canary passphrase 7f3a9c"


def forms(secret: str) -> list[bytes]:
    """The secret in the clear, URL-encoded, and in base64 at each of its three alignments."""
    found = [secret.encode(), quote(secret, safe="").encode(), quote(secret).encode()]
    for shift in range(3):
        # The middle of an encoding at this alignment, without the ends that neighbours change.
        encoded = base64.b64encode(b"\0" * shift + secret.encode())
        found.append(encoded[4 if shift else 0 : -4])
    return found


@pytest.fixture
def run(commands: Commands, tmp_path: Path, sim: SimServer, file: Path) -> Iterator[Run]:
    """Run a command; afterwards nothing it printed or wrote may hold a canary."""
    said: list[str] = []
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DBUS", "TOKENLAB"))}
    environ |= {
        "ROLLOUT_STATE_DIR": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "HOME": str(tmp_path),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }

    def call(
        *arguments: str, stdin: str = "", env: dict[str, str] | None = None, shows: bool = False
    ) -> subprocess.CompletedProcess[str]:
        done = commands.run(
            ["-f", str(file), "keys", *arguments, "--base-url", sim.base_url],
            input=stdin, env={**environ, **(env or {})}, cwd=tmp_path,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        if not shows:
            said.append(done.stdout + done.stderr)
        return done

    yield call
    written = [
        p.read_bytes()
        for p in tmp_path.rglob("*")
        if p.is_file() and p.parent != given_in(tmp_path)
    ]
    for secret in (CANARY_KEY, CANARY_TOKEN, PASSPHRASE):
        for form in forms(secret):
            assert not any(form in text.encode() for text in said), secret
            assert not any(form in data for data in written), secret


def opened_store(folder: Path) -> EncryptedStore:
    """The encrypted store of a state folder, made with a passphrase that is quick to check."""
    store = EncryptedStore(folder / "state" / "vault.age", lambda _new: PASSPHRASE)
    with quick_passphrases():
        store.open()
    return store


def given_in(folder: Path) -> Path:
    """Where a test puts the secrets that it gives in files."""
    given = folder / "given"
    given.mkdir(exist_ok=True)
    return given


TOKEN = {"TOKENLAB_MANAGEMENT_TOKEN": "mt-sim-demo"}


def test_the_life_of_a_key(run: Run) -> None:
    made = run(
        "create", "ci", "--limit", "5", "--model", "gpt-5.4", "--expires", "2030-01-31",
        "--show-secret", "--json", env=TOKEN, shows=True,
    )  # fmt: skip
    key = json.loads(made.stdout)
    assert key["key"].startswith("sk-")
    assert (key["limit_usd"], key["models"]) == ("5.0", ["gpt-5.4"])
    assert key["expires_at"].startswith("2030-01-31T23:59:59")
    assert run("rename", "ci", "ci-2", "--yes", env=TOKEN).returncode == 0
    assert run("limit", "ci-2", "7.25", "--yes", env=TOKEN).returncode == 0
    assert run("models", "ci-2", "--yes", env=TOKEN).returncode == 0
    assert run("expire", "ci-2", "never", "--yes", env=TOKEN).returncode == 0
    assert run("deactivate", "ci-2", "--yes", env=TOKEN).returncode == 0
    (found,) = json.loads(run("list", "--filter", "ci-2", "--json", env=TOKEN).stdout)
    assert (found["limit_usd"], found["models"], found["expires_at"]) == ("7.25", [], None)
    assert (found["status"], "key" in found) == ("inactive", False)
    assert run("reactivate", key["id"], "--yes", env=TOKEN).returncode == 0
    assert run("revoke", key["id"], env=TOKEN).returncode == 1, "done without being asked"
    assert run("revoke", key["id"], "--yes", env=TOKEN).returncode == 0
    again = run("reactivate", key["id"], "--yes", env=TOKEN)
    assert (again.returncode, "final" in again.stderr) == (1, True)
    usage = json.loads(run("usage", "key_demo", "--json", env=TOKEN).stdout)
    assert set(usage) == {"id", "requests", "cost_usd", "by_model", "by_day"}


def test_sorting_filtering_and_pages(run: Run) -> None:
    for name, limit in (("page-b", "2"), ("page-a", "1"), ("page-c", "none")):
        run("create", name, "--limit", limit, "--show-secret", env=TOKEN, shows=True)

    def names(*options: str) -> list[str]:
        found = run("list", "--filter", "page-", "--json", *options, env=TOKEN)
        return [key["name"] for key in json.loads(found.stdout)]

    assert names() == ["page-a", "page-b", "page-c"]
    assert names("--sort", "created") == ["page-c", "page-a", "page-b"]
    assert names("--limit", "2", "--page", "2") == ["page-c"]
    assert names("--status", "revoked") == []
    table = run("list", "--filter", "page-", "--limit", "1", env=TOKEN)
    assert "page-a" in table.stdout
    assert "page 1 of 3" in table.stderr


def test_credentials_are_refused_where_they_do_not_belong(run: Run, sim: SimServer) -> None:
    wrong = run("list", "--token-stdin", stdin=CANARY_KEY)
    assert wrong.returncode == 1
    assert "it is an API key (sk-...), which never works as management token" in wrong.stderr
    wrong = run("list", env={"TOKENLAB_MANAGEMENT_TOKEN": CANARY_KEY})
    assert "never works as management token" in wrong.stderr
    wrong = run("verify", "--model", "gpt-5.4", env={"TOKENLAB_API_KEY": CANARY_TOKEN, **TOKEN})
    assert "never works as API key" in wrong.stdout
    assert run("list", env={"TOKENLAB_MANAGEMENT_TOKEN": CANARY_TOKEN}).returncode == 1
    assert sim.state.credential_leaks == 0


def test_doctor_names_every_source(run: Run, tmp_path: Path) -> None:
    given = given_in(tmp_path)
    (given / "token").write_text(CANARY_TOKEN)
    found = run("doctor", "--json", env={"TOKENLAB_MANAGEMENT_TOKEN_FILE": str(given / "token")})
    assert found.returncode == 1
    key, token = json.loads(found.stdout)
    assert not key["found"]
    assert key["steps"][0]["source"] == "--token-stdin"
    assert all(step["reason"] for step in key["steps"])
    assert (token["found"], token["source"]) == (True, "$TOKENLAB_MANAGEMENT_TOKEN_FILE")
    assert "no keyring here" in run("doctor", "prod").stdout


def test_the_encrypted_store_keeps_what_is_made(run: Run, tmp_path: Path) -> None:
    given = given_in(tmp_path)
    (given / "passphrase").write_text(PASSPHRASE)
    unlock = {"ROLLOUT_VAULT_PASSPHRASE_FILE": str(given / "passphrase")}
    closed = run("add", "prod", "--to", "encrypted", "--token-stdin", stdin=CANARY_KEY)
    assert closed.returncode == 2
    assert "nobody can be asked" in closed.stderr
    kept = run("add", "prod", "--to", "encrypted", "--token-stdin", stdin=CANARY_KEY, env=unlock)
    assert kept.returncode == 0, kept.stderr
    rewrap(tmp_path / "state" / "vault-identity.age", PASSPHRASE)
    made = run(
        "create", "stored", "--store", "ci", "--to", "encrypted", "--json", env={**TOKEN, **unlock}
    )
    assert "key" not in json.loads(made.stdout)
    proved = run("verify", "--profile", "ci", "--model", "gpt-5.4-mini", env={**TOKEN, **unlock})
    assert "API key from encrypted store: it works" in proved.stdout
    profiles = json.loads(run("profiles", "--json").stdout)
    assert {p["name"] for p in profiles} == {"ci", "prod"}
    assert run("remove", "prod", "--yes", env=unlock).stdout.startswith("removed: API key in")
    wrong = run("doctor", "ci", env={})
    assert "nobody can be asked for its passphrase" in wrong.stdout


def test_no_key_is_made_whose_secret_has_nowhere_to_go(run: Run) -> None:
    assert run("create", "lost", env=TOKEN).returncode == 2
    refused = run("create", "lost", "--store", "prod", env=TOKEN)
    assert refused.returncode == 2
    assert "no keyring here" in refused.stderr
    assert json.loads(run("list", "--filter", "lost", "--json", env=TOKEN).stdout) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "prod", "--token-stdin"), "that is no credential"),
        (("add", "../x", "--token-stdin"), "a profile's name"),
        (("create", "", "--show-secret"), "1 to 50 characters"),
        (("create", CANARY_KEY, "--show-secret"), "looks like a credential"),
        (("create", "x", "--limit", "-1", "--show-secret"), "a limit is 0 to 1000000"),
        (("create", "x", "--limit", "abc", "--show-secret"), "no amount"),
        (("create", "x", "--expires", "soon", "--show-secret"), "no time"),
        (("create", "x", "--expires", "2030-01-01T00:00", "--show-secret"), "needs its zone"),
        (("rename", "nobody", "y", "--yes"), "no API key 'nobody'"),
        (("usage", "key_demo", "--start", "gestern"), "400"),
    ],
)
def test_bad_input_is_one_sentence(run: Run, arguments: tuple[str, ...], words: str) -> None:
    stdin = CANARY_KEY if "../x" in arguments else "hunter2"
    done = run(*arguments, stdin=stdin, env=TOKEN if arguments[0] != "add" else None)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_credential_as_an_argument_is_not_repeated(run: Run) -> None:
    for arguments in (("add", "prod", CANARY_KEY), ("add", "prod", f"--key={CANARY_KEY}")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "not given as an argument" in done.stderr
    assert "no API key 'sk-…" in run("usage", CANARY_KEY, env=TOKEN).stderr


def test_faults_of_the_api_hold_no_secret(run: Run, sim: SimServer) -> None:
    token = {"TOKENLAB_MANAGEMENT_TOKEN": CANARY_TOKEN}
    for fault in ({"kind": "garbage"}, {"kind": "drop"}, {"kind": "truncate"}, {"status": 500}):
        sim.state.faults.clear()
        sim.state.faults.add(fault)
        done = run("list", env=token)
        assert done.returncode in (1, 3)
        assert done.stderr.startswith("rollout-console: ")


def test_read_only_changes_no_key(run: Run, file: Path) -> None:
    for arguments in (
        ("create", "x", "--show-secret"), ("revoke", "key_demo", "--yes"),
        ("add", "prod", "--token-stdin"), ("remove", "prod", "--yes"),
        ("verify", "--model", "gpt-5.4"),
    ):  # fmt: skip
        done = run(*arguments, "--read-only", env=TOKEN, stdin="mt-sim-demo")
        assert (done.returncode, "read-only" in done.stderr) == (1, True), arguments


def test_a_pasted_key_is_hidden_and_not_in_the_process_list(
    tmp_path: Path, sim: SimServer, file: Path
) -> None:
    """On a real pty: the prompt shows nothing of what is typed, and argv holds nothing of it."""
    environ = {
        **os.environ, "ROLLOUT_STATE_DIR": str(tmp_path / "state"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path),
    }  # fmt: skip
    pid, master = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "rollout_console", "-f", str(file), "keys", "add", "prod"],
            environ,
        )
    said = b""
    end = time.monotonic() + 20
    while b"(hidden)" not in said and time.monotonic() < end:
        said += os.read(master, 4096)
    time.sleep(0.2)
    os.write(master, CANARY_KEY.encode() + b"\n")
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert b"no keyring here" in said
    assert b"canary" not in said + arguments


HOSTILE = "evil\x1b]0;owned\x07\u202eeman"


def test_what_comes_from_outside_moves_no_terminal(run: Run, sim: SimServer) -> None:
    key = SimKey("key_\x1b[2Jid", "hostile id", "sk-sim-\x9bhostile", models=["\x1b[31mred"])
    safe = SimKey("key_hostile", HOSTILE, "sk-sim-hostile-2", models=["\x1b[31mred"])
    odd = SimKey("key_far", "far away", "sk-sim-far")
    odd.expires_at = datetime.fromisoformat("9999-12-31T23:59:59+00:00")
    try:
        for one in (key, safe, odd):
            sim.state.add_key(one)
        done = [
            run("list", env=TOKEN), run("list", "--json", env=TOKEN),
            run("usage", "key_hostile", env=TOKEN), run("usage", "hostile id", env=TOKEN),
            run("limit", "key_hostile", "5", "--yes", env=TOKEN),
            run("models", "key_hostile", "\x1b[1mbold", "--yes", env=TOKEN),
            run("rename", "key_hostile", "again\x1b[0m\u202e", "--yes", env=TOKEN),
            run("revoke", "evil·]0;owned··eman", env=TOKEN),
            run("rotate", "key_hostile", "--model", "gpt-5.4", "--yes", env=TOKEN),
            run("deactivate", "key_hostile", "--yes", env=TOKEN),
            run("create", HOSTILE, "--show-secret", env=TOKEN, shows=True),
        ]  # fmt: skip
    finally:
        for one in (key, safe, odd):
            del sim.state.keys[one.id]
    assert "evil·]0;owned··eman" in done[0].stdout
    assert [d.returncode for d in done] == [0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0], done
    for each in done:
        for text in (each.stdout, each.stderr):
            assert all(line.isprintable() for line in text.splitlines()), text


@pytest.mark.parametrize("source", ["printf", "sh\x1b[2J"])
def test_doctor_shows_no_sign_that_moves_a_terminal(run: Run, tmp_path: Path, source: str) -> None:
    config = tmp_path / "config" / "rollout-console"
    config.mkdir(parents=True)
    words = json.dumps([source, "%s"])
    (config / "config.toml").write_text(f"credential_command = {words}\n")
    for command in ("doctor", "verify"):
        done = run(command)
        assert done.returncode == 1
        assert all(line.isprintable() for line in done.stdout.splitlines()), done.stdout


def test_an_expiry_at_the_end_of_all_times(run: Run) -> None:
    done = run("expire", "key_demo", "9999-12-31T23:59:59-12:00", "--yes", env=TOKEN)
    assert (done.returncode, "too far away" in done.stderr) == (1, True)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999", "https://a\x1b[2Jb"])
def test_a_base_url_that_is_none_is_one_sentence(commands: Commands, file: Path, url: str) -> None:
    words = ["-f", str(file), "keys", "list", "--base-url", url]
    done = commands.run(words, env={**os.environ, **TOKEN})
    assert done.stderr.startswith("rollout-console: ")
    assert "is no URL; nothing was sent" in done.stderr
    assert (done.stderr.count("\n"), done.returncode in (1, 3)) == (1, True)


def test_a_rotation_from_the_command_line(run: Run, tmp_path: Path, sim: SimServer) -> None:
    """With a key given in the environment, which goes before what the rotation writes."""
    given = given_in(tmp_path)
    (given / "passphrase").write_text(PASSPHRASE)
    env = {**TOKEN, "ROLLOUT_VAULT_PASSPHRASE_FILE": str(given / "passphrase")}
    opened_store(tmp_path)
    made = json.loads(
        run("create", "by hand", "--show-secret", "--json", env=TOKEN, shows=True).stdout
    )
    rotate = ("rotate", "by hand", "--to", "encrypted", "--model", "gpt-5.4-mini", "--yes")
    key = {"TOKENLAB_API_KEY": "sk-sim-demo"}
    refused = run(*rotate, env={**env, **key})
    assert refused.returncode == 1
    assert "is not the one that profile" in refused.stderr
    key = {"TOKENLAB_API_KEY": made["key"]}
    waits = run(*rotate, env={**env, **key})
    assert waits.returncode == 0, waits.stderr
    assert "$TOKENLAB_API_KEY goes before encrypted store" in waits.stdout
    path, served = tmp_path / "state" / "rotations.json", len(sim.state.usage)
    before = path.read_bytes()
    for more in ((), ("--abandon",)):
        done = run(*rotate, *more, "--read-only", env=env)
        assert (done.returncode, "read-only" in done.stderr) == (1, True)
    assert (path.read_bytes(), len(sim.state.usage)) == (before, served)
    assert "waits for by hand to fall silent" in run(*rotate, env=env).stdout
    stays = run(*rotate, "--abandon", env=env)
    assert "the secret of by hand is not kept here: give it with keys add" in stays.stderr


EVERYTHING = [
    ("show",), ("show", "--json"), ("decide", "chat", "--org", "acme"), ("check",),
    ("check", "--offline"), ("set", "chat", "acme", "5", "--yes"),
    ("set", "chat", "acme", "101", "--yes"), ("set", "nope", "acme", "5", "--yes"),
    ("rollback", "chat", "acme", "--yes", "--reason", f"it is {CANARY_KEY}"),
    ("resume", "chat", "acme", "--yes"), ("undo", "--yes"), ("history",), ("history", "--json"),
    ("restore", "0123456", "--yes"), ("--version",), ("keys",), ("keys", "doctor", "prod"),
    ("keys", "profiles"), ("keys", "verify", "--profile", "prod", "--model", "gpt-5.4"),
    ("keys", "list", "--profile", "prod"), ("keys", "rotations"),
    ("keys", "rotate", "demo", "--profile", "prod", "--model", "gpt-5.4", "--yes"),
    ("keys", "usage", "demo", "--profile", "prod"), ("models",), ("models", "--offline"),
    ("models", "gpt-5.4", "--json"), ("probe", "--yes"), ("probe", "--yes", "--json"),
    ("shadow", "chat", "prompts.jsonl", "--yes", "--json"), ("phase", "--json"),
    ("phase", "claude", "--tick", "pilot.cost", "--note", f"seen with {CANARY_KEY}"),
    ("phase", "claude", "--owner", CANARY_TOKEN, "--contact", CANARY_KEY),
    ("phase", "claude", "--to", "shadow", "--yes", "--reason", CANARY_KEY), ("phase",),
    ("playbook",), ("playbook", "-o", "-"), ("keys", "remove", "prod", "--yes"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("planted", ["variables", "files", "command", "encrypted store"])
def test_no_command_lets_a_planted_secret_out(
    commands: Commands, sim: SimServer, file: Path, tmp_path: Path, planted: str
) -> None:
    """From variables, the first of each command's is started as an operator starts it."""
    text = file.read_text().replace("https://api.tokenlab.sh", sim.base_url)
    for host in ("https://api.openai.com", "https://api.anthropic.com"):
        text = text.replace(host, sim.previous_base_url)
    file.write_text(text)
    given = given_in(tmp_path)
    config = tmp_path / "config" / "rollout-console"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(f'[profiles.prod]\nbase_url = "{sim.base_url}"\n')
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DBUS", "TOKENLAB"))}
    environ |= {
        "ROLLOUT_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }  # fmt: skip
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "hi"}\n')
    environ |= {"OPENAI_API_KEY": CANARY_PREVIOUS, "ANTHROPIC_API_KEY": CANARY_PREVIOUS}
    for name, secret in (("api_key", CANARY_KEY), ("management_token", CANARY_TOKEN)):
        (given / name).write_text(secret)
        if planted == "variables":
            environ[f"TOKENLAB_{name.upper()}"] = secret
        elif planted == "files":
            environ[f"TOKENLAB_{name.upper()}_FILE"] = str(given / name)
    if planted == "command":
        with (config / "config.toml").open("a") as stream:
            stream.write(f'credential_command = ["cat", "{given}/{{purpose}}"]\n')
    if planted == "encrypted store":
        (given / "passphrase").write_text(PASSPHRASE)
        environ["ROLLOUT_VAULT_PASSPHRASE_FILE"] = str(given / "passphrase")
        store = opened_store(tmp_path)
        store.put("prod", "api_key", Secret(CANARY_KEY))
        store.put("prod", "management_token", Secret(CANARY_TOKEN))
    said, started = [], set()
    for arguments in EVERYTHING:
        words = ["-f", str(file), *arguments]
        if planted == "variables" and arguments[0] not in started:
            started.add(arguments[0])
            done = subprocess.run(
                [sys.executable, "-m", "rollout_console", *words], input=CANARY_KEY,
                capture_output=True, text=True, timeout=60, env=environ, cwd=tmp_path,
            )  # fmt: skip
        else:
            done = commands.run(words, input=CANARY_KEY, env=environ, cwd=tmp_path)
        assert "Traceback" not in done.stderr, (arguments, done.stderr)
        said.append(done.stdout + done.stderr)
    assert any("401" in text for text in said), "the planted credential was never used"
    files = (path for path in tmp_path.rglob("*") if path.is_file() and path.parent != given)
    written = [path.read_bytes() for path in files]
    for secret in (CANARY_KEY, CANARY_TOKEN, PASSPHRASE, CANARY_PREVIOUS):
        for form in forms(secret):
            assert not any(form in text.encode() for text in said), secret
            assert not any(form in data for data in written), secret


def test_check_looks_at_credentials_balance_and_keys(
    commands: Commands, sim: SimServer, file: Path, tmp_path: Path
) -> None:
    text = file.read_text().replace("https://api.tokenlab.sh", sim.base_url)
    for host in ("https://api.openai.com", "https://api.anthropic.com"):
        text = text.replace(host, sim.previous_base_url)
    file.write_text(text)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DBUS", "TOKENLAB"))}
    environ |= {
        "ROLLOUT_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "XDG_CONFIG_HOME": str(tmp_path / "config"), **TOKEN,
    }  # fmt: skip

    def check(**more: str) -> tuple[int, dict[str, tuple[bool, str]]]:
        done = commands.run(["-f", str(file), "check", "--json"], env={**environ, **more})
        results = json.loads(done.stdout)["results"]
        return done.returncode, {r["rule"]: (r["ok"], r["reason"]) for r in results}

    code, found = check()
    assert (code, found["credential.api_key"][0]) == (1, False)
    assert found["balance.enough"][0]
    code, found = check(TOKENLAB_API_KEY="sk-sim-demo")
    assert (code, found["credential.api_key"]) == (0, (True, "from $TOKENLAB_API_KEY"))
    assert "key.lasts" in found
    key = sim.state.keys["key_demo"]
    key.limit = key.used
    try:
        code, found = check(TOKENLAB_API_KEY="sk-sim-demo")
    finally:
        key.limit = None
    assert (code, found["key.lasts"][0]) == (1, False)
    assert "has used 100% of its" in found["key.lasts"][1]
    sim.state.faults.add({"status": 503})
    assert "503" in check(TOKENLAB_API_KEY="sk-sim-demo")[1]["api.answers"][1]


def test_memory_is_private(tmp_path: Path) -> None:
    script = """
import resource
from pathlib import Path
from rollout_console.credentials.vault.hardening import keep_memory_private
keep_memory_private()
print(resource.getrlimit(resource.RLIMIT_CORE))
print(Path("/proc/self/status").exists() and Path("/proc/self").stat().st_uid)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "(0, 0)"


def test_a_key_whose_secret_cannot_be_written_is_revoked_again(
    sim: SimServer, file: Path, tmp_path: Path
) -> None:
    """The API shows it once: a full disk, or a pipe that nobody reads, would lose it."""
    command = [
        sys.executable, "-m", "rollout_console", "-f", str(file), "keys", "create", "unseen",
        "--show-secret", "--base-url", sim.base_url,
    ]  # fmt: skip
    environ = {**os.environ, **TOKEN, "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environ)
    (key,) = (one for one in sim.state.keys.values() if one.name == "unseen")
    assert (done.returncode, key.status) == (1, "revoked")
    assert f"key unseen ({key.id}) was made, but its secret could not be written" in done.stderr
    assert key.secret not in done.stderr


def test_an_odd_answer_loses_no_secret(commands: Commands, file: Path, tmp_path: Path) -> None:
    secret = "sk-shown-once"

    def answer(request: Received) -> Reply:
        odd = {"used_amount_decimal": "1e99", "created_at": "2026-01-01T00:00:00Z"}
        key = {"id": "key_1", "name": "ci", "key_prefix": "sk-abc", "status": "active", **odd}
        is_list = request.method == "GET"
        return Reply(200, {"data": []}) if is_list else Reply(201, key | {"key": secret})

    environ = {**os.environ, **TOKEN, "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    with Origin(answer) as origin:
        words = ["keys", "create", "ci", "--show-secret", "--base-url", origin.url]
        done = commands.run(["-f", str(file), *words], env=environ, cwd=tmp_path)
    assert (done.returncode, secret in done.stdout) == (0, True)
    assert "warning: the API's answer is not what its contract says" in done.stderr
    assert "(used_amount_decimal)" in done.stderr
