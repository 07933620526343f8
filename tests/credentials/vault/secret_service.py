"""A real Secret Service for tests: gnome-keyring on a private D-Bus session."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.parts import need

# No service folders: nothing but what is started here may answer on the bus.
BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>
"""


def run_with_keyring(script: str, folder: Path, *, state: str = "unlocked") -> str:
    """Run a Python script on a private session bus; return what it prints.

    ``state`` is ``unlocked``, ``locked`` (a collection exists, and its password is not known
    here) or ``none`` (a bus, and no Secret Service on it).
    """
    need("dbus-run-session", "gnome-keyring-daemon")
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DBUS", "XDG", "TOKENLAB"))}
    environ |= {
        "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_RUNTIME_DIR": str(home),
        "ROLLOUT_STATE_DIR": str(folder / "state"), "XDG_CONFIG_HOME": str(home / "config"),
    }  # fmt: skip
    home.chmod(0o700)
    daemon = "gnome-keyring-daemon --components=secrets"
    starts = {
        "unlocked": f"printf pw | {daemon} --unlock >/dev/null 2>&1",
        # Unlocked once to make the collection, then started anew without the password.
        "locked": f"printf pw | {daemon} --unlock >/dev/null 2>&1; "
        f"{daemon} --replace --start >/dev/null 2>&1",
        "none": "true",
    }
    (folder / "bus.conf").write_text(BUS, encoding="utf-8")
    (folder / "script.py").write_text(script, encoding="utf-8")
    shell = f"{starts[state]}; exec {sys.executable} {folder}/script.py"
    done = subprocess.run(
        ["dbus-run-session", f"--config-file={folder}/bus.conf", "--", "sh", "-c", shell],
        capture_output=True, text=True, timeout=60, env=environ, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
