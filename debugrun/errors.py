"""Every error a user can meet: a stable code, an exit status as `docker run` has them, and one next command."""

from __future__ import annotations

EXIT_FAILED = 125  # debugrun or the engine failed
EXIT_REFUSED = 126  # nothing within the ceiling works, or the tool was refused
EXIT_NO_TOOL = 127  # no such tool
EXIT_USAGE = 2
EXIT_INTERRUPT = 130


class DebugrunError(Exception):
    """One clear line, the next command to type, and the exit status.

    `code` is stable and machine-readable; `hint` is what to type or do next, without a full stop. `lines` follow it:
    a choice, or a text to copy.
    """

    status = EXIT_FAILED

    def __init__(
        self, code: str, message: str, hint: str = "", *, status: int | None = None, lines: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.lines = lines
        if status is not None:
            self.status = status


class EngineError(DebugrunError):
    """The engine cannot be reached or refused a request."""


class TargetError(DebugrunError):
    """The container or the process cannot be debugged as it is."""


class RefusedError(DebugrunError):
    """Nothing within the ceiling works."""

    status = EXIT_REFUSED


class ToolError(DebugrunError):
    """No such tool, or its data file is wrong."""

    status = EXIT_NO_TOOL


class UsageError(DebugrunError):
    """The command line does not make sense."""

    status = EXIT_USAGE
