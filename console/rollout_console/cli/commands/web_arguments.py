"""The options of ``web``."""

import argparse
from urllib.parse import urlsplit

from rollout_console.cli.values import whole


def add_web(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``web``."""
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1",
        help="the address to listen on (default 127.0.0.1, for this machine alone): there is no"
        " log-in",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=whole(0, 65_535), default=8765, help="default 8765; 0 is a free one"
    )
    parser.add_argument(
        "--public-url", metavar="URL", type=_public_url,
        help="the address of a reverse proxy in front, as browsers show it",
    )  # fmt: skip
    parser.add_argument(
        "--tabs", type=whole(1, 64), default=8, metavar="N",
        help="how many tabs at once: each is a process (default 8)",
    )  # fmt: skip
    parser.add_argument("--in-tab", action="store_true", help=argparse.SUPPRESS)


def _host(text: str) -> str:
    if not text.strip():  # such as an unset shell variable: it would be every address
        raise argparse.ArgumentTypeError("it is empty; 0.0.0.0 or :: is every address")
    return text.strip()


def _public_url(text: str) -> str:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        url = urlsplit("")
    named = url.scheme in ("http", "https") and url.hostname and url.username is None
    if not named or url.query or url.fragment:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address; give one such as https://rollout.example.org"
        )
    return text
