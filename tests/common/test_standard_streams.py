"""What is written to standard output is there as a whole, with PYTHONUNBUFFERED as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stopped import stop_in_its_write

WRITES = """
import sys
from rollout_console.common.standard_streams import buffer_standard_streams
buffer_standard_streams()
sys.stdout.{write}("".join(f"{{n}}\\n" for n in range(40_000)){encode})
sys.stdout.flush()
"""
NUMBERS = "".join(f"{n}\n" for n in range(40_000)).encode()


def read_of(*words: str) -> bytes:
    """Return what a process writes that is stopped in a write, with raw standard streams."""
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        stop_in_its_write(process.pid, process.stdout.fileno())
        found = process.stdout.read()
    assert process.returncode == 0
    return found


@pytest.mark.parametrize(("write", "encode"), [("write", ""), ("buffer.write", ".encode()")])
def test_a_process_that_is_stopped_in_a_write_writes_the_rest(write: str, encode: str) -> None:
    assert read_of("-c", WRITES.format(write=write, encode=encode)) == NUMBERS


def test_without_it_the_rest_is_lost() -> None:
    """What it is for; once Python itself writes the rest, it can go."""
    script = WRITES.format(write="write", encode="").replace("buffer_standard_streams()", "")
    assert len(read_of("-c", script)) < len(NUMBERS)


def test_a_command_s_output_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rollout.toml"
    orgs = "".join(f'"org-{n:05}" = 7\n' for n in range(3_000))
    path.write_text(
        'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\n'
        'format = "openai_chat_completions"\nmodel = "m"\n'
        f'previous_base_url = "http://127.0.0.1:1/v1"\n[routes.chat.orgs]\n{orgs}'
    )
    words = ["-m", "rollout_console", "-f", str(path), "show", "--json"]
    whole = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, check=True).stdout
    assert len(whole) > 100_000
    assert read_of(*words) == whole
