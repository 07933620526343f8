"""A shadow sample: prompts of one's own, both sides, a person's judgement, and nothing kept."""

import asyncio
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.cli.main import run
from rollout_console.common.errors import OperationError
from rollout_console.common.folders import state_folder
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.profiles import ProfileList
from rollout_console.credentials.vault.vault import empty_vault
from rollout_console.models.catalogue import Catalogue
from rollout_console.readiness.plan_file import PlanFile
from rollout_console.readiness.probes import Probes
from rollout_console.readiness.shadow import (
    MOST_SILENT,
    Pair,
    Tally,
    plan_shadow,
    read_prompts,
    run_shadow,
)
from rollout_console.sim.provider_metadata import MARK
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.probe import Probe, Target
from rollout_gate.file.model import DEFAULT_BASE_URL
from rollout_gate.file.parse import parse

CANARY = "canary-prompt-of-a-customer"


@pytest.fixture
def own() -> Iterator[SimServer]:
    with SimServer(seed=4) as server:
        yield server


@pytest.fixture
def placed(file: Path, own: SimServer) -> Path:
    text = file.read_text().replace(DEFAULT_BASE_URL, own.base_url)
    for host in ("https://api.openai.com", "https://api.anthropic.com"):
        text = text.replace(host, own.previous_base_url)
    file.write_text(text)
    return file


@pytest.fixture
def probes(own: SimServer, tmp_path: Path) -> Probes:
    given = Given(variables={"api_key": "sk-sim-demo"}, previous={"OPENAI_API_KEY": "prev-of-ours"})
    room = ApiKeys(empty_vault(given), ProfileList(tmp_path / "p.json"), "prod", own.base_url)
    return Probes(room, Catalogue(own.base_url, tmp_path))


def prompts_in(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"prompt": f"{CANARY} {i}"}) + "\n" for i in range(count)))
    return path


async def test_each_prompt_goes_once_to_each_side(
    placed: Path, probes: Probes, own: SimServer, tmp_path: Path
) -> None:
    file = parse(placed.read_bytes())
    prompts = read_prompts(prompts_in(tmp_path / "p.jsonl", 50))
    plan = await plan_shadow(probes, file, "chat", prompts, sample=8, seed=1)
    assert len(set(plan.prompts)) == 8
    assert list(plan.prompts) == sorted(plan.prompts, key=prompts.index)
    pairs = [pair async for pair in run_shadow(plan, Decimal(1))]
    assert [pair.prompt for pair in pairs] == list(plan.prompts)
    end = time.monotonic() + 5
    while True:
        # A request is recorded when it has ended, a moment after its answer is here.
        sides = [one.side for one in own.state.requests if "completions" in one.path]
        if len(sides) >= 16 or time.monotonic() > end:
            break
        await asyncio.sleep(0.02)
    assert sorted(sides) == ["previous"] * 8 + ["tokenlab"] * 8
    assert all(pair.tokenlab.text and pair.previous.text and pair.cost for pair in pairs)
    assert sum((pair.cost or 0 for pair in pairs), Decimal(0)) == own.state.used
    assert own.state.used <= plan.cost
    assert own.state.credential_leaks == 0


async def test_what_cannot_be_sampled_is_refused_before_anything_is_sent(
    placed: Path, probes: Probes, own: SimServer
) -> None:
    file = parse(placed.read_bytes())
    with pytest.raises(OperationError, match=r"both sides are needed; previous: no key"):
        await plan_shadow(probes, file, "claude", ["x"])
    with pytest.raises(OperationError, match="no route"):
        await plan_shadow(probes, file, "nope", ["x"])
    media = placed.read_text().replace("openai_chat_completions", "video")
    with pytest.raises(OperationError, match="never mirrored"):
        await plan_shadow(probes, parse(media.encode()), "chat", ["x"])
    plan = await plan_shadow(probes, file, "chat", ["x"])
    with pytest.raises(OperationError, match="over the ceiling"):
        await anext(run_shadow(plan, Decimal("0.0001")))
    unknown = parse(placed.read_bytes().replace(b"gpt-5.4", b"gpt-5.44"))
    with pytest.raises(OperationError, match=r"price of gpt-5\.44 is not known"):
        await plan_shadow(probes, unknown, "chat", ["x"])
    assert not [one for one in own.state.requests if "completions" in one.path]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a"}\n{"prompt": 5}\n', "p.jsonl:2: a line is"),
        ('"a"\nnot json\n', "p.jsonl:2: a line is"),
        ("\n\n", "has no prompts"),
        ('{"ts":"x","route":"c","side":"tokenlab","latency_ms":1}\n', "line of an access log"),
        ('{"ts":"x","route":"c","side":"tokenlab","prompt":"p"}\n', "line of an access log"),
        ('{"prompt":"p","request_id":"r","status":200}\n', "line of an access log"),
        ('{"prompt":"a"}\n{"prompt":"p","org":"a","ts":"x"}\n', "p.jsonl:2: that is a line of"),
        ('{"prompt": " "}\n', "p.jsonl:1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(OperationError, match=r"p\.jsonl") as raised:
        read_prompts(path)
    assert said in str(raised.value)
    with pytest.raises(OperationError, match="cannot be read"):
        read_prompts(tmp_path / "none")


def test_both_ways_to_write_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a", "tag": 1, "route": "chat"}\n\n"b"\n')
    assert read_prompts(path) == ["a", "b"]


def test_a_tally_counts_and_takes_medians() -> None:
    target = Target("chat", "openai_chat_completions", "m", "tokenlab", "")

    def pair(ours: float, theirs: float, text: str = "x") -> Pair:
        return Pair(
            "p", Probe(target, False, 200, ours, text=text),
            Probe(target, False, 200, theirs, text="x"), None,
        )  # fmt: skip

    tally = Tally()
    tally.add(pair(100, 200), "better")
    tally.add(pair(300, 200), "worse")
    tally.add(pair(200, 500), "same")
    tally.add(pair(9000, 1, ""), None)
    at = datetime(2026, 1, 1, 1, 2, 3, 456, UTC)
    sample = tally.sample(at, "jo@x", "m")
    assert (sample.better, sample.same, sample.worse, sample.errors) == (1, 1, 1, 1)
    assert (sample.tokenlab_ms, sample.previous_ms, sample.judged) == (200, 200, 3)
    assert sample.at.microsecond == 0


@pytest.fixture
def shell(
    placed: Path, own: SimServer, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[int, str, str]]:  # fmt: skip
    def call(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setenv("TOKENLAB_API_KEY", "sk-sim-demo")
        monkeypatch.setenv("OPENAI_API_KEY", "prev-of-ours")
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = run(["shadow", *arguments, "-f", str(placed)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def test_judged_on_the_terminal_and_only_the_tally_is_kept(
    shell: Callable[..., tuple[int, str, str]], placed: Path, tmp_path: Path, own: SimServer
) -> None:
    own.state.faults.add({"kind": "metadata"})
    path = str(prompts_in(tmp_path / "p.jsonl", 3))
    code, out, err = shell("chat", path, "--yes", typed="b\nx\ns\nw\n")
    assert code == 0
    assert "at most $" in err
    assert CANARY in out, "the prompt is shown to who chose it"
    assert MARK not in out
    assert "1 better, 1 same, 1 worse, 0 failed" in out
    sample = PlanFile(placed, WriteAccess()).read().route("chat").sample
    assert sample is not None
    assert (sample.better, sample.same, sample.worse, sample.model) == (1, 1, 1, "gpt-5.4")
    for folder in (placed.parent, state_folder()):
        for root, _, names in os.walk(folder):
            for name in names:
                data = (Path(root) / name).read_bytes()
                assert CANARY.encode() not in data, name
                assert b"simulated answer" not in data, name


def test_stopping_at_once_keeps_nothing(
    shell: Callable[..., tuple[int, str, str]], placed: Path, tmp_path: Path
) -> None:
    path = str(prompts_in(tmp_path / "p.jsonl", 3))
    assert shell("chat", path, "--yes", typed="q\n")[0] == 1
    assert shell("chat", path)[0] == 1
    code, out, _ = shell("chat", path, "--yes", "--json")
    assert (code, len(json.loads(out))) == (0, 3)
    assert shell("chat", path, "--dry-run")[0] == 0
    assert shell("chat", path, "--yes", "--read-only")[0] == 1
    assert not PlanFile(placed, WriteAccess()).path.exists()


def test_a_side_that_does_not_answer_ends_the_sample_with_what_came(
    shell: Callable[..., tuple[int, str, str]], placed: Path, own: SimServer, tmp_path: Path
) -> None:
    placed.write_text(placed.read_text().replace(own.previous_base_url, "http://127.0.0.1:9"))
    path = str(prompts_in(tmp_path / "p.jsonl", 9))
    code, out, err = shell("chat", path, "--yes", typed="b\ns\nw\n")
    assert code == 0
    assert f"stopped after {MOST_SILENT} of 9: a side gave no answer" in err
    assert "1 better, 1 same, 1 worse, 0 failed" in out
    assert len([one for one in own.state.requests if "completions" in one.path]) == MOST_SILENT
