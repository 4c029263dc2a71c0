"""The only exit: errors to text and status."""

from __future__ import annotations

import os
import sys

from debugrun import cli
from debugrun.errors import DebugrunError


def main() -> None:
    """Run the command line and exit with its status."""
    words, tool_args = cli.split(sys.argv[1:])
    completing = "_DEBUGRUN_COMPLETE" in os.environ
    try:
        cli.application([] if completing else words)(args=words, obj=tool_args, prog_name="debugrun")
    except DebugrunError as error:
        print(f"debugrun: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"debugrun: try: {error.hint}", file=sys.stderr)
        sys.exit(error.status)
    except BrokenPipeError:
        # The reader of our output went away: nothing to say, and nowhere to say it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
