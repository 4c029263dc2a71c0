"""The only exit: errors to text and status."""

from __future__ import annotations

import os
import sys

from debugrun import cli
from debugrun.errors import DebugrunError


def main() -> None:
    """Run the command line and exit with its status."""
    words, tool_args = cli.split(sys.argv[1:])
    # While the shell completes, the line typed so far is in the environment: Typer's completion protocol.
    typed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS")
    try:
        app = cli.application(typed.split()[1:] if typed else words, completing=bool(typed))
        app(args=words, obj=tool_args, prog_name="debugrun")
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
