"""What docs/gate.md shows is run as it stands, against the simulator."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate.file.formats import sdk_base_url

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "gate.md").read_text(), re.DOTALL)
FORMATS = {
    "chat": "openai_chat_completions", "responses": "openai_responses",
    "claude": "anthropic_messages", "gemini": "gemini_generate_content", "video": "video",
}  # fmt: skip
WANTED = [
    ("from openai import OpenAI", "chat"),
    ("AsyncOpenAI", "responses"),
    ("Anthropic(", "claude"),
    ("genai.Client", "gemini"),
    ("order-4711", "video"),
    ("log.append", "chat"),
    ("RolloutProvider", "chat"),
]


TWICE = """\
import os, sys
from pathlib import Path
block, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    with open("said", "w") as sys.stdout:
        exec(compile(block, "docs/gate.md", "exec"), {"__name__": "__main__"})
"""
"""Runs a block in one folder after the other: most of its time is the import of an SDK."""


@pytest.mark.parametrize(("sign", "route"), WANTED, ids=[sign for sign, _ in WANTED])
def test_a_block_of_the_docs(sim: SimServer, tmp_path: Path, sign: str, route: str) -> None:
    (block,) = [block for block in BLOCKS if sign in block]
    environment = {
        **os.environ,
        "TOKENLAB_API_KEY": DEMO_KEY,
        "OPENAI_API_KEY": "prev-a",
        "ANTHROPIC_API_KEY": "prev-b",
        "GOOGLE_API_KEY": "prev-c",
        "PREVIOUS_API_KEY": "prev-d",
        "OPENAI_BASE_URL": sim.previous_base_url + "/v1",
        "ANTHROPIC_BASE_URL": sim.previous_base_url,
        "GOOGLE_GEMINI_BASE_URL": sim.previous_base_url,
    }
    folders = {side: a_folder(sim, tmp_path / side, side) for side in ("tokenlab", "previous")}
    done = subprocess.run(
        [sys.executable, "-c", TWICE, block, *map(str, folders.values())],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for side, folder in folders.items():
        said_and_written(folder, sign, route, side)


def a_folder(sim: SimServer, folder: Path, side: str) -> Path:
    """A folder with a rollout file that sends everything to one side."""
    folder.mkdir()
    share = 100 if side == "tokenlab" else 0
    lines = [
        'schema = 1\nalgorithm = "fractional-v3"',
        f'[tokenlab]\nbase_url = "{sim.base_url}"',
    ]
    for name, kind in FORMATS.items():
        base = sdk_base_url(kind, sim.previous_base_url)
        lines += [f'[routes.{name}]\nformat = "{kind}"\nprevious_base_url = "{base}"']
        lines += [f"[routes.{name}.orgs]\nacme = {share}"]
    (folder / "rollout.toml").write_text("\n".join(lines) + "\n")
    return folder


def said_and_written(folder: Path, sign: str, route: str, side: str) -> None:
    """Assert what a block printed, and the lines of its access log."""
    said = (folder / "said").read_text().split()
    if sign == "RolloutProvider":
        assert said[::2] == [side, "orgs.acme"]
        return
    written = [json.loads(text) for text in (folder / "access.jsonl").read_text().splitlines()]
    # Google's SDK has two clients, and the task of a video is asked about.
    assert len(written) == (2 if route in ("gemini", "video") else 1)
    for entry in written:
        assert (entry["route"], entry["org"], entry["side"]) == (route, "acme", side)
        assert entry["status"] == 200
    if route == "video":
        *created, status = said
        assert len(created) == 2
        assert len(set(created)) == 1
        assert status in ("pending", "processing", "completed")
        assert written[0]["job_id"] == "order-4711"


def test_every_block_of_the_docs_is_run() -> None:
    assert len(BLOCKS) == len(WANTED)
