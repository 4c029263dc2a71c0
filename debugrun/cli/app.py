"""The command line: one command per tool data file, plus the verbs. Builds a Request; `session` does the work."""

from __future__ import annotations

import enum
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from debugrun import CEILING_VARIABLE, __version__
from debugrun.engine import contexts
from debugrun.errors import EXIT_INTERRUPT
from debugrun.toolbox import catalog

EPILOG = "Exit status as docker run: the tool's own; 125 debugrun failed; 126 refused; 127 no such tool; 130 Ctrl-C."
EXAMPLES = """Put a debug tool on a process in a container with the least privilege that works.

\b
debugrun gdb web                    PID 1 of container web, at gdb's prompt
debugrun gdb web 7 -- -batch -ex bt one backtrace of PID 7; what follows -- is gdb's
debugrun strace web --name worker   the process called worker
debugrun plan perf web              what would be taken, and why; nothing is started
"""


def complete_tools(incomplete: str) -> list[str]:
    """Tool names for the shell."""
    return [name for name in catalog.names(catalog.user_directory()) if name.startswith(incomplete)]


def complete_containers(incomplete: str) -> list[str]:
    """Names of running containers for the shell; none when the engine does not answer."""
    from debugrun.cli import toolbox  # noqa: PLC0415 - the engine's client is asked for here only

    return [name for name in toolbox.container_names() if name.startswith(incomplete)]


def complete_contexts(incomplete: str) -> list[str]:
    """Names of Docker contexts for the shell."""
    return [name for name in contexts.names() if name.startswith(incomplete)]


def interruptible(function: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C ends with 130, once everything below has cleaned up."""

    @functools.wraps(function)
    def wrapper(*args: object, **kwargs: object) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPT) from None

    return wrapper


Container = Annotated[
    str, typer.Argument(metavar="CONTAINER", help="name or id", autocompletion=complete_containers, show_default=False)
]
OptionalContainer = Annotated[
    str,
    typer.Argument(metavar="[CONTAINER]", help="name or id", autocompletion=complete_containers, show_default=False),
]
ToolName = Annotated[str, typer.Argument(metavar="TOOL", help="see `debugrun tools`", autocompletion=complete_tools)]
Pid = Annotated[int | None, typer.Argument(metavar="[PID]", help="as the container counts; without: PID 1")]
HostPid = Annotated[int | None, typer.Option("--host-pid", metavar="PID", help="the process by the host's PID")]
Comm = Annotated[str | None, typer.Option("--name", metavar="COMM", help="the process by its name")]
ModeName = Annotated[str | None, typer.Option("--mode", "-m", metavar="MODE", help="see `debugrun tools`")]
MaxGrant = Annotated[
    str,
    typer.Option(
        "--max-grant",
        metavar="GRANT",
        help="the widest grant to take: none, caps, seccomp, broad, unconfined or privileged",
        envvar=CEILING_VARIABLE,
    ),
]
Via = Annotated[
    str | None,
    typer.Option("--via", metavar="PLACEMENT", help="sidecar, here (exec in the container) or recreate (restarts it)"),
]
Image = Annotated[str | None, typer.Option("--image", help="image of the sidecar, instead of the toolbox")]
Duration = Annotated[int | None, typer.Option("--duration", metavar="SECONDS", help="interrupt the tool after that")]
DetachKeys = Annotated[str, typer.Option("--detach-keys", help="keys that leave the tool and let the process go on")]
MayKill = Annotated[
    bool, typer.Option("--may-kill", help="the process may die: for tools known to kill some (ltrace, of threads)")
]
ToolFile = Annotated[Path | None, typer.Option("--tool-file", help="a data file of your own for the tool")]
Yes = Annotated[bool, typer.Option("--yes", help="with --via recreate: ask nobody")]
AutoRestore = Annotated[bool, typer.Option("--auto-restore", help="with --via recreate: undo it when the tool ends")]
RestartUnder = Annotated[bool, typer.Option("--restart-under", help="with --via recreate: start it under the tool")]
ForceCompose = Annotated[bool, typer.Option("--force-compose", help="with --via recreate: also what Compose manages")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]


@interruptible
def run_tool(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    container: Container,
    pid: Pid = None,
    host_pid: HostPid = None,
    name: Comm = None,
    mode: ModeName = None,
    max_grant: MaxGrant = "seccomp",
    via: Via = None,
    image: Image = None,
    duration: Duration = None,
    detach_keys: DetachKeys = "ctrl-p,ctrl-q",
    may_kill: MayKill = False,
    tool_file: ToolFile = None,
    yes: Yes = False,
    auto_restore: AutoRestore = False,
    force_compose: ForceCompose = False,
    restart_under: RestartUnder = False,
) -> None:
    """Run a tool on a process; shared by the commands of all tools."""
    from debugrun import session  # noqa: PLC0415 - imports the engine's client
    from debugrun.core.ask.request import Recreation, Request, ceiling  # noqa: PLC0415

    request = Request(
        tool=str(ctx.info_name),
        container=container,
        mode=mode,
        pid=pid,
        host_pid=host_pid,
        comm=name,
        args=ctx.obj or (),
        ceiling=ceiling(max_grant, via, recreate=True),
        image=image,
        duration=duration,
        detach_keys=detach_keys,
        may_kill=may_kill,
        tool_file=tool_file,
        recreation=Recreation(restart_under, yes, auto_restore, force_compose),
    )
    raise typer.Exit(session.run(request, catalog.user_directory()))


@interruptible
def plan_command(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    tool: ToolName,
    container: OptionalContainer = "",
    pid: Pid = None,
    host_pid: HostPid = None,
    name: Comm = None,
    mode: ModeName = None,
    max_grant: MaxGrant = "seccomp",
    via: Via = None,
    image: Image = None,
    tool_file: ToolFile = None,
    facts: Annotated[Path | None, typer.Option("--facts", help="decide from a facts file, with no engine")] = None,
    as_json: Json = False,
) -> None:
    """Show the decision without doing it: what would be taken, what was too narrow and why, the docker line."""
    from debugrun.cli import plan  # noqa: PLC0415 - imports the engine's client
    from debugrun.core.ask.request import Request, ceiling  # noqa: PLC0415

    request = Request(
        tool=tool,
        container=container,
        mode=mode,
        pid=pid,
        host_pid=host_pid,
        comm=name,
        args=ctx.obj or (),
        ceiling=ceiling(max_grant, via, recreate=True),
        image=image,
        tool_file=tool_file,
    )
    raise typer.Exit(plan.show_plan(request, catalog.user_directory(), facts_file=facts, as_json=as_json))


@interruptible
def facts_command(
    *,
    container: Container,
    pid: Pid = None,
    host_pid: HostPid = None,
    name: Comm = None,
    as_json: Json = False,
) -> None:
    """Show what was observed of the engine, the host, the container and the process; never a secret."""
    from debugrun.cli import plan  # noqa: PLC0415 - imports the engine's client
    from debugrun.core.ask.request import Request  # noqa: PLC0415

    request = Request(tool="", container=container, pid=pid, host_pid=host_pid, comm=name)
    plan.show_facts(request, as_json=as_json)


@interruptible
def tools_command(
    *,
    as_json: Json = False,
    vet: Annotated[bool, typer.Option("--vet", help="check every tool file; 125 when one is wrong")] = False,
) -> None:
    """List the tools that have a data file, with their modes."""
    from debugrun.cli import tools as listing  # noqa: PLC0415 - imports rich

    raise typer.Exit(
        listing.vet(catalog.user_directory()) if vet else listing.show(catalog.user_directory(), as_json=as_json)
    )


@interruptible
def gc_command(
    *,
    everything: Annotated[bool, typer.Option("--all", help="also end sessions that are still alive")] = False,
) -> None:
    """Remove what a crash left behind, gently: tools are told to detach before their container goes."""
    from debugrun.cli import toolbox  # noqa: PLC0415 - imports the engine's client

    toolbox.collect(everything=everything)


class Action(enum.Enum):
    """What to do with the toolbox."""

    BUILD = "build"


@interruptible
def toolbox_command(
    *, action: Annotated[Action, typer.Argument(help="build: make the image when it is missing")]
) -> None:
    """The image that holds the tools, made of Debian packages, with or without a registry."""
    from debugrun.cli import toolbox  # noqa: PLC0415 - imports the engine's client

    del action  # there is one
    toolbox.make_toolbox(catalog.user_directory())


def _version(value: bool) -> None:  # noqa: FBT001 - the shape of a Typer callback
    if value:
        typer.echo(f"debugrun {__version__}")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="NAME",
            help="the Docker context to use, whatever DOCKER_HOST says; may stand anywhere before --",
            autocompletion=complete_contexts,
        ),
    ] = None,
) -> None:
    del version, context  # debugrun.engine.contexts has taken it


VERBS: dict[str, Callable[..., None]] = {
    "plan": plan_command,
    "facts": facts_command,
    "tools": tools_command,
    "toolbox": toolbox_command,
    "gc": gc_command,
}


# The verbs of debugrun.cli.verbs, each with the line that help shows: that module is imported for its own verbs only.
ANSWERS = {
    "run": "Start a program of an image under a tool, from its first instruction; options as docker run has them.",
    "restore": "Put the original of a recreated container back; without a name list what is recreated, with what.",
    "why": "Name the layer that says no to what people type first, with the fact, and the narrowest fix.",
    "profile": "Print the seccomp profile that a tool needs: the one in force plus the blocked calls, nothing else.",
    "judge": "Say whether exactly this would work: options as docker run has them, or a docker line after --.",
    "syscalls": "The system calls that the default seccomp profile blocks: why, and what this engine does with each.",
    "doctor": "The engine and its host on one page, and what each tool would need here.",
}

# Each is a function of a module of its own, as above.
ON_CALL = {
    "ps": "Show what each process waits for, the most suspicious first; how containers that do not run have ended.",
    "export": "Write the grant that a tool needs for Compose, Kubernetes, Marathon, Nomad and others.",
}


def application(argv: list[str], *, completing: bool = False) -> typer.Typer:
    """The application for this command line.

    A known tool as first word gets its own command only: its file is the only one read. Without one, for help, all
    are listed. Raises ToolError: a first word that is neither a tool nor a verb, or a bad file.
    """
    app = typer.Typer(name="debugrun", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(help=EXAMPLES, epilog=EPILOG)(_root)
    word = next((each for each in argv if not each.startswith("-")), None)
    folder = catalog.user_directory()
    if completing and word not in {*VERBS, *ANSWERS, *ON_CALL, *catalog.names(folder)}:
        word = None  # half a name
    if word is None:
        for name in catalog.names(folder):
            app.command(name, help=catalog.summary(name, folder))(_listed)
    elif word in {*ON_CALL, *ANSWERS}:
        _add_verb(app, word)
    elif word not in VERBS:
        app.command(word, help=_known(word, folder, _tool_file(argv)), epilog=EPILOG)(run_tool)
    for name, function in VERBS.items():
        app.command(name, help=function.__doc__)(_listed if word is None else function)
    if word is None:
        for name, line in {**ON_CALL, **ANSWERS}.items():
            app.command(name, help=line)(_listed)
    return app


def _add_verb(app: typer.Typer, word: str) -> None:
    """One verb that is imported for its own sake only: see ANSWERS."""
    if word in {"run", *ON_CALL}:
        module = importlib.import_module(f"debugrun.cli.{word}")
        app.command(word, epilog=EPILOG)(getattr(module, word))
    else:
        from debugrun.cli import verbs  # noqa: PLC0415 - see ANSWERS

        app.command(word)(getattr(verbs, word))


def _listed() -> None:
    """Stand in for a command where only its name and help are shown: building options costs 3 ms a command."""


def _known(name: str, folder: Path, custom: Path | None) -> str:
    """The summary of a tool whose file is right. Raises ToolError."""
    from debugrun.core.know import tool_file as tools  # noqa: PLC0415 - help need not read whole files

    return (tools.load_file(custom) if custom and custom.stem == name else tools.load(name, folder)).summary


def _tool_file(argv: list[str]) -> Path | None:
    """The value of --tool-file, needed before the commands exist: it may bring the tool's name with it."""
    for index, word in enumerate(argv):
        if word.startswith("--tool-file="):
            return Path(word.partition("=")[2])
        if word == "--tool-file" and index + 1 < len(argv):
            return Path(argv[index + 1])
    return None
