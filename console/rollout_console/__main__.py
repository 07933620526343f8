"""``python -m rollout_console`` and the ``rollout-console`` command."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from rollout_console.cli.streams import open_closed

    open_closed()
    from rollout_console.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
