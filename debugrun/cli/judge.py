"""`debugrun judge`: would exactly this work."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from debugrun import pages
from debugrun.cli import question
from debugrun.cli.options import (
    Comm,
    FactsFile,
    HostPid,
    Json,
    KubernetesContext,
    ModeName,
    Namespace,
    OptionalContainer,
    OptionalTool,
    Pid,
    ToolFile,
    interruptible,
)
from debugrun.cli.question import Question
from debugrun.core.ask.attempt import Attempt
from debugrun.core.ask.dockerline import capability_names, not_of_exec, with_seccomp
from debugrun.core.ask.request import Request, ceiling
from debugrun.core.decide.judge_attempt import judged
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Option, Placement, Verdict
from debugrun.core.say import report, verdict
from debugrun.errors import EXIT_FAILED, EXIT_REFUSED
from debugrun.toolbox import catalog

STATUS = {Verdict.OPEN: 0, Verdict.CLOSED: EXIT_REFUSED, Verdict.UNKNOWN: EXIT_FAILED}

Placed = Annotated[str, typer.Option("--placement", help="sidecar (docker run) or here (docker exec)")]
User = Annotated[str | None, typer.Option("--user", "-u", metavar="UID:GID", help="default: the image's")]
CapAdd = Annotated[list[str] | None, typer.Option("--cap-add", metavar="CAP", help="as docker run has it")]
CapDrop = Annotated[list[str] | None, typer.Option("--cap-drop", metavar="CAP", help="as docker run has it")]
Seccomp = Annotated[str, typer.Option("--seccomp", metavar="default|unconfined|FILE", help="the seccomp filter")]
Privileged = Annotated[bool, typer.Option("--privileged", help="as docker run and docker exec have it")]
AppArmor = Annotated[str | None, typer.Option("--apparmor", metavar="LABEL", help="default: docker-default")]
NoNewPrivileges = Annotated[bool, typer.Option("--no-new-privileges", help="file capabilities have no effect then")]
SecurityContext = Annotated[
    Path | None,
    typer.Option("--security-context", metavar="FILE", help="of a pod's ephemeral container: JSON or YAML"),
]


@interruptible
def judge(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    tool: OptionalTool = "",
    container: OptionalContainer = "",
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
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    security_context: SecurityContext = None,
    as_json: Json = False,
) -> None:
    r"""Say whether exactly this would work: open, closed or unknown, and what every layer says to it.

    The defaults are Docker's. A line of one's own can be pasted instead, and for a pod a securityContext named:

    \b
    debugrun judge -- docker run --pid container:web ... gdb -p 1
    debugrun judge gdb pod/web -- kubectl debug web --image IMAGE --target app --profile=general -- gdb -p 1
    debugrun judge gdb pod/web --security-context debug.yaml

    Exit status: 0 open, 126 closed, 125 unknown: a script that goes on at 0 never goes on unsure.
    """
    limit = ceiling("privileged", placement)
    assert limit.via is not None  # noqa: S101 - ceiling() has checked the word
    of_run = {
        "--cap-add": cap_add,
        "--cap-drop": cap_drop,
        "--seccomp": seccomp != "default",
        "--apparmor": apparmor,
        "--no-new-privileges": no_new_privileges,
    }
    if limit.via is Placement.HERE and (wrong := [name for name, value in of_run.items() if value]):
        raise not_of_exec(wrong[0])
    attempt = Attempt(
        placement=limit.via,
        user=user,
        cap_add=capability_names(cap_add or ()),
        cap_drop=capability_names(cap_drop or ()),
        apparmor=apparmor,
        no_new_privileges=no_new_privileges,
        privileged=privileged,
    )
    if security_context is not None:
        attempt = Attempt(placement=limit.via, context=json.dumps(question.read_context(security_context)))
    asked = Question(
        request=Request(
            tool=tool,
            container=container,
            pid=pid,
            host_pid=host_pid,
            comm=name,
            mode=mode,
            tool_file=tool_file,
            namespace=namespace,
            kubernetes_context=kubernetes_context,
        ),
        folder=catalog.user_directory(),
        facts_file=facts,
        pasted=ctx.obj or (),
        attempt=with_seccomp(attempt, seccomp),
    )
    raise typer.Exit(answer(asked, as_json=as_json))


def answer(asked: Question, *, as_json: bool) -> int:
    """Print the verdict on exactly this attempt. 0 open, 126 closed, 125 not known."""
    decision, option = _answer(asked)
    shown = verdict.alone(option, decision)
    if as_json:
        print(report.plan_json(shown))
    else:
        pages.text(verdict.as_text(option, decision))
    return STATUS[option.verdict]


def _answer(asked: Question) -> tuple[Plan, Option]:
    with question.look(asked) as looked:
        tool, mode, facts = looked.tool, looked.mode, looked.facts
        attempt = looked.attempt or Attempt(placement=Placement.SIDECAR)
        if attempt.placement is Placement.SIDECAR and not asked.pasted:
            target = f"container:{facts.container.name}"
            network = target if mode.network == "target" else attempt.network
            joined = target if mode.about_process else attempt.pid_mode
            attempt = dataclasses.replace(attempt, pid_mode=joined, network=network)
        option = looked.asked(judged(attempt, tool, mode, facts), asked.request.ceiling)
    empty = Plan(tool=tool, mode=mode, facts=facts, ceiling=asked.request.ceiling, options=(), chosen=None)
    return empty, option
