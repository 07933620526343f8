#!/bin/sh
# Build the gate alone, install it where nothing else is, and decide from there.
set -eu
python=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder" ./gate
"$python" -m venv --without-pip "$folder/venv"
awk '/^[^ ]/ { take = /^(mmh3|msgspec)==/ } take' requirements/console.txt > "$folder/gate.txt"
"$python" -m pip --python "$folder/venv/bin/python" install --quiet --require-hashes --requirement "$folder/gate.txt"
"$python" -m pip --python "$folder/venv/bin/python" install --quiet --no-index "$folder"/rollout_gate-*.whl
cp sample_configs/rollout.toml "$folder"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import importlib.util
from pathlib import Path

import rollout_gate.http  # needs neither httpx nor httpx2 until a client is made
from rollout_gate import AccessLine, AccessLog, Gate, subject, timestamp

with Gate("rollout.toml") as gate:
    found = gate.decide("chat", "acme", key="user-1")
    assert found.rule == "orgs.acme", found
log = AccessLog("access.jsonl")
log.append(
    AccessLine(ts=timestamp(), route="chat", org="acme", side=found.side, model="m", status=200,
               latency_ms=1.0)
)
assert '"route":"chat"' in Path("access.jsonl").read_text()
for name in ("textual", "httpx", "tomlkit", "keyring", "plotext", "starlette", "rollout_console"):
    assert importlib.util.find_spec(name) is None, name
packages = sorted(one.name for one in importlib.metadata.distributions())
assert packages == ["mmh3", "msgspec", "rollout-gate"], packages
files = [path for path in Path(importlib.util.find_spec("rollout_gate").origin).parent.rglob("*.py")]
assert any(path.name == "LICENSE" for path in importlib.metadata.files("rollout-gate") or ())
size = sum(path.stat().st_size for path in Path(files[0]).parents[1].rglob("*") if path.is_file())
print(f"gate alone: {len(packages)} packages ({', '.join(packages)}), {size / 1e6:.1f} MB; "
      "it decides and logs")
PYTHON
