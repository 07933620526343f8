"""Ask a Prometheus, or what speaks its HTTP API: Mimir, Thanos, VictoriaMetrics."""

import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from rollout_console.common.connection_errors import failure_words
from rollout_console.health.prometheus.answers import Matrix, decoded, reason_of
from rollout_console.health.prometheus.errors import PrometheusError
from rollout_console.health.prometheus.login import Login
from rollout_console.tokenlab.tls import tls_context
from rollout_console.tokenlab.transport import is_loopback, place_of, printable
from rollout_gate.content_encoding import decompressed
from rollout_gate.secret import redacted

MOST_BYTES = 64 * 1024 * 1024
"""The most bytes of an answer, on the wire or decompressed; a larger one is refused."""
_MOST_GET = 3000
"""Length of a query string up to which it is a GET, which a proxy that only reads lets through."""

_LEAST_ECHO = 12
"""Length of a credential from which on it is taken out of labels too: no name is the same."""


class PrometheusClient:
    """Asks one address; redirects are not followed, as they could carry the token elsewhere.

    Raises PrometheusError for all that goes wrong, here and in ``range``.
    """

    def __init__(
        self,
        url: str,
        login: Login,
        tls: ssl.SSLContext | None = None,
        *,
        answer_s: float,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        local = is_loopback(url)
        if login.authorization is not None and urlsplit(url).scheme != "https" and not local:
            raise PrometheusError(
                f"{place_of(url)} is not https: the credential was not sent to it"
            )
        self.place = place_of(url)
        self._secrets = login.secrets()
        self._answer_s, self._most_bytes = answer_s, most_bytes
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        if login.authorization is not None:
            headers["Authorization"] = login.authorization.reveal()
        self._http = httpx.Client(
            base_url=url,
            timeout=answer_s,
            follow_redirects=False,
            trust_env=not local,
            verify=tls or tls_context(url, trust_env=not local),
            headers=headers,
        )
        self.skew_s = 0.0
        """By how much its clock is ahead of this host's, by its last answer, to the second."""

    def range(self, query: str, start: float, end: float, step_s: int) -> Matrix:
        """Return the values of a query from ``start`` to ``end`` (epoch seconds), both included."""
        asked = {
            "query": query,
            "start": f"{start:.0f}",
            "end": f"{end:.0f}",
            "step": str(step_s),
            "timeout": f"{self._answer_s:.0f}s",
        }
        response, data = self._ask("api/v1/query_range", asked)
        if response.status_code != httpx.codes.OK:
            raise PrometheusError(self._refusal(response, data))
        return decoded(data, self.place, self._hidden)

    def close(self) -> None:
        """Close the connections; a request in another thread ends."""
        self._http.close()

    def _ask(self, path: str, asked: dict[str, str]) -> tuple[httpx.Response, bytes]:
        end = time.monotonic() + self._answer_s
        text = urlencode(asked)
        given: dict[str, Any] = {"params": asked} if len(text) <= _MOST_GET else {"data": asked}
        try:
            with self._http.stream("GET" if "params" in given else "POST", path, **given) as found:
                data = bytearray()
                for piece in found.iter_raw():
                    data += piece
                    if len(data) > self._most_bytes:
                        raise PrometheusError(self._too_long())
                    if time.monotonic() > end:
                        raise httpx.ReadTimeout("the whole answer")
        except httpx.TimeoutException:
            raise PrometheusError(
                f"{self.place} did not answer within {self._answer_s:.0f} s", is_late=True
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            # RuntimeError: closed by another thread.
            raise PrometheusError(
                f"{self.place} cannot be reached: {failure_words(error)}"
            ) from None
        self._note_time(found.headers.get("Date", ""))
        plain = bytes(data)
        if encoding := found.headers.get("Content-Encoding", ""):
            plain = decompressed(plain, encoding, self._most_bytes + 1) or b""
            if len(plain) > self._most_bytes:
                raise PrometheusError(self._too_long())
        for secret in self._secrets:
            if len(secret) >= _LEAST_ECHO:
                plain = plain.replace(secret.encode(), "…".encode())
        return found, plain

    def _hidden(self, text: str) -> str:
        """Replace the credential in what the server says: one that echoes it must not show it."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return printable(redacted(" ".join(text.split())))

    def _note_time(self, date: str) -> None:
        try:
            self.skew_s = parsedate_to_datetime(date).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            self.skew_s = 0.0

    def _too_long(self) -> str:
        return (
            f"the answer of {self.place} is over {self._most_bytes // 2**20} MiB, or does not end:"
            " let the queries sum over fewer labels"
        )

    def _refusal(self, response: httpx.Response, data: bytes) -> str:
        status = response.status_code
        if 300 <= status < 400:
            return (
                f"{self.place} redirects, which is not followed, as it could carry the credential"
                " elsewhere: write the address that answers"
            )
        why = self._hidden(reason_of(data))[:300]
        if status in (401, 403):
            return f"{self.place} refuses the credential, or wants one: it answers {status}"
        return f"{self.place} answers {status}" + (f": {why}" if why else "")
