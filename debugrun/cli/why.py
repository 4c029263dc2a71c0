"""`debugrun why`: who says no, and what would do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from debugrun import backends, pages
from debugrun.cli import question
from debugrun.cli.options import (
    Comm,
    FactsFile,
    HostPid,
    Json,
    KubernetesContext,
    MaxGrant,
    ModeName,
    Namespace,
    OptionalContainer,
    OptionalTool,
    Pid,
    ToolFile,
    interruptible,
)
from debugrun.cli.question import Question
from debugrun.cli.saved_facts import read_facts
from debugrun.core.ask.request import Request, ceiling
from debugrun.core.decide import judge_attempt, regrant
from debugrun.core.decide.own import Own, lacks
from debugrun.core.decide.plan import plan
from debugrun.core.decide.why import diagnose, recognise
from debugrun.core.say import diagnosis
from debugrun.core.say import own as saying
from debugrun.core.say.command import with_lines
from debugrun.errors import EXIT_REFUSED, UsageError
from debugrun.toolbox import catalog

SaveProfile = Annotated[
    Path | None, typer.Option("--save-profile", metavar="FILE", help="without a tool: the profile that opens the call")
]


@interruptible
def why(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    tool: OptionalTool = "",
    container: OptionalContainer = "",
    pid: Pid = None,
    from_error: Annotated[
        str | None, typer.Option("--from-error", metavar="TEXT", help="the error text that was printed")
    ] = None,
    host_pid: HostPid = None,
    name: Comm = None,
    mode: ModeName = None,
    max_grant: MaxGrant = "seccomp",
    tool_file: ToolFile = None,
    facts: FactsFile = None,
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
    save_profile: SaveProfile = None,
    as_json: Json = False,
) -> None:
    """Name the layer that says no to what people type first, with the fact, and the narrowest fix.

    Asked about is `docker exec CONTAINER TOOL` where the container holds the tool, else `docker run --pid
    container:CONTAINER IMAGE TOOL`, or the docker line after `--`; of a pod `kubectl debug` with its own profile.
    Nothing is started but, in a pod, the ephemeral container that looks.

    `why --from-error TEXT CONTAINER`, without a tool, is about the container's own program: what it lacks, and the
    least that gives it that, for docker, Compose and `debugrun recreate`.

    Exit status: 0; 126 when nothing within --max-grant works.
    """
    asked = Question(
        request=Request(
            tool=tool,
            container=container,
            pid=pid,
            host_pid=host_pid,
            comm=name,
            mode=mode,
            tool_file=tool_file,
            ceiling=ceiling(max_grant, None),
            namespace=namespace,
            kubernetes_context=kubernetes_context,
        ),
        folder=catalog.user_directory(),
        facts_file=facts,
        pasted=ctx.obj or (),
    )
    if from_error is not None and (own := own_program(asked)) is not None:
        raise typer.Exit(explain_own(own, from_error, save_profile, as_json=as_json))
    raise typer.Exit(explain(asked, error=from_error, as_json=as_json))


def explain(asked: Question, *, error: str | None, as_json: bool) -> int:
    """Print who says no and what would do. 0, or 126 when nothing within the ceiling works."""
    with question.look(asked) as looked:
        tool, mode, facts = looked.tool, looked.mode, looked.facts
        decision = looked.decide(with_lines(plan(tool, mode, facts, asked.request.ceiling)))
        typed = looked.attempt or judge_attempt.plain(tool, facts, mode)
        found = diagnose(typed, decision, error, lambda option: looked.asked(option, asked.request.ceiling))
    if as_json:
        print(diagnosis.as_json(found))
    else:
        pages.text(diagnosis.as_text(found))
    return EXIT_REFUSED if decision.option is None else 0


def own_program(asked: Question) -> Question | None:
    """The question about a container's own program: a container was named, and no tool. None: it is about a tool."""
    request = asked.request
    if asked.pasted or request.tool_file is not None:
        return None
    if request.tool and not request.container and request.tool not in catalog.names(asked.folder):
        request = dataclasses.replace(request, tool="", container=request.tool)
    if request.tool or not (request.container or asked.facts_file):
        return None
    return dataclasses.replace(asked, request=request)


def explain_own(asked: Question, error: str, save_profile: Path | None, *, as_json: bool) -> int:
    """Print what the container's own program lacks for what it printed. 0; 126 when nothing is known that would do.

    Raises UsageError for a text that nobody knows.
    """
    known = recognise(error, None)
    if known is None or known.rest:
        message = "that text names neither a call nor anything that is known: an errno alone has too many causes"
        hint = "debugrun strace CONTAINER shows the call that fails; give its line as the text"
        raise UsageError("unknown-text", message, hint)
    if asked.facts_file is not None:
        facts = read_facts(asked.facts_file)
    else:
        with backends.reach(asked.request) as backend:
            facts = backend.look(asked.request, None)
    found = lacks(known, facts)
    if save_profile is not None:
        _save_profile(found, save_profile)
    if as_json:
        print(saying.as_json(found))
    else:
        pages.text(saying.as_text(found))
    return EXIT_REFUSED if (found.blocked or found.missing) and not found.options else 0


def _save_profile(found: Own, path: Path) -> None:
    """Write the profile of the first option that needs one. Raises UsageError where none does."""
    option = next((each for each in found.options if each.opened_calls), None)
    profile = regrant.profile_json(option, found.facts) if option is not None else None
    if profile is None:
        raise UsageError("no-profile", "nothing that is blocked needs a profile", "leave --save-profile out")
    path.touch(mode=0o600)
    path.write_text(profile + "\n", encoding="utf-8")
