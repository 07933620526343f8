#!/bin/sh
# Build the wheel, install it where no checkout is, and run the demo from it.
set -eu
python=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder" .
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "$folder"/rollout_console-*.whl
cd "$folder"
"$folder/venv/bin/rollout-console" demo --headless-seconds 5 > summary.json
"$folder/venv/bin/python" - <<'PYTHON'
import json
from pathlib import Path

import console
from console.assets import asset_folder

assert "site-packages" in console.__file__, console.__file__
assert (asset_folder("themes") / "night-ops.toml").is_file()
assert (asset_folder("sample_configs") / "rollout.toml").is_file()
# The project file of the gate alone has no place in the whole console.
assert not (Path(console.__file__).parent / "gate" / "pyproject.toml").exists()
summary = json.loads(Path("summary.json").read_text())
assert summary["ok"], summary
print("wheel: themes and samples found, headless demo ok,", summary["requests"])
PYTHON
