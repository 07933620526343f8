"""The options of ``init``: those of a route follow its ``--route``, in the order they are typed."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FORMATS = (
    "openai_chat_completions", "openai_responses", "anthropic_messages", "gemini_generate_content",
    "image", "video", "music", "3d",
)  # fmt: skip
"""The formats, repeated so that --help imports nothing; a test compares."""


class _Answer(argparse.Action):
    """Keeps what is given in its order, as pairs of the option and its value."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Append the pair; the list is copied, as the parser's default is shared by all runs."""
        known = getattr(namespace, self.dest, None) or []
        setattr(namespace, self.dest, [*known, (self.option_strings[0].removeprefix("--"), values)])


def add_init(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``init``."""

    def answer(option: str, **given: Any) -> None:
        parser.add_argument(option, dest="answers", action=_Answer, default=None, **given)

    answer("--route", metavar="NAME", help="begin a route; the options after it are the route's")
    answer("--format", choices=FORMATS, metavar="FORMAT",
           help=f"what its requests look like: {', '.join(FORMATS)}")  # fmt: skip
    answer("--model", metavar="MODEL", help="what TokenLab is asked for; see models")
    answer("--previous-url", metavar="URL",
           help="where its requests go today (default: the format's own maker)")  # fmt: skip
    answer("--org", metavar="ORG", help="may be repeated; before the first --route: of all routes")
    answer("--orgs-from", metavar="PATH",
           help="orgs from a file: one a line, a column of a CSV, an access log")  # fmt: skip
    parser.add_argument(
        "--from-file", default="", metavar="PATH",
        help="with -f etcd://...: the rollout file whose text is put there",
    )  # fmt: skip
    parser.add_argument("--from-litellm", type=Path, metavar="PATH",
                        help="routes from the config.yaml of a LiteLLM proxy")  # fmt: skip
    parser.add_argument(
        "--from-openai-log", type=Path, metavar="PATH",
        help="routes and orgs from a log of requests: JSON Lines, CSV, or a server's access log",
    )  # fmt: skip
    parser.add_argument("--org-field", default="", metavar="NAME",
                        help="the field of the file that names orgs")  # fmt: skip
    parser.add_argument("--profile", default="", metavar="NAME",
                        help="names the credentials (default: default)")  # fmt: skip
    parser.add_argument("--access-log", default="access.jsonl", metavar="PATH",
                        help="the gate's log (default: access.jsonl, same folder)")  # fmt: skip
    parser.add_argument("--base-url", default="", metavar="URL", help="TokenLab's base URL")
    parser.add_argument("--offline", action="store_true",
                        help="ask no network: models are not checked")  # fmt: skip
    parser.add_argument(
        "--token-stdin", action="store_true",
        help="read an API key or management token from standard input, and keep it",
    )  # fmt: skip
    parser.add_argument(
        "--to", choices=("keyring", "encrypted"), default="keyring",
        help="where a credential is kept (default: keyring)",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="print the file, write nothing")
