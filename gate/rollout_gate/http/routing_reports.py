"""Report, once for each kind, what routing changes of requests; no credential is shown."""

import re
from collections.abc import Callable, Collection
from typing import Literal

import msgspec

from rollout_gate.gate import Gate
from rollout_gate.http.credentials import LEAST_SECRET, Headers
from rollout_gate.secret import redacted

_LONG_WORD = re.compile(r"[A-Za-z0-9+/=]{20,}")
"""What a key whose form is not known is like, if it has digits: long, and without a break."""


class Remedies(msgspec.Struct, frozen=True):
    """What to do about what the gate reports, as the end of a sentence: in code, or on a server."""

    forward: str = "client(..., forward_headers=[...]) sends it"
    org: str = (
        "give it with subject(org=...), client(..., org=...) or the header X-Rollout-Org, and"
        ' org="" where there is none'
    )
    previous_key: str = "give the SDK the previous provider's key, or client(..., previous_key=...)"


class RoutingReports:
    """What is reported of the requests of one client.

    ``known`` returns the credentials that are known of a request with these headers and this URL.
    """

    def __init__(
        self, gate: Gate, remedies: Remedies, known: Callable[[Headers, str], Collection[str]]
    ) -> None:
        self._gate = gate
        self.remedies = remedies
        self._known = known

    def own_key(self, route: str, left: list[str], headers: Headers, url: str) -> None:
        """Report where TokenLab's key was taken out of a request for another host."""
        if left:
            shown = ", ".join(self._shown(name, headers, url) for name in left)
            self._gate.report(
                ("own key", route),
                f"requests on route {route} come with TokenLab's key, which the previous provider"
                f" is not sent ({shown}): {self.remedies.previous_key}",
            )

    def _shown(self, name: str, headers: Headers, url: str) -> str:
        """Return the name of a header, parameter or field as it may be shown.

        A key may stand where a name does (``?sk-...``): one that is known, that has the form of
        one, or that looks as random as one is not shown.
        """
        known = self._known(headers, url)
        lowered = name.lower()
        if any(len(key) >= LEAST_SECRET and key.lower() in lowered for key in known):
            return "…"
        text = _LONG_WORD.sub(_cut_if_random, redacted(name))
        return text if len(text) <= 60 and text.isprintable() else f"{text[:60]!r}…"

    def nowhere(self, route: str) -> None:
        """Report that the previous provider has no address, so that TokenLab is asked."""
        self._gate.report(
            ("nowhere", route),
            f"requests on route {route} for the previous provider go to TokenLab, which is where"
            " the SDK sends them: give the route a previous_base_url, or the SDK the previous"
            " provider's base URL",
        )

    def host_is_unknown(self, route: str) -> None:
        """Report an operation for a host that nothing says to be the previous provider's."""
        self._gate.report(
            ("host", route),
            f"requests on route {route} are sent without previous_key, as nothing says that their"
            " host is the previous provider's: give the route a previous_base_url",
        )

    def unreadable(self, route: str) -> None:
        """Report a body that cannot be read, and so goes to the previous provider."""
        self._gate.report(
            ("unreadable", route),
            f"requests on route {route} whose body is no JSON object, is compressed, or is given"
            " in pieces, go to the previous provider: nobody can tell what is in them",
        )

    def route_is_unknown(self, route: str) -> None:
        """Report a route that the rollout file does not have."""
        if self._gate.file is not None:
            name = f"route {redacted(route)!r}" if route else "no route"
            self._gate.report(
                ("route", route),
                f"requests come with {name}, which the rollout file does not have: they go where"
                " the SDK sends them, whatever the file's shares are; give client(gate, ROUTE)",
            )

    def headers_left(self, route: str, left: list[str], headers: Headers, url: str) -> None:
        """Report headers that TokenLab is not sent, without those that name the subject."""
        file = self._gate.file
        known = msgspec.structs.astuple(file.subject_headers) if left and file else ()
        left = [name for name in left if name not in known]
        self.left(route, "header", left, self.remedies.forward, headers, url)

    def left(
        self,
        route: str,
        what: Literal["header", "query parameter", "field"],
        names: list[str],
        why: str,
        headers: Headers,
        url: str,
    ) -> None:
        """Report what TokenLab is not sent of a request that came with these headers and URL."""
        for name in names:
            shown = self._shown(name, headers, url)
            self._gate.report(
                (what, route, shown),
                f"requests on route {route} have the {what} {shown}, which TokenLab is not sent:"
                f" {why}",
            )


def _cut_if_random(found: re.Match[str]) -> str:
    digits = sum(sign.isdigit() for sign in found[0])
    return f"{found[0][:4]}…" if digits >= 4 else found[0]
