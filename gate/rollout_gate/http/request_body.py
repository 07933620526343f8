"""The JSON body of an LLM request: rewrite its model for a side, and strip the fields that hold a
credential before it is sent to TokenLab."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec

from rollout_gate.http.credentials import LEAST_SECRET
from rollout_gate.untrusted import UndecodableError, decode_json, decode_json_of_others

_fields_of: msgspec.json.Decoder[Any] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_of = msgspec.json.Decoder(str)
_value_of: msgspec.json.Decoder[Any] = msgspec.json.Decoder()

_OF_THE_CALL = frozenset((
    "model", "messages", "input", "instructions", "prompt", "system", "contents", "content",
    "systemInstruction", "system_instruction", "tools", "tool_choice", "toolConfig", "tool_config",
    "functions", "function_call", "response_format", "text", "prediction", "thinking", "reasoning",
    "generationConfig", "generation_config", "safetySettings", "safety_settings", "metadata",
    "stop", "stop_sequences", "user", "safety_identifier", "prompt_cache_key", "stream",
    "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature",
    "top_p", "top_k", "n", "seed", "logit_bias", "store", "include", "previous_response_id",
    "labels", "cachedContent", "cached_content", "cache_control", "context_management",
))  # fmt: skip
"""Fields that the APIs define, most of which hold users' text: none is taken for a credential."""

_USERS_TEXT = frozenset((
    "messages", "input", "instructions", "prompt", "system", "contents", "content",
    "systemInstruction", "system_instruction", "text", "prediction",
))  # fmt: skip
"""Fields that hold the conversation, without which a request is none."""

_CREDENTIALS = frozenset((
    "apikey", "apikeys", "secret", "secrets", "password", "passwd", "credential", "credentials",
    "authorization", "bearer", "cookie", "cookies", "accesskey", "privatekey", "accesstoken",
    "authtoken", "apitoken", "sessiontoken", "hftoken", "adtoken", "identitytoken", "refreshtoken",
    "securitytoken", "idtoken", "jwt", "passphrase", "passcode", "pwd", "connectionstring", "dsn",
))  # fmt: skip
"""Words that make a field's name that of a credential, at any depth."""
_OF_A_GATEWAY = frozenset(("headers", "auth", "username", "apibase", "baseurl"))
"""Words that make a top-level name that of a gateway's credential or of its base URL."""
_AT_THE_END = frozenset(("key", "keys"))
_TOKEN = "token"  # noqa: S105
"""The last word of a credential's name; ``tokens`` is a count."""
_NO_SECRET = frozenset((
    "pagetoken", "continuationtoken", "bostoken", "eostoken", "padtoken", "stoptoken",
))  # fmt: skip
"""Tokens of a list's next page, and of a tokenizer."""
_GATEWAYS = (
    "aws_",
    "azure_",
    "vertex_",
    "litellm_",
    "helicone",
    "portkey",
    "cf_aig",
    "openrouter_",
)
_WHOLE = frozenset(("api_base", "base_url", "user_config", "extra_body", "organization"))
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_DEPTH = 32
"""How deep a field is searched; one that is nested deeper is taken for a credential."""


class RequestBody:
    """The fields of one body, each decoded lazily (msgspec.Raw)."""

    def __init__(self, fields: Mapping[str, Any], *, strict: bool, repeats: bool = False) -> None:
        self._fields = fields
        self._strict = strict
        self.repeats = repeats
        """Whether a name is there more than once. The last value is the one that is known here,
        and which most servers take, so the others are not to be sent: nobody has searched them."""

    @classmethod
    def read(cls, data: bytes) -> "RequestBody | None":
        """Parse a body; None for bytes that are not a JSON object."""
        if not data:
            return cls({}, strict=True)
        try:
            fields: Mapping[str, Any] = decode_json(data, _fields_of)
            return cls(fields, strict=True, repeats=_may_repeat(data, fields))
        except UndecodableError:
            pass
        try:
            found = decode_json_of_others(data)
        except UndecodableError:
            return None
        if not isinstance(found, dict):
            return None
        return cls(found, strict=False, repeats=_repeats(data))

    def text(self, name: str) -> str:
        """Return a string field; empty where it is not a string."""
        value = self._value(name, _text_of)
        return value if isinstance(value, str) else ""

    def is_true(self, name: str) -> bool:
        """Return whether a field is the JSON value true."""
        value = self._fields.get(name)
        return value is True or (isinstance(value, msgspec.Raw) and bytes(value) == b"true")

    def is_false(self, name: str) -> bool:
        """Return whether a field is the JSON value false."""
        value = self._fields.get(name)
        return value is False or (isinstance(value, msgspec.Raw) and bytes(value) == b"false")

    @property
    def is_of_the_call(self) -> bool:
        """Whether every field is one that the APIs define, so that none is a credential."""
        return self._fields.keys() <= _OF_THE_CALL

    def credentials(self, known: Collection[str]) -> list[str]:
        """Return the names of the fields that are a credential, or hold one.

        ``known`` are the credentials in the request's headers and query.
        """
        others = [name for name in self._fields if name not in _OF_THE_CALL]
        return [name for name in others if self._is_credential(name, known)]

    def with_secret(self, known: Collection[str]) -> list[str]:
        """Return the names of the fields that hold one of these credentials, at any depth.

        Of the fields of users' text it is those that are the credential and nothing else: a
        conversation may speak of a key, and without its messages a request is none.
        """
        secrets = [secret for secret in known if len(secret) >= LEAST_SECRET]
        return [name for name in self._fields if secrets and self._holds(name, secrets)]

    def _holds(self, name: str, secrets: Collection[str]) -> bool:
        value = self._fields[name]
        if any(secret in name for secret in secrets):
            return True
        if name in _USERS_TEXT:
            return _begins_with(value, b'"') and self.text(name).strip() in secrets
        decode = self._whole
        if isinstance(value, msgspec.Raw):
            data = bytes(value)
            # A search of the bytes spares the decoding, but where a letter may be escaped.
            if any(secret.encode() in data for secret in secrets):
                return True
            if b"\\" not in data:
                return False
            if b"\\u" not in data and b"\\/" not in data:
                decode = partial(self._value, decoder=_value_of)  # no letter is: it is faster
        try:
            texts = _texts(decode(name), _DEPTH)
            return any(secret in text for text, _ in texts for secret in secrets)
        except _TooDeepError:
            return True

    def changed(self, model: str | None, without: Collection[str]) -> bytes | None:
        """Serialize the body with another model and without some fields; None if it was empty."""
        kept: dict[str, Any] = {
            name: value for name, value in self._fields.items() if name not in without
        }
        if model is not None and self._fields:
            kept["model"] = model
        if self._strict:
            return msgspec.json.encode(kept) if self._fields else None
        return json.dumps(kept, separators=(",", ":")).encode()

    def with_requests(self, model: str, known: Collection[str]) -> tuple[bytes | None, list[str]]:
        """Serialize a batch of generations with another model, and without credentials.

        Each one's ``params`` are a body of their own, and what is beside them are fields as well.
        ``model`` is empty where each keeps its own. Returns None for a body that stays as it is,
        and the names of the fields left out.
        """
        requests = self._value("requests", _value_of)
        if not isinstance(requests, list):
            left = self.credentials(known)
            return self.changed(None, left) if left or self.repeats else None, left
        left = self._credentials_beside("requests", known)
        dropped = list(left)
        found = [self._request(one, model, known, left) for one in requests]
        differs = bool(left) or self.repeats or found != requests
        raw = self._fields["requests"]
        if not differs and isinstance(raw, msgspec.Raw) and not _repeats(bytes(raw)):
            return None, left
        fields = {**self._fields, "requests": found}
        return RequestBody(fields, strict=self._strict).changed(None, dropped), left

    def _credentials_beside(self, name: str, known: Collection[str]) -> list[str]:
        others = {one: value for one, value in self._fields.items() if one != name}
        return RequestBody(others, strict=self._strict).credentials(known)

    @staticmethod
    def _request(one: Any, model: str, known: Collection[str], left: list[str]) -> Any:
        """Return a request of a batch without credentials, whose names are added to ``left``."""
        if not isinstance(one, dict):
            body = RequestBody({"a request": one}, strict=False)
            dropped = body.credentials(known)
            left += [name for name in dropped if name not in left]
            return None if dropped else one
        params = one.get("params")
        body = RequestBody(one, strict=False)
        if isinstance(params, dict):
            dropped = body._credentials_beside("params", known)
        else:
            dropped = body.credentials(known)
        kept = {name: value for name, value in one.items() if name not in dropped}
        if isinstance(params, dict):
            inner = RequestBody(params, strict=False).credentials(known)
            kept["params"] = {name: value for name, value in params.items() if name not in inner}
            if model:
                kept["params"]["model"] = model
            dropped = dropped + inner
        left += [name for name in dropped if name not in left]
        return kept

    def _value(self, name: str, decoder: msgspec.json.Decoder[Any]) -> Any:
        value = self._fields.get(name)
        if not isinstance(value, msgspec.Raw):
            return value
        try:
            return decode_json(value, decoder)
        except UndecodableError:
            return None

    def _whole(self, name: str) -> Any:
        """Return the value of a field with all that it holds, also below a name that is repeated.

        Raises _TooDeepError.
        """
        value = self._fields.get(name)
        return _decoded(bytes(value)) if isinstance(value, msgspec.Raw) else value

    def _is_credential(self, name: str, known: Collection[str]) -> bool:
        if names_credential(name, inside=False):
            return True
        value = self._fields[name]
        secrets = [secret for secret in known if len(secret) >= LEAST_SECRET]
        if any(secret in name for secret in secrets):
            return True
        if not _begins_with(value, b'{["'):
            return False
        if isinstance(value, msgspec.Raw) and secrets:
            data = bytes(value)
            if any(secret.encode() in data for secret in secrets):
                return True
        try:
            value = self._whole(name)
            return any(
                names_credential(text, inside=True)
                if is_name
                else any(secret in text for secret in secrets)
                for text, is_name in _texts(value, _DEPTH)
            )
        except _TooDeepError:
            return True


def _begins_with(value: Any, signs: bytes) -> bool:
    """Whether a value that is not decoded begins with one of these signs; one that is may."""
    return not isinstance(value, msgspec.Raw) or bytes(memoryview(value)[:1]) in signs


def names_credential(name: str, *, inside: bool) -> bool:
    """Return whether a name is that of a credential: more seldom ``inside`` a nested object."""
    words = [word.lower() for word in _WORD.findall(name)]
    said = {*words, *("".join(pair) for pair in pairwise(words))}
    if _CREDENTIALS & said or (words[-1:] == [_TOKEN] and not _NO_SECRET & said):
        return True
    if inside:
        return False
    lowered = name.lower().replace("-", "_")
    if lowered in _WHOLE or lowered.startswith(_GATEWAYS):
        return True
    return bool(_OF_A_GATEWAY & said) or (bool(words) and words[-1] in _AT_THE_END)


class _TooDeepError(Exception):
    """A value is nested deeper than it is searched."""


def _may_repeat(data: bytes, fields: Mapping[str, Any]) -> bool:
    """Return whether a name is there twice in an object with these last values of its members.

    Its length tells, as compact JSON has no room for another member, and its bytes where it is
    written with blanks after commas and colons; only other JSON is decoded once more.
    """
    count = len(fields)
    if not count:
        return False
    names = "".join(fields)
    size = len(names) if names.isascii() else len(names.encode())
    spare = len(data) - size - sum(map(len, fields.values()))
    if spare == 4 * count + 1:
        return False
    if spare == 6 * count:
        members = [b'"%b": %b' % (name.encode(), bytes(one)) for name, one in fields.items()]
        if data == b"{" + b", ".join(members) + b"}":
            return False
    return _repeats(data)


def _repeats(data: bytes) -> bool:
    """Return whether an object in JSON has a name twice, at any depth."""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in pairs}) < len(pairs)

    try:
        json.loads(data, object_pairs_hook=look, strict=False)
    except (ValueError, RecursionError):
        return True
    return found


def _decoded(data: bytes) -> Any:
    """Decode JSON with every value of a name that is repeated, in a list.

    Raises _TooDeepError.
    """
    try:
        return json.loads(data, object_pairs_hook=_merged, strict=False)
    except RecursionError:
        raise _TooDeepError from None
    except ValueError:
        return None


def _merged(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    several: dict[str, Any] = {}
    for name, value in pairs:
        several.setdefault(name, []).append(value)
    return several


def _texts(value: Any, depth: int) -> Iterator[tuple[str, bool]]:
    """Yield the strings in a value, recursively, each with whether it is an object's key.

    A string that is a JSON object or array itself is searched as well. Raises _TooDeepError.
    """
    if isinstance(value, str):
        yield value, False
        if value.lstrip()[:1] not in ("{", "["):
            return
        value = _decoded(value.encode("utf-8", "surrogatepass"))
    if not isinstance(value, Mapping | list):
        return
    if not depth:
        raise _TooDeepError
    for one in value if isinstance(value, list) else value.values():
        yield from _texts(one, depth - 1)
    if isinstance(value, Mapping):
        yield from ((str(name), True) for name in value)
