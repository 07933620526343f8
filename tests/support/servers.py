"""Several hosts on one machine: Linux namespaces with a name, an address and folders of their own.

A host's /etc, /var/lib and /tmp are overlays, its cable is a veth pair to a bridge, and what stands
in for systemd runs the ExecStart of the units that are installed there.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.parts import need

_OWN = ("/etc", "/var/lib", "/tmp")
_SYSTEMCTL = r"""#!/bin/bash
# Stands in for systemctl: starts what a unit's ExecStart says, with its environment.
name=${*: -1}; name=${name%.service}
case "$1" in enable|start|restart|stop) ;; *) echo "unknown: $*" >&2; exit 1;; esac
pid=/run/$name.pid
if [ -f $pid ]; then
  kill "$(cat $pid)" 2>/dev/null
  while kill -0 "$(cat $pid)" 2>/dev/null; do sleep 0.05; done
  rm $pid
fi
[ "$1" = stop ] && exit 0
unit=/etc/systemd/system/$name.service
[ -f $unit ] || unit=/lib/systemd/system/$name.service
value() { sed -n "s/^$1=//p" $unit; }
while read -r line; do
  [ -n "$line" ] && export "${line//%H/$(hostname)}"
done < <(value Environment)
file=$(value EnvironmentFile); file=${file#-}; file=${file//%p/$name}
[ -f "$file" ] && while read -r line; do export "$line"; done < <(grep -v '^#' "$file" | grep =)
folder=$(value WorkingDirectory); cd "${folder:-/}" || exit 1
command=$(value ExecStart); command=${command//\/usr\/local\/bin\/rollout-console/$CONSOLE}
eval "setsid $command" >> /var/lib/$name.log 2>&1 < /dev/null &
echo $! > $pid
"""


class Host:
    """One host; ``run`` runs a script of bash on it as root."""

    def __init__(self, name: str, address: str, anchor: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self.address = address
        self.anchor = anchor

    @property
    def words(self) -> list[str]:
        """The command in front of those that run on this host."""
        pid = str(_child(self.anchor))
        return ["nsenter", "-t", pid, "--net", "--uts", "--mount", "--pid", "--"]

    def run(self, script: str, *, code: int | None = 0, **environ: str) -> str:
        """Return what a script printed; fails at another exit code, unless that is None."""
        done = subprocess.run(
            [*self.words, "bash", "-ec", script], capture_output=True, text=True, timeout=120,
            env={**os.environ, **environ, "PATH": _path(), "CONSOLE": _console(),
                 "HOME": "/run"}, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{self.name}: {script}\n{said}"
        return said

    def unplug(self) -> None:
        """Pull the cable."""
        self.run("ip link set eth0 down")

    def plug(self) -> None:
        """Plug the cable in again."""
        self.run("ip link set eth0 up")


@contextmanager
def servers(*names: str) -> Iterator[list[Host]]:
    """Run hosts with these names; skips where the kernel allows no namespaces."""
    need("unshare", "nsenter", "ip", "setsid")
    with ExitStack() as stack:
        bridge = _anchor(stack)
        _in(bridge, "ip link add br0 type bridge && ip link set br0 up")
        found = []
        hosts = "127.0.0.1 localhost\n" + "".join(
            f"10.77.0.{number} {name}\n" for number, name in enumerate(names, 1)
        )
        for number, name in enumerate(names, 1):
            anchor = _anchor(stack)
            _in(
                bridge,
                f"ip link add v{number} type veth peer name eth0 netns {anchor.pid}"
                f" && ip link set v{number} master br0 && ip link set v{number} up",
            )
            _in(anchor, _set_up(name, f"10.77.0.{number}"))
            host = Host(name, f"10.77.0.{number}", anchor)
            host.run(f"cat > /etc/hosts <<'EOF'\n{hosts}EOF")
            host.run(f"mkdir /run/bin; cat > /run/bin/systemctl <<'EOF'\n{_SYSTEMCTL}EOF")
            host.run("chmod +x /run/bin/systemctl")
            found.append(host)
        yield found


def _anchor(stack: ExitStack) -> "subprocess.Popen[bytes]":
    """Start the process that holds a host's namespaces; all that runs in them ends with it."""
    process = subprocess.Popen(
        ["unshare", "--net", "--uts", "--mount", "--pid", "--kill-child", "--fork", "--mount-proc",
         "sh", "-c", "echo up; exec sleep infinity"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def end() -> None:
        process.kill()
        process.communicate()

    stack.callback(end)
    assert process.stdout is not None
    if process.stdout.readline() != b"up\n":
        assert process.stderr is not None
        pytest.skip(f"no namespaces here: {process.stderr.read().decode()[:200]}")
    return process


def _in(anchor: "subprocess.Popen[bytes]", script: str) -> None:
    words = ["nsenter", "-t", str(_child(anchor)), "--net", "--uts", "--mount", "--", "sh", "-ec"]
    done = subprocess.run([*words, script], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no such network or mounts here: {done.stderr[:200]}")


def _child(anchor: "subprocess.Popen[bytes]") -> int:
    """The process inside: that of unshare itself is not in the namespace of processes."""
    return int(Path(f"/proc/{anchor.pid}/task/{anchor.pid}/children").read_text().split()[0])


def _set_up(name: str, address: str) -> str:
    lines = [
        f"hostname {name}", "ip link set lo up", f"ip addr add {address}/24 dev eth0",
        "ip link set eth0 up", "mount -t tmpfs tmpfs /run",
    ]  # fmt: skip
    for number, place in enumerate(_OWN):
        upper, work = f"/run/upper{number}", f"/run/work{number}"
        lines += [
            f"mkdir {upper} {work}",
            f"mount -t overlay overlay -o lowerdir={place},upperdir={upper},workdir={work} {place}",
        ]
    return "\n".join(lines)


def _path() -> str:
    return f"/run/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"


def _console() -> str:
    return str(Path(sys.executable).parent / "rollout-console")
