"""Which fields of other tools' logs say the path, the model, the org and the count of a request.

The names are those of LiteLLM's spend logs and logging payload, Helicone's exports, OpenAI's usage
export, OpenTelemetry's ``gen_ai`` conventions, and servers' JSON logs; see docs/first-file.md.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

Role = Literal["path", "method", "model", "org", "count", "base", "provider"]
Place = tuple[str, ...]
"""The keys of a field, as they are written in the record: one, or two of a nested object."""

NAMES: Mapping[Role, Sequence[str]] = {
    "path": (
        "request_path", "path", "uri", "request_uri", "url", "request_url", "url_path", "url_full",
        "target_url", "http_target", "http_route", "endpoint", "request", "call_type",
        "gen_ai_operation_name", "object",
    ),
    "method": ("method", "request_method", "http_method", "http_request_method"),
    "model": ("model", "request_model", "gen_ai_request_model", "model_name", "model_group"),
    "org": (
        "org", "org_id", "tenant", "tenant_id", "customer", "customer_id", "account", "account_id",
        "workspace", "workspace_id", "team_alias", "user_api_key_team_alias", "team", "team_id",
        "user_api_key_team_id", "organization", "organization_id", "user_api_key_org_id",
        "project", "project_id", "end_user", "user", "user_id", "request_user_id", "remote_user",
    ),
    "count": ("num_model_requests", "num_requests", "request_count", "n_requests"),
    "base": ("api_base", "base_url"),
    "provider": ("provider", "custom_llm_provider", "gen_ai_provider_name", "gen_ai_system"),
}  # fmt: skip
"""Normalized names by role, the most telling first."""

_WRAPPERS = (
    "request", "http", "http_request", "body", "request_body", "metadata", "attributes",
    "properties", "request_properties", "requester_metadata",
)  # fmt: skip
"""Nested objects whose fields are looked at as well."""
_SAMPLE_ORGS = 2

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SIGNS = re.compile(r"[\s.\-/]+")


@lru_cache(maxsize=4096)
def normalized(name: str) -> str:
    """Return a field's name in one spelling: ``Team ID``, ``teamId`` and ``team.id``: team_id."""
    return _SIGNS.sub("_", _CAMEL.sub("_", name.strip())).lower()[:64]


def is_known(name: str) -> bool:
    """Return whether a field's name has a role."""
    return any(normalized(name) in names for names in NAMES.values())


def value_at(fields: Mapping[str, Any], place: Place) -> str:
    """Return a field as text, empty where it is missing or no scalar."""
    value: Any = fields
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


class Chosen(msgspec.Struct, frozen=True):
    """The places of each role in one file. ``org`` is one field, the same for all records."""

    places: Mapping[Role, Sequence[Place]]

    def text(self, role: Role, fields: Mapping[str, Any]) -> str:
        """Return the first value of a role that is not empty."""
        return next(self.texts(role, fields), "")

    def texts(self, role: Role, fields: Mapping[str, Any]) -> Iterator[str]:
        """Yield the values of a role that are not empty, the most telling field first."""
        for place in self.places.get(role, ()):
            if text := value_at(fields, place):
                yield text

    def spoken(self, role: Role) -> str:
        """Return the names of a role's fields, as they are written in the file."""
        return ", ".join(".".join(place) for place in self.places.get(role, ()))


def choose(
    sample: Sequence[Mapping[str, Any]], *, org_field: str = "", roles: Iterable[Role] = NAMES
) -> Chosen:
    """Choose the fields of each role by a sample of the file's records.

    Orgs are read from one field alone, so that teams and users are not mixed: the first that has
    at least two values in the sample, else the first that has one. ``org_field`` names it instead.
    """
    seen: dict[Place, None] = {}
    for fields in sample:
        for place in _places(fields):
            seen.setdefault(place)
    found: dict[Role, Sequence[Place]] = {}
    for role in roles:
        names = NAMES[role]
        ranked = sorted(
            (place for place in seen if _known_as(place, names)),
            key=lambda place: names.index(_known_as(place, names)),
        )
        found[role] = ranked
    if "org" in found:
        candidates = found["org"]
        if org_field:
            wanted = normalized(org_field)
            candidates = [place for place in seen if wanted in (_joined(place), _last(place))]
        found["org"] = _one(candidates, sample)
    return Chosen(found)


def _one(candidates: Sequence[Place], sample: Sequence[Mapping[str, Any]]) -> list[Place]:
    some: list[Place] = []
    for place in candidates:
        values = {text for fields in sample if (text := value_at(fields, place))}
        if len(values) >= _SAMPLE_ORGS:
            return [place]
        if values:
            some.append(place)
    return some[:1]


def _places(fields: Mapping[str, Any]) -> Iterator[Place]:
    for key, value in fields.items():
        yield (key,)
        if isinstance(value, Mapping) and normalized(key) in _WRAPPERS:
            yield from ((key, inner) for inner in value)


def _known_as(place: Place, names: Sequence[str]) -> str:
    """Return the name by which a place is known, empty where it is not."""
    whole = _joined(place)
    if whole in names:
        return whole
    last = _last(place)
    return last if len(place) > 1 and last in names else ""


def _joined(place: Place) -> str:
    return "_".join(map(normalized, place))


def _last(place: Place) -> str:
    return normalized(place[-1])
