"""The draft of a first rollout file, and the validation of each answer that goes into it."""

import re
import unicodedata
from collections.abc import Iterable

import msgspec

from rollout_gate.access_log import MOST_NAME
from rollout_gate.file.formats import base_url_problem, sdk_base_url, url_problem
from rollout_gate.file.model import DEFAULT_BASE_URL, MEDIA_FORMATS
from rollout_gate.secret import is_credential

USUAL_NAME = {
    "openai_chat_completions": "chat",
    "openai_responses": "responses",
    "anthropic_messages": "claude",
    "gemini_generate_content": "gemini",
}
"""The route name that is proposed for a format; a media format's is the format itself."""
USUAL_PREVIOUS = {
    "openai_chat_completions": "https://api.openai.com/v1",
    "openai_responses": "https://api.openai.com/v1",
    "anthropic_messages": "https://api.anthropic.com",
    "gemini_generate_content": "https://generativelanguage.googleapis.com",
}
"""The address of each text format's own maker, as its SDK is given it."""

_UNSAFE = ("Cc", "Cs", "Zl", "Zp")
_PLAIN_HTTP = re.compile("http://", re.IGNORECASE)


class RouteDraft(msgspec.Struct, frozen=True):
    """One route to be written, every org of it at 0%.

    ``why_no_model`` and ``why_no_previous`` become comments in place of the value that is missing.
    """

    name: str
    format: str
    model: str = ""
    previous_base_url: str = ""
    orgs: tuple[str, ...] = ()
    why_no_model: str = ""
    why_no_previous: str = ""


class Draft(msgspec.Struct, frozen=True):
    """A rollout file to be written."""

    routes: tuple[RouteDraft, ...]
    base_url: str = DEFAULT_BASE_URL
    profile: str = "default"
    access_log: str = "access.jsonl"


def usual_name(route_format: str) -> str:
    """Return the route name that is proposed for a format."""
    return USUAL_NAME.get(route_format, route_format)


def name_problem(text: str) -> str:
    """Return why a text cannot name a route or an org, empty where it can.

    A name that looks like a credential is refused: the file is kept in git.
    """
    if not text:
        return "is empty"
    if len(text) > MOST_NAME:
        return f"has {len(text):,} characters; at most {MOST_NAME} are counted"
    if is_credential(text):
        return "looks like a credential, which never belongs in this file"
    plain = text.isascii() and text.isprintable()
    if not plain and any(unicodedata.category(char) in _UNSAFE for char in text):
        return "has a control character or a line break"
    if text != text.strip():
        return "begins or ends with a space"
    return ""


def org_problem(text: str) -> str:
    """Return why a text cannot be an org's line, empty where it can."""
    if text == "*":
        return "stands for no org; default_percent is for orgs without a line"
    return name_problem(text)


def model_problem(text: str) -> str:
    """Return why a text cannot name a model, empty where it can; an empty one names none yet."""
    return name_problem(text) if text else ""


def tokenlab_url_problem(url: str) -> str:
    """Return what is wrong with TokenLab's base URL, empty where nothing is."""
    problem = url_problem(url)
    if problem or _is_printable(url):
        return problem
    return "has a space or an invisible character"


def previous_url_problem(route_format: str, url: str) -> str:
    """Return why a base URL cannot be a route's previous side, empty where it can.

    Plain http is accepted here, since what is in use today may be on an internal network; the
    preflight checks report it.
    """
    if not _is_printable(url):
        return "has a space or an invisible character"
    secure = _PLAIN_HTTP.sub("https://", url, count=1)
    if route_format in MEDIA_FORMATS:
        return url_problem(secure)
    return base_url_problem(route_format, secure)


def suited_url(route_format: str, url: str) -> str:
    """Return a base URL with the ending that the format's SDK is given, as far as it is known."""
    return sdk_base_url(route_format, url.removesuffix("/v1beta"))


def unique_name(wanted: str, taken: Iterable[str]) -> str:
    """Return ``wanted``, or where it is taken the first free one of ``wanted-2``, ``wanted-3``."""
    known, found, number = set(taken), wanted, 1
    while found in known:
        number += 1
        found = f"{wanted}-{number}"
    return found


def _is_printable(text: str) -> bool:
    return text.isprintable() and not any(char.isspace() for char in text)
