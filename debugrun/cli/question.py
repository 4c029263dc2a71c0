"""What `judge` and `why` are asked: about the target in reach or saved facts, in words or as a docker line."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

from debugrun.cli.saved_facts import read_facts
from debugrun.core.ask import dockerline
from debugrun.core.ask.attempt import Attempt
from debugrun.core.ask.request import Request
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.engine import engine
from debugrun.errors import UsageError
from debugrun.launch import typed
from debugrun.observe.target import look as observe
from debugrun.toolbox import catalog
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What was asked: a request, and the docker line pasted after `--`. Without one `attempt` is as typed, if at all.

    Empty `tool` and `container` in the request are taken from the line.
    """

    request: Request
    folder: Path
    facts_file: Path | None = None
    pasted: tuple[str, ...] = ()
    attempt: Attempt | None = None


def look(question: Question) -> tuple[Tool, Mode, Facts, Attempt | None]:
    """(tool, mode, facts, the attempt). The docker line fills in what was not said; both must agree."""
    if question.facts_file is not None:
        return _asked(question, None)
    with contextlib.ExitStack() as stack:
        return _asked(question, lambda: stack.enter_context(engine.connect()))


def _asked(question: Question, connect: Callable[[], engine.Engine] | None) -> tuple[Tool, Mode, Facts, Attempt | None]:
    """`look`; what only an engine knows of a line stays open without one."""
    request, attempt = question.request, question.attempt
    line = dockerline.parse(question.pasted) if question.pasted else None
    connection = connect() if line is not None and connect is not None else None
    if line is not None:
        line = line if connection is None else typed.filled(connection, line)
        attempt = line.attempt
        request = _filled(request, line, question)
    if not request.tool:
        raise UsageError("no-tool", "which tool?", "debugrun judge TOOL CONTAINER ..., or a docker line after --")
    tool, mode = catalog.find_tool(request, question.folder)
    if line is not None and request.mode is None:
        mode = tool.mode(dockerline.mode_of(line.argv, tool.modes, tool.default_mode))
    if line is not None and request.pid is None and request.host_pid is None:
        pid = dockerline.pid_of(line.argv, mode)
        on_host = line.attempt.pid_mode == "host"
        request = dataclasses.replace(request, pid=None if on_host else pid, host_pid=pid if on_host else None)
    if question.facts_file is not None:
        return tool, mode, read_facts(question.facts_file), _read(attempt)
    if not request.container:
        raise UsageError("no-target", "a container or --facts FILE is missing", f"debugrun judge {tool.name} CONTAINER")
    assert connect is not None  # noqa: S101 - without facts there is an engine
    return tool, mode, observe(connection or connect(), request, tool), _read(attempt)


def _filled(request: Request, line: dockerline.Line, question: Question) -> Request:
    """The request with the tool and the container of the line. Raises UsageError where they contradict."""
    tool = request.tool or _tool_of(line.programs, question.folder)
    container = request.container or line.container or ""
    if not container and question.facts_file is None:
        message = "the line joins no container: it has a PID namespace of its own"
        if line.attempt.pid_mode == "host":
            message = "a line with --pid host does not tell which container is meant"
        raise UsageError("no-target", message, "add --pid container:NAME to the line, or name the container before --")
    return dataclasses.replace(request, tool=tool, container=container)


def _tool_of(programs: tuple[str, ...], folder: Path) -> str:
    """The tool whose binary the line runs."""
    for binary in programs:
        for name in sorted(catalog.names(folder), key=lambda name: name != binary):
            if catalog.load(name, folder).binary == binary:
                return name
    message = f"the line runs {(*programs, 'no command')[0]!r}, which is not a tool that debugrun knows"
    raise UsageError("no-such-tool", message, "debugrun tools")


def _read(attempt: Attempt | None) -> Attempt | None:
    """The attempt with the text of its profile's file. Raises UsageError."""
    if attempt is None or attempt.profile_file is None:
        return attempt
    try:
        return dataclasses.replace(attempt, profile=Path(attempt.profile_file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"seccomp={attempt.profile_file}: {error}"
        raise UsageError("bad-profile", message, "name a readable profile") from error
