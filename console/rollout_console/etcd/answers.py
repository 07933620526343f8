"""What members of etcd answer: values, refusals, and what is no answer of etcd at all."""

import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec

from rollout_console.common.connection_errors import failure_words
from rollout_console.etcd.errors import EtcdAway, EtcdError, EtcdRefused, EtcdUncertain
from rollout_gate.untrusted import ANYTHING, UndecodableError, decode_json

WHOLE_S = 10.0
"""How long one member has for its whole answer, in seconds: it may come byte by byte."""
MOST_BYTES = 64 * 2**20
_MOST_LINE = 16 * 2**20
OTHER_FORM = "its answer is of another form"
_NOT_MADE = ("no leader", "not capable", "too many requests", "connection refused",
             "auth store is not", "unhealthy", "corrupt")  # fmt: skip
"""What a member says that cannot serve, before it proposes a write: nothing was changed."""
_PERHAPS_MADE = ("request timed out", "leader changed", "stopped", "transport is closing")
"""What it says that may have proposed one: a proposal can be agreed on after that."""
_ADVICE = (
    ("user name is empty", "; set ETCDCTL_USER and ETCDCTL_PASSWORD"),
    ("authentication failed", "; see ETCDCTL_USER and ETCDCTL_PASSWORD"),
    ("authentication is not enabled", ": unset ETCDCTL_USER"),
    ("permission denied", "; the user of ETCDCTL_USER needs the key and what is below it"),
)
_TOO_LARGE = ("request is too large", "message larger than max")


class NoEtcd(EtcdAway):
    """What answers at a member's address is no etcd: another member may be one."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(f"what answers at {host} is no etcd: {why}")


class Value(msgspec.Struct, frozen=True):
    """A key's value: ``mod_revision`` is the cluster's revision of its last change."""

    key: str
    data: bytes
    mod_revision: int
    lease: int = 0


class Answer(msgspec.Struct, frozen=True):
    """The values that were asked for, and the cluster and its revision that they are of."""

    values: tuple[Value, ...]
    revision: int
    cluster: int


class Range(msgspec.Struct, frozen=True):
    """What to read: a key, or all keys below ``key/``; of these, those changed after a revision,
    in the order of their changes, and no more than ``limit`` unless that is 0."""

    key: str
    prefix: bool = False
    after: int = 0
    limit: int = 0

    @property
    def request(self) -> dict[str, Any]:
        """The request of etcd's API."""
        body: dict[str, Any] = {"key": encoded(f"{self.key}/" if self.prefix else self.key)}
        if self.prefix:
            body["range_end"] = encoded(f"{self.key}0")  # "0" follows "/"
        if self.limit:
            body["limit"] = str(self.limit)
        if self.after:
            body["min_mod_revision"] = str(self.after + 1)
        if self.after or self.limit:
            body |= {"sort_order": "ASCEND", "sort_target": "MOD"}
        return body


def lines_of(response: httpx.Response) -> Iterator[bytes]:
    """Yield the JSON objects of a stream, one to a line; raises EtcdRefused for an endless one."""
    rest = b""
    for piece in response.iter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _MOST_LINE:
            raise EtcdRefused("an event of etcd is too long")
        yield from (line for line in lines if line.strip())


def body_of(response: httpx.Response) -> bytes:
    """Read an answer, within WHOLE_S and MOST_BYTES: raises httpx.ReadTimeout, NoEtcd."""
    until, pieces, length = time.monotonic() + WHOLE_S, [], 0
    for piece in response.iter_bytes():
        pieces.append(piece)
        length += len(piece)
        if length > MOST_BYTES:
            raise NoEtcd(host_of(response), f"its answer is over {MOST_BYTES >> 20} MiB")
        if time.monotonic() > until:
            raise httpx.ReadTimeout(f"not whole after {WHOLE_S:.0f} s")
    return b"".join(pieces)


def answers_of(said: dict[str, Any]) -> tuple[Answer, ...]:
    header = said["header"]
    return tuple(
        answer_of({**one["response_range"], "header": header}) for one in said["responses"]
    )


def answer_of(said: dict[str, Any]) -> Answer:
    """Return the values of an answer; a key that is no UTF-8 is none of ours, and left out."""
    values = []
    for one in said.get("kvs", ()):
        name = b64decode(one["key"])
        data, numbers = b64decode(one.get("value", "")), (one["mod_revision"], one.get("lease", 0))
        with suppress(UnicodeDecodeError):
            values.append(Value(name.decode(), data, *map(int, numbers)))
    header = said["header"]
    return Answer(tuple(values), int(header["revision"]), int(header["cluster_id"]))


def nothing_of(said: dict[str, Any]) -> None:
    """Read nothing but the header, which each answer of etcd has."""
    int(said["header"]["revision"])


def refusal(response: httpx.Response, content: bytes) -> EtcdError:
    """Return the error that an answer is: EtcdAway where another member may do, or later, and
    EtcdUncertain where a write may have been made."""
    host, said = host_of(response), object_of(content) or {}
    text = said.get("message") or said.get("error")
    if not isinstance(text, str):
        text = f"status {response.status_code}"
        if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
            return NoEtcd(host, f"it answers with {text}")
    shown = " ".join(text.split())[:200]
    if any(word in shown for word in _TOO_LARGE):
        return EtcdRefused(
            f"etcd refuses it, as the change is larger than it allows ({shown}): it takes 1.5 MiB"
            " unless its --max-request-bytes says more"
        )
    if any(word in shown for word in _NOT_MADE):
        return EtcdAway(f"{host}: {shown}")
    if any(word in shown for word in _PERHAPS_MADE) or response.status_code in (502, 503, 504):
        return EtcdUncertain(f"{host}: {shown}")
    advice = next((what for words, what in _ADVICE if words in shown), "")
    return EtcdRefused(f"etcd refuses it: {shown}{advice}")


def why_no_answer(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Return why there was no answer to a request that may have been received."""
    if trouble := tls_trouble(error):
        return trouble
    if isinstance(error, httpx.RemoteProtocolError):
        return "did not answer in HTTP (where it has TLS, the address begins with etcds://)"
    return f"did not answer: {failure_words(error)}"


def tls_trouble(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Return what TLS has against a connection; empty for an error that is not of TLS."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message
            return f"has a certificate that is not trusted ({why}); ETCDCTL_CACERT names its CA"
        if isinstance(cause, ssl.SSLError):
            why = (cause.reason or "the handshake failed").replace("_", " ").lower()
            if "certificate" in why:
                why += "; ETCDCTL_CERT and ETCDCTL_KEY name the client's"
            return f"cannot be spoken to by TLS: {why}"
        cause = cause.__cause__ or cause.__context__
    return ""


def object_of(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object of some bytes; None for what is none."""
    try:
        said = decode_json(data, ANYTHING)
    except UndecodableError:
        return None
    return said if isinstance(said, dict) else None


def encoded(key: str) -> str:
    """Return a key as that API takes it."""
    return text_of(key.encode())


def text_of(data: bytes) -> str:
    """Return bytes as that API takes them."""
    return b64encode(data).decode()


def seconds_ahead(response: httpx.Response, asked: float, now: float) -> float | None:
    """Return how far the clock of who answers is certainly ahead; None where it does not say.

    It answered between ``asked`` and ``now``, which may be long: a slow member, a process that was
    suspended. A Date header is of whole seconds, rounded down.
    """
    try:
        at = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return at - now if at > now else min(at + 1 - min(asked, now), 0.0)


def host_of(response: httpx.Response) -> str:
    """Return the member that an answer is of, for a sentence."""
    return response.request.url.netloc.decode("ascii", "replace")
