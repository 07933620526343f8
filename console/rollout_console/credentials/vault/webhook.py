"""Read the guard's webhook URL, which is a secret and never a command-line argument."""

from collections.abc import Mapping, MutableMapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from rollout_console.credentials.vault.environment import read_file_if_there, read_given_file
from rollout_console.credentials.vault.errors import BadCredential
from rollout_gate.secret import Secret

VARIABLE = "ROLLOUT_WEBHOOK_URL"
_UNIT_FILE = "rollout_webhook_url"
_SLACK = ("hooks.slack.com", "hooks.slack-gov.com")


def take_webhook(environ: MutableMapping[str, str]) -> Secret | None:
    """Return the webhook URL, None where none is given; raises BadCredential for a bad one.

    It comes from ``$ROLLOUT_WEBHOOK_URL`` (removed from ``environ``), the file that
    ``$ROLLOUT_WEBHOOK_URL_FILE`` names, or ``rollout_webhook_url`` in systemd's
    ``$CREDENTIALS_DIRECTORY``. Only https is accepted, and plain http to loopback.
    """
    text = environ.pop(VARIABLE, "") or _from_file(environ)
    url = text.strip()
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or any(sign <= " " for sign in url):
        raise BadCredential("the webhook's URL is none; nothing is sent to it")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise BadCredential("the webhook's URL is not https; nothing is sent to it")
    return Secret(url)


def is_slack(url: Secret) -> bool:
    """Return whether a webhook URL is one of Slack's, by its host."""
    return (urlsplit(url.reveal()).hostname or "") in _SLACK


def _from_file(environ: Mapping[str, str]) -> str:
    named, folder = environ.get(f"{VARIABLE}_FILE", ""), environ.get("CREDENTIALS_DIRECTORY", "")
    path = Path(named) if named else Path(folder) / _UNIT_FILE if folder else None
    if path is None:
        return ""
    text, reason = read_given_file(path) if named else read_file_if_there(path)
    if text is None and not reason:
        return ""
    if text is None:
        raise BadCredential(f"the webhook's URL: {reason}")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
