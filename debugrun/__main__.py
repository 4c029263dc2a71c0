"""The only exit: errors to text and status."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the part of signal that is there before any module is loaded

# While modules are loaded there is nothing to clean up: Ctrl-C ends us as it ends any program, and not by a traceback.
_INTERRUPT = _signal.getsignal(_signal.SIGINT)
if _INTERRUPT is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import contextlib  # noqa: E402 - see above
import errno  # noqa: E402
import gc  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from debugrun import CEILING_VARIABLE, pages, streams, timing  # noqa: E402 - see above
from debugrun.core.know.printable import printable  # noqa: E402
from debugrun.engine import contexts  # noqa: E402
from debugrun.errors import EXIT_FAILED, EXIT_INTERRUPT, DebugrunError  # noqa: E402
from debugrun.toolbox import catalog  # noqa: E402

_signal.signal(_signal.SIGINT, _INTERRUPT)

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # write(2): a disk that takes no more


def main() -> None:
    """Run the command line and exit with its status."""
    streams.guard()
    # Nearly all that is allocated up to the tool's start are modules: collecting them costs a tenth of the time.
    gc.disable()
    status = 0
    try:
        status = _run(sys.argv[1:])
        sys.stdout.flush()
    except DebugrunError as error:
        pages.text(f"debugrun: {printable(error.message)}", stderr=True)
        if error.hint:
            pages.text(f"debugrun: try: {printable(error.hint)}", stderr=True)
        for line in error.lines:
            print(printable(line), file=sys.stderr)
        status = error.status
    except KeyboardInterrupt:
        status = EXIT_INTERRUPT
    except BrokenPipeError:
        # The reader of our output went away: nothing to say, and nowhere to say it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - a bug of ours: its status is not one of the tool's, and a report needs the rest
        _report(error)
        status = EXIT_FAILED
    # Everything is closed and cleaned up: the interpreter would only take its modules apart, for 25 ms.
    with contextlib.suppress(OSError):  # told already
        sys.stdout.flush()
    timing.show()
    sys.stderr.flush()
    os._exit(status)


def _report(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in FULL:
        print(f"debugrun: could not write {error.filename or 'the output'}: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    import traceback  # noqa: PLC0415 - never, one hopes

    traceback.print_exception(error)
    print("debugrun: this is a bug of debugrun's; please report the lines above", file=sys.stderr)


def _run(argv: list[str]) -> int:
    at = argv.index("--") if "--" in argv else len(argv)
    words, tool_args = (
        contexts.take(timing.take(argv[:at])),
        tuple(argv[at + 1 :]),
    )  # what follows the first -- is the tool's
    # While the shell completes, the line typed so far is in the environment: Typer's completion protocol.
    typed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS")
    folder = catalog.user_directory()
    if not typed and words and words[0] in catalog.names(folder) and not os.environ.get(CEILING_VARIABLE):
        from debugrun.core.ask.request import plain  # noqa: PLC0415 - not for the verbs

        if request := plain(words, tool_args):
            with timing.span("import the flow"):
                from debugrun import session  # noqa: PLC0415 - not for the verbs

            try:
                return session.run(request, folder)
            except KeyboardInterrupt:
                return EXIT_INTERRUPT
    with timing.span("import the command line library"):
        from debugrun.cli import app as cli  # noqa: PLC0415 - a plain line does without

    words = cli.meant(words, folder)
    app = cli.application(contexts.take(typed.split()[1:]) if typed else words, tool_args, completing=bool(typed))
    if typed:
        from debugrun.cli import values  # noqa: PLC0415 - only while the shell completes

        values.speak(app)(args=words, obj=tool_args, prog_name="debugrun")
    app(args=words, obj=tool_args, prog_name="debugrun")
    return 0


if __name__ == "__main__":
    main()
