"""What ``completion`` takes."""

from argparse import REMAINDER, SUPPRESS, ArgumentParser

SHELLS = ("bash", "zsh", "fish")


def add_completion(parser: ArgumentParser) -> None:
    """Add what ``completion`` takes."""
    parser.add_argument(
        "shell", choices=SHELLS, nargs="?", help="the shell that is to run the output"
    )
    # For the scripts: "routes" or "orgs", and the words before the cursor.
    parser.add_argument("--names", nargs=REMAINDER, default=[], help=SUPPRESS)
