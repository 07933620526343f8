#!/bin/sh
# Build the wheel, install it where no checkout is, and run the demo from it.
set -eu
python=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder" ./gate .
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --require-hashes --no-deps --requirement requirements/console.txt
# With no index, what the wheels ask for must be what is locked.
"$folder/venv/bin/python" -m pip install --quiet --no-index "$folder"/rollout_gate-*.whl "$folder"/rollout_console-*.whl
test -s "$folder/venv/share/man/man1/rollout-console.1"
cd "$folder"
# Without the extra, the view in a browser names what it needs.
code=0
"$folder/venv/bin/rollout-console" web 2> refused.txt || code=$?
test "$code" = 2
grep -q 'pip install "textual-serve' refused.txt
"$folder/venv/bin/rollout-console" demo --headless-seconds 5 > summary.json
"$folder/venv/bin/python" - <<'PYTHON'
import json
from pathlib import Path

import rollout_console
from rollout_console.common.assets import asset_folder

assert "site-packages" in rollout_console.__file__, rollout_console.__file__
assert (asset_folder("themes") / "night-ops.toml").is_file()
assert (asset_folder("sample_configs") / "rollout.toml").is_file()
summary = json.loads(Path("summary.json").read_text())
assert summary["ok"], summary
print("wheel: themes and samples found, headless demo ok,", summary["requests"])
PYTHON
