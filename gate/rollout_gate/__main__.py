"""``python -m rollout_gate`` and the ``rollout-gate`` command."""

import sys
from argparse import ArgumentParser

from rollout_gate.version import __version__


def main() -> None:
    """Run the command line and exit with its code: 0 done, 2 usage or bad file."""
    parser = ArgumentParser("rollout-gate", description="The gate of rollout-console.")
    parser.add_argument("--version", action="version", version=f"rollout-gate {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="a local proxy: one base URL for any SDK in any language",
        description="Serve the gate as a local HTTP proxy. An SDK's base URL is the proxy's, the"
        " route, and the provider's own path: http://127.0.0.1:8787/chat/v1",
    )
    from rollout_gate.serve import command

    command.add_to(serve)
    sys.exit(command.main(parser.parse_args()))


if __name__ == "__main__":
    main()
