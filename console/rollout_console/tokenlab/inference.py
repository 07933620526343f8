"""One minimal inference request, the only proof that an API key works.

``/v1/models`` is public: a 200 there says nothing about the key.
"""

import msgspec

from rollout_console.tokenlab.errors import Garbage, Refused
from rollout_console.tokenlab.transport import Client, Transport
from rollout_console.tokenlab.types import Proof
from rollout_gate.secret import Secret
from rollout_gate.untrusted import UndecodableError, decode_json

_CHEAP_ENOUGH = {"max_tokens": 1, "messages": [{"role": "user", "content": "ping"}]}


class _Choices(msgspec.Struct):
    choices: list[msgspec.Raw]


_choices_of = msgspec.json.Decoder(_Choices)


class InferenceClient(Client):
    """Calls inference with an API key, and never with a management token. Raises ApiError."""

    def __init__(self, base_url: str, key: Secret, *, timeout_s: float = 12.0) -> None:
        super().__init__(Transport(base_url, key, "sk-", timeout_s))

    async def prove(self, model: str) -> Proof:
        """Send one request with ``max_tokens`` 1; return what it proves about the key.

        A refusal for balance, rate limit or model proves a valid key that does not work now. Raises
        Refused for an invalid key, and other ApiErrors.
        """
        try:
            data = await self._transport.call(
                "POST", "/v1/chat/completions", body={"model": model, **_CHEAP_ENOUGH}
            )
        except Refused as error:
            said = _STILL_VALID.get((error.status, error.code)) or _STILL_VALID.get(
                (error.status, "")
            )
            if said is None:
                raise
            return Proof(False, said)
        try:
            answered = bool(decode_json(data, _choices_of).choices)
        except UndecodableError:
            answered = False
        if not answered:
            raise Garbage("the key was taken, but the answer is not one of a chat completion")
        return Proof(True, f"it works: {model} answered")


_STILL_VALID = {
    (402, "quota_exceeded"): "the key is valid, but its own limit is used up",
    (402, ""): "the key is valid, but the balance does not cover a request",
    (403, "model_not_allowed"): "the key is valid, but may not use the model asked for",
    (429, ""): "the key is valid, but its rate limit is used up now",
}
