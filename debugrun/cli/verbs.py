"""The verbs that only answer: imported when one of them is used. `debugrun.cli.app` lists them with a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from debugrun.cli import app
from debugrun.cli.app import Comm, HostPid, Json, MaxGrant, ModeName, Pid, ToolFile, interruptible
from debugrun.toolbox import catalog

OptionalTool = Annotated[
    str,
    typer.Argument(
        metavar="[TOOL]", help="see `debugrun tools`", autocompletion=app.complete_tools, show_default=False
    ),
]
FactsFile = Annotated[Path | None, typer.Option("--facts", help="decide from a facts file, with no engine")]


Placed = Annotated[str, typer.Option("--placement", help="sidecar (docker run) or here (docker exec)")]
User = Annotated[str | None, typer.Option("--user", "-u", metavar="UID:GID", help="default: the image's")]
CapAdd = Annotated[list[str] | None, typer.Option("--cap-add", metavar="CAP", help="as docker run has it")]
CapDrop = Annotated[list[str] | None, typer.Option("--cap-drop", metavar="CAP", help="as docker run has it")]
Seccomp = Annotated[str, typer.Option("--seccomp", metavar="default|unconfined|FILE", help="the filter")]
Privileged = Annotated[bool, typer.Option("--privileged", help="as docker run and docker exec have it")]
AppArmor = Annotated[str | None, typer.Option("--apparmor", metavar="LABEL", help="default: docker-default")]
NoNewPrivileges = Annotated[bool, typer.Option("--no-new-privileges", help="file capabilities are void then")]


@interruptible
def judge(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    tool: OptionalTool = "",
    container: app.OptionalContainer = "",
    pid: Pid = None,
    placement: Placed = "sidecar",
    user: User = None,
    cap_add: CapAdd = None,
    cap_drop: CapDrop = None,
    seccomp: Seccomp = "default",
    privileged: Privileged = False,
    apparmor: AppArmor = None,
    no_new_privileges: NoNewPrivileges = False,
    host_pid: HostPid = None,
    name: Comm = None,
    mode: ModeName = None,
    tool_file: ToolFile = None,
    facts: FactsFile = None,
    as_json: Json = False,
) -> None:
    """Say whether exactly this would work: open, closed or unknown, and what every layer says to it.

    The defaults are Docker's. A line of one's own can be pasted instead: debugrun judge -- docker run ... gdb -p 1

    Exit status: 0 open, 126 closed, 125 unknown: a script that goes on at 0 never goes on unsure.
    """
    from debugrun.cli import questions  # noqa: PLC0415 - imports the engine's client
    from debugrun.core.ask.dockerline import capability_names, with_seccomp  # noqa: PLC0415
    from debugrun.core.ask.request import Request, ceiling  # noqa: PLC0415
    from debugrun.core.decide.judge_attempt import Attempt  # noqa: PLC0415

    limit = ceiling("privileged", placement)
    assert limit.via is not None  # noqa: S101 - ceiling() has checked the word
    attempt = Attempt(
        placement=limit.via,
        user=user,
        cap_add=capability_names(cap_add or ()),
        cap_drop=capability_names(cap_drop or ()),
        apparmor=apparmor,
        no_new_privileges=no_new_privileges,
        privileged=privileged,
    )
    question = questions.Question(
        request=Request(
            tool=tool, container=container, pid=pid, host_pid=host_pid, comm=name, mode=mode, tool_file=tool_file
        ),
        folder=catalog.user_directory(),
        facts_file=facts,
        pasted=ctx.obj or (),
        attempt=with_seccomp(attempt, seccomp),
    )
    raise typer.Exit(questions.judge(question, as_json=as_json))


@interruptible
def why(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    tool: OptionalTool = "",
    container: app.OptionalContainer = "",
    pid: Pid = None,
    from_error: Annotated[str | None, typer.Option("--from-error", metavar="TEXT", help="what it printed")] = None,
    host_pid: HostPid = None,
    name: Comm = None,
    mode: ModeName = None,
    max_grant: MaxGrant = "seccomp",
    tool_file: ToolFile = None,
    facts: FactsFile = None,
    as_json: Json = False,
) -> None:
    """Name the layer that says no to what people type first, with the fact, and the narrowest fix.

    Asked about is `docker exec CONTAINER TOOL` where the container holds the tool, else `docker run --pid
    container:CONTAINER IMAGE TOOL`, or the docker line after `--`. Nothing is started.

    Exit status: 0; 126 when nothing within --max-grant works.
    """
    from debugrun.cli import questions  # noqa: PLC0415 - imports the engine's client
    from debugrun.core.ask.request import Request, ceiling  # noqa: PLC0415

    question = questions.Question(
        request=Request(
            tool=tool,
            container=container,
            pid=pid,
            host_pid=host_pid,
            comm=name,
            mode=mode,
            tool_file=tool_file,
            ceiling=ceiling(max_grant, None),
        ),
        folder=catalog.user_directory(),
        facts_file=facts,
        pasted=ctx.obj or (),
    )
    raise typer.Exit(questions.explain(question, error=from_error, as_json=as_json))


@interruptible
def restore(
    *,
    container: app.OptionalContainer = "",
    keep_new: Annotated[
        bool, typer.Option("--keep-new", help="stay with the recreated container and remove the original")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put the original of a recreated container back, as it was: under its name, running, with its data.

    Also where recreating it, or restoring it, was interrupted. Without a container: list what is recreated, since
    when, and what it still runs with.
    """
    from debugrun.cli import restore as restoring  # noqa: PLC0415 - imports the engine's client

    raise typer.Exit(restoring.run(container, keep_new=keep_new, as_json=as_json))


Base = Annotated[
    str | None, typer.Option("--base", metavar="FILE|default", help="what to widen; default: the engine's own")
]
NoAslr = Annotated[bool, typer.Option("--no-aslr", help="also turn address space randomisation off")]
Explain = Annotated[bool, typer.Option("--explain", help="say in it which rule is there for what")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="write it there, mode 0600")]


@interruptible
def profile(  # noqa: PLR0913 - each is an option of the command line
    *,
    tool: app.ToolName,
    container: app.OptionalContainer = "",
    pid: Pid = None,
    mode: ModeName = None,
    base: Base = None,
    no_aslr: NoAslr = False,
    explain: Explain = False,
    output: Output = None,
    tool_file: ToolFile = None,
) -> None:
    """Print the seccomp profile that a tool needs: the one in force plus the blocked calls, nothing else.

    In force is the container's own, else the engine's default. Without a container: the engine's default.
    """
    from debugrun.cli import profile as profileverb  # noqa: PLC0415 - imports the engine's client
    from debugrun.core.ask.request import Request  # noqa: PLC0415

    request = Request(tool=tool, container=container, pid=pid, mode=mode, tool_file=tool_file)
    wish = profileverb.Wish(base=base, output=output, explain=explain, aslr=not no_aslr)
    profileverb.show(request, catalog.user_directory(), wish)


CallName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="one call, or one with its argument")]
Blocked = Annotated[bool, typer.Option("--blocked", help="every call that is blocked, not the notable ones only")]
ForTool = Annotated[
    str | None, typer.Option("--for", metavar="TOOL", help="the calls of a tool", autocompletion=app.complete_tools)
]
NamedEngine = Annotated[
    str | None, typer.Option("--engine", metavar="NAME:VERSION", help="that release's table, with no engine")
]


@interruptible
def syscalls(
    *,
    name: CallName = None,
    blocked: Blocked = False,
    tool: ForTool = None,
    engine: NamedEngine = None,
    as_json: Json = False,
) -> None:
    """Show the system calls that the default seccomp profile blocks: why, and what this engine does with each.

    `personality(0x40000)` asks about one value of the first argument. Another release's table: --engine docker:28.5
    """
    from debugrun.cli import syscalls as listing  # noqa: PLC0415 - reads the profiles

    shown = listing.show(
        name, blocked=blocked, tool=tool, named_engine=engine, folder=catalog.user_directory(), as_json=as_json
    )
    raise typer.Exit(shown)


@interruptible
def doctor(
    *,
    container: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONTAINER]",
            help="of an engine elsewhere: look at its host through this one",
            autocompletion=app.complete_containers,
        ),
    ] = None,
    max_grant: MaxGrant = "seccomp",
    as_json: Json = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", help="try gdb, strace and perf on two targets of our own, for a bug report"
        ),
    ] = None,
) -> None:
    """Show the engine and its host on one page, and what each tool would need here.

    Exit status: 0 when every tool has a way within --max-grant, for each kind of target; else 126. With --report 0 when
    all that was tried became what was predicted, else 1.
    """
    from debugrun.core.ask.request import ceiling  # noqa: PLC0415
    from debugrun.observe import checkup  # noqa: PLC0415 - imports the engine's client

    if report is not None:
        from debugrun.cli import selftest  # noqa: PLC0415

        raise typer.Exit(selftest.run(report, ceiling(max_grant, None), catalog.user_directory()))
    raise typer.Exit(checkup.run(container, ceiling(max_grant, None), catalog.user_directory(), as_json=as_json))
