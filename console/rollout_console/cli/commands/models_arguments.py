"""The options of ``models``; the API contract's choices are repeated, so that help imports none."""

import argparse
from decimal import Decimal, InvalidOperation

SCENES = ("image", "video", "music", "3d", "tts", "stt", "embedding", "rerank", "translation")
STAGES = ("active", "preview", "deprecated", "retired")
SORTS = ("rank", "price", "context", "id")


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``models``."""
    parser.add_argument("model", nargs="*", help="ids: their whole contract, side by side if two")
    parser.add_argument("--recommended-for", choices=SCENES, default="", metavar="SCENE",
                        help=f"ranked by 24 h of evidence: {', '.join(SCENES)}")  # fmt: skip
    parser.add_argument("--category", default="", help="chat, image, video, embedding, ...")
    parser.add_argument("--provider", default="")
    parser.add_argument("--tag", default="", help="a capability")
    parser.add_argument("--stage", choices=STAGES, default="", help="where in its lifecycle")
    parser.add_argument("--max-price", type=usd, metavar="USD",
                        help="per million input tokens, or per request")  # fmt: skip
    parser.add_argument("--search", default="", metavar="TEXT", help="in id, alias, provider, tags")
    parser.add_argument("--sort", choices=SORTS, default="rank")
    parser.add_argument(
        "--changed", action="store_true", help="new, gone or changed since last look"
    )
    parser.add_argument("--mark-seen", action="store_true",
                        help="from now on, changes are against what is printed now")  # fmt: skip
    parser.add_argument("--offline", action="store_true", help="from the cached catalogue alone")
    parser.add_argument("--base-url", default="", help="instead of the rollout file's")


def usd(text: str) -> Decimal:
    """Parse an amount of US dollars, 0 or more, with or without ``$``; an argparse type."""
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of US dollars")
    return amount
