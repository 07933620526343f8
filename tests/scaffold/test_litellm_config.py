"""LiteLLM configs to routes: what maps, what does not and why, and no key anywhere."""

import time
from pathlib import Path

import pytest

from rollout_console.scaffold.draft import Draft
from rollout_console.scaffold.errors import ScaffoldError
from rollout_console.scaffold.litellm_config import MOST_BYTES, read_config
from rollout_console.scaffold.template import rollout_text

CANARY = "sk-canary-7f3a9c55e1aa"
MIXED = f"""\
model_list:
  - model_name: fast
    litellm_params:
      model: openai/gpt-5.4-mini
      api_key: os.environ/OPENAI_API_KEY
  - model_name: "answers.v2"
    litellm_params:
      model: openai/responses/gpt-5.4
      api_key: {CANARY}
  - model_name: writer
    litellm_params: {{model: anthropic/claude-sonnet-4-6, api_base: "https://api.anthropic.com/v1"}}
  - model_name: long
    litellm_params: {{model: gemini/gemini-3.5-flash, api_key: {CANARY}}}
  - model_name: own
    litellm_params: {{model: hosted_vllm/llama, api_base: "http://10.0.0.7:8000"}}
  - model_name: bare
    litellm_params: {{model: gpt-5.4}}
  - model_name: pictures
    litellm_params: {{model: openai/gpt-image-1}}
    model_info: {{mode: image_generation}}
  - model_name: azure-v1
    litellm_params: {{model: azure/gpt-5.4, api_base: "https://x.openai.azure.com/openai/v1/"}}
  - model_name: from-env
    litellm_params: {{model: openai/gpt-5.4, api_base: os.environ/BASE}}
  - model_name: leaky
    litellm_params: {{model: openai/gpt-5.4, api_base: "https://u:{CANARY}@gw.example/v1"}}
  - model_name: fast
    litellm_params: {{model: openai/gpt-5.4-mini, api_key: {CANARY}}}
  - model_name: fast
    litellm_params: {{model: openai/gpt-5.4-mini, api_base: "https://other.example/v1"}}
  - model_name: fast
    litellm_params: {{model: anthropic/claude-haiku-4-5}}
  - model_name: azure
    litellm_params: {{model: azure/gpt-5.4, api_base: "https://x.openai.azure.com/"}}
  - model_name: cloud
    litellm_params: {{model: bedrock/anthropic.claude-v2, aws_secret_access_key: {CANARY}}}
  - model_name: vertex
    litellm_params: {{model: gemini-3.5-flash}}
  - model_name: everything
    litellm_params: {{model: "openai/*"}}
  - model_name: vectors
    litellm_params: {{model: openai/text-embedding-3-small}}
    model_info: {{mode: embedding}}
  - model_name: {CANARY}
    litellm_params: {{model: openai/gpt-5.4}}
  - litellm_params: {{model: openai/gpt-5.4}}
  - model_name: nothing
  - just text
general_settings:
  master_key: {CANARY}
environment_variables: {{X: {CANARY}}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_each_provider_maps_to_its_own_format(path: Path) -> None:
    path.write_text(MIXED)
    found = {r.name: (r.format, r.model, r.previous_base_url) for r in read_config(path).routes}
    openai = "https://api.openai.com/v1"
    assert found == {
        "fast": ("openai_chat_completions", "gpt-5.4-mini", openai),
        "answers.v2": ("openai_responses", "gpt-5.4", openai),
        "writer": ("anthropic_messages", "claude-sonnet-4-6", "https://api.anthropic.com"),
        "long": ("gemini_generate_content", "gemini-3.5-flash",
                 "https://generativelanguage.googleapis.com"),
        "own": ("openai_chat_completions", "llama", "http://10.0.0.7:8000/v1"),
        "bare": ("openai_chat_completions", "gpt-5.4", openai),
        "pictures": ("image", "gpt-image-1", openai),
        "azure-v1": ("openai_chat_completions", "gpt-5.4", "https://x.openai.azure.com/openai/v1"),
        "from-env": ("openai_chat_completions", "gpt-5.4", ""),
        "leaky": ("openai_chat_completions", "gpt-5.4", ""),
        "fast-2": ("anthropic_messages", "claude-haiku-4-5", "https://api.anthropic.com"),
    }  # fmt: skip


def test_what_cannot_be_mapped_is_named_with_its_line_and_the_reason(path: Path) -> None:
    path.write_text(MIXED)
    unmapped = read_config(path).unmapped
    lines = MIXED.splitlines()
    said = {one.name: one.reason for one in unmapped}
    assert all(lines[one.line - 1].lstrip().startswith("-") for one in unmapped)
    assert "another deployment" in next(o.reason for o in unmapped if o.name == "fast")
    assert "--previous-url https://RESOURCE" in said["azure"]
    assert "is of bedrock" in said["cloud"]
    assert "is of vertex_ai" in said["vertex"]
    assert "wildcard" in said["everything"]
    assert "mode embedding" in said["vectors"]
    assert said[""] == "names no litellm_params.model"
    assert said["nothing"] == "names no litellm_params.model"


def test_no_key_of_the_config_is_in_what_is_written_or_said(path: Path) -> None:
    path.write_text(MIXED)
    config = read_config(path)
    text = rollout_text(Draft(config.routes))
    reasons = " ".join(one.name + one.reason for one in config.unmapped)
    assert CANARY not in text + reasons
    assert "OPENAI_API_KEY" not in text


def test_defaults_by_anchor_and_merge_are_followed(path: Path) -> None:
    path.write_text(
        "defaults: &d\n  api_base: https://gw.example/v1\n"
        "model_list:\n- model_name: a\n  litellm_params:\n    <<: *d\n    model: openai/m\n"
        "- model_name: b\n  litellm_params:\n    <<: [*d]\n    model: openai/n\n"
        "    api_base: https://own.example/v1\n"
    )
    assert [route.previous_base_url for route in read_config(path).routes] == [
        "https://gw.example/v1",
        "https://own.example/v1",
    ]


def test_line_endings_and_a_byte_order_mark(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + MIXED.replace("\n", "\r\n").encode())
    assert len(read_config(path).routes) == 11


def _bomb() -> str:
    levels = ["a0: &a0 {x: y}"]
    levels += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 30)]
    return "\n".join(levels) + "\nmodel_list:\n- model_name: a\n  litellm_params: *a29\n"


BAD: dict[str, tuple[str | bytes, str]] = {
    "bomb": (_bomb(), "names no litellm_params.model"),
    "loop": ("model_list:\n- &a\n  <<: *a\n  model_name: x\n  litellm_params: *a\n", "names no"),
    "deep": ("model_list: " + "[" * 20_000, "not valid YAML"),
    "no yaml": (f"model_list: [\n api_key: {CANARY}: :\n", "not valid YAML: see line"),
    "two documents": ("a: 1\n---\nb: 2\n", "not valid YAML"),
    "tag": ("model_list: !!python/object/apply:os.system ['touch stolen']\n", "can be a route"),
    "empty": ("", "no model_list"),
    "a list": ("- a\n", "no model_list"),
    "no list": ("model_list: 7\n", "no model_list"),
    "nothing maps": ("model_list:\n- model_name: a\n  litellm_params: {model: ollama/x}\n",
                     "line 2: is of ollama"),
    "control": ("model_list:\n- model_name: \"a\\x1bb\"\n  litellm_params: {model: openai/x}\n",
                "control character"),
    "not utf-8": (b"model_list: \xff", "not UTF-8"),
    "large": (b"#" * (MOST_BYTES + 1), "at most"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_one_sentence(name: str, path: Path) -> None:
    data, said = BAD[name]
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    before = time.process_time()
    with pytest.raises(ScaffoldError, match=said) as error:
        read_config(path)
    assert time.process_time() - before < 5
    assert CANARY not in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("stolen").exists()


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.yaml"):
        with pytest.raises(ScaffoldError, match="cannot be read"):
            read_config(path)
