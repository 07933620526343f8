"""``python -m rollout_console`` and the ``rollout-console`` command."""

import gc
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from rollout_console.cli.streams import open_closed
    from rollout_console.common.standard_streams import buffer_standard_streams

    open_closed()
    buffer_standard_streams()
    # Turn the garbage collector off while modules load: what they allocate lives as long as the
    # process. run() turns it on again for a command, the console at its first frame.
    gc.disable()
    try:
        from rollout_console.cli.main import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # while modules load or arguments are read: nothing was begun
        sys.exit(130)


if __name__ == "__main__":
    main()
