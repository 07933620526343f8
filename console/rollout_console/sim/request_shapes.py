"""Request schemas by route: types, ranges, required fields, closed objects and enums.

They are those of TokenLab's published contract; a test compares both on every field. Content
blocks are accepted in more kinds than the contract lists (tool use, documents, thinking): its lists
are open, and the SDKs send them.
"""

import re
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rollout_console.sim.errors import ApiFault

T = TypeVar("T")
Maybe: TypeAlias = T | UnsetType
Table = dict[str, Any]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Effort = Annotated[int, Meta(ge=0, le=100)]
Files = Annotated[list[str], Meta(min_length=1, max_length=9)]
Files16 = Annotated[list[str], Meta(min_length=1, max_length=16)]
Files3 = Annotated[list[str], Meta(min_length=1, max_length=3)]
Choice = str | Table


class _Named(msgspec.Struct):
    name: Annotated[str, Meta(max_length=64)]
    description: Maybe[str] = UNSET
    parameters: Maybe[Table] = UNSET


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: _Named


class _Called(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct):
    id: str
    type: Literal["function"]
    function: _Called


class _ChosenName(msgspec.Struct):
    name: str


class _ChosenTool(msgspec.Struct):
    type: Literal["function"]
    function: _ChosenName


class _Block(msgspec.Struct):
    type: str


class _Message(msgspec.Struct):
    role: Literal["system", "user", "assistant", "function", "tool", "developer"]
    content: Maybe[str | list[_Block] | None] = UNSET
    name: Maybe[str] = UNSET
    tool_calls: Maybe[list[_ToolCall]] = UNSET
    tool_call_id: Maybe[str] = UNSET


class _Format(msgspec.Struct):
    type: Maybe[Literal["text", "json_object", "json_schema"]] = UNSET


class _Translation(msgspec.Struct):
    target_lang: str
    source_lang: Maybe[str] = UNSET


class Chat(msgspec.Struct):
    """POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[_Message], Meta(min_length=1)]
    temperature: Maybe[Annotated[float, Meta(ge=0, le=2)]] = UNSET
    top_p: Maybe[Share] = UNSET
    n: Maybe[Annotated[int, Meta(ge=1, le=128)]] = UNSET
    stream: Maybe[bool] = UNSET
    stop: Maybe[str | Annotated[list[str], Meta(max_length=4)]] = UNSET
    max_tokens: Maybe[Count] = UNSET
    max_completion_tokens: Maybe[Count] = UNSET
    presence_penalty: Maybe[Penalty] = UNSET
    frequency_penalty: Maybe[Penalty] = UNSET
    tools: Maybe[list[_Tool]] = UNSET
    functions: Maybe[list[Table]] = UNSET
    function_call: Maybe[Choice] = UNSET
    tool_choice: Maybe[Literal["none", "auto", "required"] | _ChosenTool] = UNSET
    response_format: Maybe[_Format] = UNSET
    seed: Maybe[int] = UNSET
    user: Maybe[str] = UNSET
    stream_options: Maybe[Table] = UNSET
    parallel_tool_calls: Maybe[bool] = UNSET
    reasoning_effort: Maybe[str] = UNSET
    logprobs: Maybe[bool] = UNSET
    top_logprobs: Maybe[Annotated[int, Meta(ge=0, le=20)]] = UNSET
    logit_bias: Maybe[dict[str, float]] = UNSET
    modalities: Maybe[list[str]] = UNSET
    audio: Maybe[Table] = UNSET
    translation_options: Maybe[_Translation] = UNSET
    prediction: Maybe[Table] = UNSET
    service_tier: Maybe[str | None] = UNSET


class _ResponsesStream(msgspec.Struct):
    include_obfuscation: Maybe[bool] = UNSET


class Responses(msgspec.Struct):
    """POST /v1/responses."""

    model: str
    input: Maybe[str | list[Any]] = UNSET
    instructions: Maybe[str] = UNSET
    max_output_tokens: Maybe[int] = UNSET
    temperature: Maybe[float] = UNSET
    stream: Maybe[bool] = UNSET
    tools: Maybe[list[Table]] = UNSET
    tool_choice: Maybe[Choice] = UNSET
    stream_options: Maybe[_ResponsesStream] = UNSET
    include: Maybe[list[str]] = UNSET
    service_tier: Maybe[str | None] = UNSET
    truncation: Maybe[str] = UNSET
    background: Maybe[bool] = UNSET
    previous_response_id: Maybe[str] = UNSET
    prompt: Maybe[Table] = UNSET
    store: Maybe[bool] = UNSET
    reasoning: Maybe[Table] = UNSET
    top_p: Maybe[float] = UNSET
    parallel_tool_calls: Maybe[bool] = UNSET
    metadata: Maybe[Table] = UNSET
    text: Maybe[Table] = UNSET


class _AnthropicBlock(msgspec.Struct):
    type: Maybe[str] = UNSET
    text: Maybe[str] = UNSET
    source: Maybe[Table] = UNSET


class _Turn(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[_AnthropicBlock]


class Messages(msgspec.Struct):
    """POST /v1/messages; ``system`` may also be a list of blocks, as the SDK sends it."""

    model: str
    max_tokens: Count
    messages: list[_Turn]
    system: Maybe[str | list[Table]] = UNSET
    temperature: Maybe[Share] = UNSET
    top_p: Maybe[Share] = UNSET
    top_k: Maybe[Count] = UNSET
    stop_sequences: Maybe[list[str]] = UNSET
    stream: Maybe[bool] = UNSET
    tools: Maybe[list[Table]] = UNSET
    tool_choice: Maybe[Choice] = UNSET
    metadata: Maybe[Table] = UNSET
    thinking: Maybe[Table] = UNSET
    stream_options: Maybe[Table] = UNSET
    service_tier: Maybe[str] = UNSET


class _Part(msgspec.Struct, rename="camel"):
    text: Maybe[str] = UNSET
    inline_data: Maybe[Table] = UNSET
    file_data: Maybe[Table] = UNSET
    function_call: Maybe[Table] = UNSET
    function_response: Maybe[Table] = UNSET


class _Content(msgspec.Struct):
    role: Maybe[Literal["user", "model"]] = UNSET
    parts: Maybe[list[_Part]] = UNSET


class _SystemPart(msgspec.Struct):
    text: Maybe[str] = UNSET


class _System(msgspec.Struct):
    parts: Maybe[list[_SystemPart]] = UNSET


class _Budget(msgspec.Struct, rename="camel"):
    thinking_budget: Maybe[int] = UNSET


class _Generation(msgspec.Struct, rename="camel"):
    temperature: Maybe[Annotated[float, Meta(ge=0)]] = UNSET
    top_p: Maybe[Share] = UNSET
    top_k: Maybe[Count] = UNSET
    max_output_tokens: Maybe[Count] = UNSET
    stop_sequences: Maybe[list[str]] = UNSET
    candidate_count: Maybe[Count] = UNSET
    response_modalities: Maybe[list[str]] = UNSET
    response_mime_type: Maybe[str] = UNSET
    response_schema: Maybe[Table] = UNSET
    thinking_config: Maybe[_Budget] = UNSET


class _Safety(msgspec.Struct):
    category: Maybe[str] = UNSET
    threshold: Maybe[str] = UNSET


class Gemini(msgspec.Struct, rename="camel"):
    """POST /v1beta/models/{model}:generateContent; snake-case aliases are not checked inside."""

    contents: list[_Content]
    system_instruction: Maybe[_System] = UNSET
    generation_config: Maybe[_Generation] = UNSET
    safety_settings: Maybe[list[_Safety]] = UNSET
    tools: Maybe[list[Table]] = UNSET
    tool_config: Maybe[Table] = UNSET
    cached_content: Maybe[str] = UNSET
    system_: Maybe[Table] = msgspec.field(default=UNSET, name="system_instruction")
    generation_: Maybe[Table] = msgspec.field(default=UNSET, name="generation_config")
    safety_: Maybe[list[Table]] = msgspec.field(default=UNSET, name="safety_settings")
    tool_config_: Maybe[Table] = msgspec.field(default=UNSET, name="tool_config")
    cached_: Maybe[str] = msgspec.field(default=UNSET, name="cached_content")


class Image(msgspec.Struct):
    """POST /v1/images/generations."""

    model: str
    prompt: Annotated[str, Meta(max_length=4000)]
    operation: Maybe[Literal["text-to-image", "image-to-image", "image-edit"]] = UNSET
    image_url: Maybe[str] = UNSET
    image_urls: Maybe[Files16] = UNSET
    reference_image_urls: Maybe[Files16] = UNSET
    mask_url: Maybe[str] = UNSET
    n: Maybe[Annotated[int, Meta(ge=1, le=10)]] = UNSET
    size: Maybe[str] = UNSET
    quality: Maybe[str] = UNSET
    style: Maybe[Literal["vivid", "natural"]] = UNSET
    expand_prompt: Maybe[bool] = UNSET
    negative_prompt: Maybe[str] = UNSET
    seed: Maybe[int] = UNSET
    response_format: Maybe[Literal["url", "b64_json"]] = UNSET
    async_: Maybe[bool] = msgspec.field(default=UNSET, name="async")
    background: Maybe[Literal["transparent", "opaque", "auto"]] = UNSET
    output_format: Maybe[Literal["png", "jpeg", "webp"]] = UNSET
    output_compression: Maybe[Effort] = UNSET
    compression: Maybe[Effort] = UNSET
    moderation: Maybe[Literal["auto", "low"]] = UNSET
    stream: Maybe[bool] = UNSET
    aspect_ratio: Maybe[str] = UNSET
    resolution: Maybe[str] = UNSET
    user: Maybe[str] = UNSET


Ratio = Literal["adaptive", "16:9", "9:16", "1:1", "4:3", "3:4", "21:9"]
Seconds = Annotated[int, Meta(ge=-1, le=60)]


class _Element(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    element_input_urls: Annotated[list[str], Meta(min_length=2, max_length=4)]
    description: Maybe[Annotated[str, Meta(min_length=1, max_length=500)]] = UNSET


class Video(msgspec.Struct):
    """POST /v1/videos/generations."""

    prompt: Maybe[str] = UNSET
    model: Maybe[str] = UNSET
    operation: Maybe[
        Literal[
            "text-to-video", "image-to-video", "reference-to-video", "start-end-to-video",
            "video-to-video", "video-extension", "audio-to-video", "motion-control",
        ]
    ] = UNSET  # fmt: skip
    image: Maybe[str] = UNSET
    image_url: Maybe[str] = UNSET
    video_url: Maybe[str] = UNSET
    duration: Maybe[Seconds] = UNSET
    aspect_ratio: Maybe[Ratio] = UNSET
    resolution: Maybe[Literal["480p", "720p", "1080p", "4k"]] = UNSET
    output_audio: Maybe[bool] = UNSET
    fps: Maybe[Annotated[int, Meta(ge=1, le=120)]] = UNSET
    negative_prompt: Maybe[str] = UNSET
    seed: Maybe[Annotated[int, Meta(ge=-1, le=2**32 - 1)]] = UNSET
    cfg_scale: Maybe[Annotated[float, Meta(ge=0, le=20)]] = UNSET
    motion_strength: Maybe[Share] = UNSET
    start_image: Maybe[str] = UNSET
    end_image: Maybe[str] = UNSET
    user: Maybe[str] = UNSET
    image_urls: Maybe[Files] = UNSET
    kling_elements: Maybe[Annotated[list[_Element], Meta(min_length=1, max_length=3)]] = UNSET
    reference_images: Maybe[Files] = UNSET
    material_asset_id: Maybe[str] = UNSET
    material_asset_ids: Maybe[Files] = UNSET
    reference_image_type: Maybe[Literal["asset", "style"]] = UNSET
    audio_url: Maybe[str] = UNSET
    task_id: Maybe[str] = UNSET
    extend_at: Maybe[Annotated[int, Meta(ge=0)]] = UNSET
    extend_times: Maybe[str] = UNSET
    seconds: Maybe[Seconds] = UNSET
    size: Maybe[str] = UNSET
    watermark: Maybe[bool] = UNSET
    effect_type: Maybe[str] = UNSET
    video_urls: Maybe[Files3] = UNSET
    audio_urls: Maybe[Files3] = UNSET
    ratio: Maybe[Ratio] = UNSET
    outputAudio: Maybe[bool] = UNSET
    generate_audio: Maybe[bool] = UNSET
    execution_expires_after: Maybe[Annotated[int, Meta(ge=3600, le=259_200)]] = UNSET
    priority: Maybe[Annotated[int, Meta(ge=0, le=9)]] = UNSET
    safety_identifier: Maybe[Annotated[str, Meta(max_length=128)]] = UNSET
    service_tier: Maybe[Literal["default", "flex"]] = UNSET
    frames: Maybe[Count] = UNSET
    camera_fixed: Maybe[bool] = UNSET
    return_last_frame: Maybe[bool] = UNSET
    draft: Maybe[bool] = UNSET
    draft_task_id: Maybe[str] = UNSET


class Music(msgspec.Struct):
    """POST /v1/music/generations."""

    model: Maybe[str] = UNSET
    prompt: Maybe[str] = UNSET
    title: Maybe[str] = UNSET
    tags: Maybe[str] = UNSET
    negative_tags: Maybe[str] = UNSET
    action: Maybe[Literal["MUSIC", "LYRICS"]] = UNSET
    mv: Maybe[
        Literal[
            "chirp-v3-5", "chirp-v4", "chirp-v4-5", "chirp-v4.5", "chirp-v4-5plus",
            "chirp-v4.5plus", "chirp-v4-5all", "chirp-v4.5all", "chirp-v5", "chirp-v5-5",
            "chirp-v5.5",
        ]
    ] = UNSET  # fmt: skip
    make_instrumental: Maybe[bool] = UNSET
    audio_url: Maybe[str] = UNSET
    audio_operation: Maybe[Literal["upload-cover", "upload-extend", "add-instrumental"]] = UNSET
    continue_clip_id: Maybe[str] = UNSET
    continue_at: Maybe[float] = UNSET


class Solid(msgspec.Struct):
    """POST /v1/3d/generations."""

    prompt: str
    model: Maybe[str] = UNSET
    image: Maybe[str] = UNSET
    image_url: Maybe[str] = UNSET
    format: Maybe[Literal["glb", "fbx", "obj", "usdz"]] = UNSET
    quality: Maybe[Literal["draft", "standard", "high"]] = UNSET
    style: Maybe[str] = UNSET
    seed: Maybe[int] = UNSET
    user: Maybe[str] = UNSET


SHAPES: dict[str, type[msgspec.Struct]] = {
    "openai_chat_completions": Chat,
    "openai_responses": Responses,
    "anthropic_messages": Messages,
    "gemini_generate_content": Gemini,
    "image": Image,
    "video": Video,
    "music": Music,
    "3d": Solid,
}
_FIELD = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


def check_shape(kind: str, body: object) -> None:
    """Validate ``body`` by its schema; raises ApiFault 400 with the path of the invalid field."""
    try:
        msgspec.convert(body, SHAPES[kind])
    except msgspec.ValidationError as error:
        said = str(error)
        found, missing = _FIELD.search(said), _MISSING.search(said)
        words = said[: found.start()] if found else said
        at = ".".join(
            part for part in (found and found[1], missing and missing[1]) if part
        )  # fmt: skip
        raise ApiFault(
            400, f"{at}: {words}." if at else f"{words}.", param=at,
            validation_errors=[{"field": at, "message": words}],
        ) from None  # fmt: skip
