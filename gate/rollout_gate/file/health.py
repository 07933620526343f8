"""Parse where a rollout file's figures come from; no decision depends on it."""

from urllib.parse import urlsplit

from rollout_gate.file.health_queries import QUERIES, STEPS_S
from rollout_gate.file.model import PrometheusSource
from rollout_gate.file.validation import Fields

_STEP_S = 15
_NEEDED = ("requests", "newest")
"""Without these there is no verdict; the others may be turned off, by an empty text."""


def prometheus_from(fields: Fields) -> PrometheusSource | None:
    """Return the Prometheus that ``[health]`` names; None without one."""
    url = fields.base_url("prometheus", "")
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        fields.error(("prometheus",), "must end before ? and #: each query adds its own path")
    if "@" in parts.netloc:
        fields.error(
            ("prometheus",), "must not hold a user or a password: the file has no credentials; "
            "give them by prometheus_token_file or $ROLLOUT_PROMETHEUS_TOKEN",
        )  # fmt: skip
    step_s = fields.duration("prometheus_step", _STEP_S, least=STEPS_S[0], most=STEPS_S[-1])
    if step_s not in STEPS_S:
        fields.error(("prometheus_step",), "must divide a minute, such as 5s, 10s, 15s or 30s")
    token_file, ca_file = fields.name("prometheus_token_file"), fields.name("prometheus_ca_file")
    table = fields.table("queries")
    given = {name: table.promql(name, may_be_empty=name not in _NEEDED) for name in QUERIES}
    table.warn_unknown()
    queries = {name: text for name, text in given.items() if text is not None}
    if queries.get("requests") and "newest" not in queries:
        table.error(
            (), "needs newest beside requests, to tell old figures: such as max(timestamp(NAME))"
        )
    if queries.get("duration") and queries.get("duration_ms"):
        table.error(("duration_ms",), "is beside duration: a latency is in seconds or in ms")
    if not url:
        for name, one in (
            ("prometheus_step", step_s != _STEP_S), ("prometheus_token_file", token_file),
            ("prometheus_ca_file", ca_file), ("queries", queries),
        ):  # fmt: skip
            if one:
                fields.warn((name,), "has no effect without prometheus, the address of one")
        return None
    return PrometheusSource(url.rstrip("/"), step_s, token_file, ca_file, queries)
