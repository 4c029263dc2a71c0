"""`debugrun profile`: the seccomp profile that a tool needs, on standard output or in a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from debugrun import backends
from debugrun.cli.options import (
    KubernetesContext,
    ModeName,
    Namespace,
    OptionalContainer,
    Pid,
    ToolFile,
    ToolName,
    interruptible,
)
from debugrun.core.ask.request import Request
from debugrun.core.decide import judge, widen_profile
from debugrun.core.decide.launch import ASLR_OFF
from debugrun.core.decide.plan import plan
from debugrun.core.know import inspection
from debugrun.core.know.facts import ContainerFacts, Facts, HostFacts, ProcessFacts
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.rules import seccomp
from debugrun.engine import engine
from debugrun.errors import RefusedError, UsageError
from debugrun.toolbox import catalog
from debugrun.values import dataclass

ENGINES_OWN = "default"  # --base default


Base = Annotated[
    str | None, typer.Option("--base", metavar="FILE|default", help="what to widen; default: the engine's own")
]
NoAslr = Annotated[bool, typer.Option("--no-aslr", help="also turn address space randomisation off")]
Explain = Annotated[bool, typer.Option("--explain", help="say in the profile what each rule is for")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="write it to this file, mode 0600")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was asked for beside tool and container.

    `base` is a file, ENGINES_OWN, or None: the container's own profile where it has one, else the engine's. `aslr` off
    is one call more. `explain` says in the profile which rule is there for what.
    """

    base: str | None = None
    output: Path | None = None
    explain: bool = False
    aslr: bool = True


@interruptible
def profile(  # noqa: PLR0913 - each is an option of the command line
    *,
    tool: ToolName,
    container: OptionalContainer = "",
    pid: Pid = None,
    mode: ModeName = None,
    base: Base = None,
    no_aslr: NoAslr = False,
    explain: Explain = False,
    output: Output = None,
    tool_file: ToolFile = None,
    namespace: Namespace = None,
    kubernetes_context: KubernetesContext = None,
) -> None:
    """Print the seccomp profile that a tool needs: the one in force plus the blocked calls, nothing else.

    In force is the container's own, else the engine's default. Without a container: the engine's default.
    """
    request = Request(
        tool=tool,
        container=container,
        pid=pid,
        mode=mode,
        tool_file=tool_file,
        namespace=namespace,
        kubernetes_context=kubernetes_context,
    )
    wish = Wish(base=base, output=output, explain=explain, aslr=not no_aslr)
    show(request, catalog.user_directory(), wish)


def show(request: Request, folder: Path, wish: Wish) -> None:
    """Print the profile, or write it with mode 0600; which rule is there for what goes to standard error.

    Raises RefusedError: nothing is blocked, or the profile in force is not known; UsageError: a bad file.
    """
    tool = (
        catalog.load_file(request.tool_file, called=request.tool)
        if request.tool_file
        else catalog.load(request.tool, folder)
    )
    mode = _mode(tool, request.mode, wish)
    needs = [*mode.needs, *(() if wish.aslr else (ASLR_OFF,))]
    if request.container:
        with backends.reach(request) as backend:
            facts = backend.look(request, tool)
    else:
        with engine.connect() as connection:
            facts = _of_engine(connection)
    base = _base(wish, facts, tool, mode)
    about = f"{tool.name} {mode.name}"
    again = f"debugrun plan {tool.name} {facts.container.name or 'CONTAINER'}"
    if base is None:
        message = f"no profile for {about}: the one in force is off, or not known; --base FILE names one"
        raise RefusedError("no-profile", message, again)
    made = widen_profile.opened(base, needs, facts)
    if made is None:
        raise RefusedError("no-profile", f"no profile for {about}: {base.name} blocks nothing that it needs", again)
    print("\n".join(f"debugrun: {line}" for line in widen_profile.header(made, about).splitlines()), file=sys.stderr)
    text = widen_profile.explained(made, about) if wish.explain else seccomp.dump_profile(made.profile)
    if wish.output is None:
        print(text)
    else:
        _write(wish.output, text + "\n")


def _mode(tool: Tool, name: str | None, wish: Wish) -> Mode:
    """The mode of that name; of those that start a program where ASLR is to be off, or no other is called so."""
    started = {launch.mode.name for launch in tool.launches} - {mode.name for mode in tool.modes}
    if not wish.aslr or not tool.modes or name in started:
        return tool.launch(name).mode
    return tool.mode(name)


def _of_engine(connection: engine.Engine) -> Facts:
    """The facts of the engine alone, for a container that is still to be made."""
    nobody = ContainerFacts(id="", name="", image="", image_id="", state="")
    told = inspection.engine_facts(connection.version(), connection.info())
    return Facts(engine=told, host=HostFacts(), container=nobody, process=ProcessFacts(pid=1, comm=""))


def _base(wish: Wish, facts: Facts, tool: Tool, mode: Mode) -> widen_profile.Base | None:
    """What is widened; None: no filter is in force, or it is not known.

    The container's own profile is resolved for its capabilities, any other for those that the plan would give.
    """
    own = facts.container.seccomp_profile
    if wish.base is None and facts.container.seccomp == "custom":
        held = frozenset(facts.container.capabilities or facts.process.bounding)
        name = f"{facts.container.name}'s own profile"
        return None if own is None else widen_profile.Base(name=name, profile=_parsed(own, name), caps=held)
    given = _given(facts, tool, mode)
    if wish.base in {None, ENGINES_OWN}:
        name, profile = judge.engine_profile(facts.engine)
        return None if profile is None else widen_profile.Base(name=name, profile=profile, caps=given)
    try:
        text = Path(str(wish.base)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("bad-profile", f"--base {wish.base}: {error}", "name a readable profile") from error
    return widen_profile.Base(name=str(wish.base), profile=_parsed(text, f"--base {wish.base}"), caps=given)


def _parsed(text: str, where: str) -> seccomp.Profile:
    try:
        return seccomp.parse_profile(text)
    except seccomp.ProfileError as error:
        raise UsageError("bad-profile", f"{where}: {error}", "name a profile that an engine takes") from error


def _given(facts: Facts, tool: Tool, mode: Mode) -> frozenset[str]:
    """The capabilities of the narrowest option that takes a profile; none where there is no container to plan for."""
    if not facts.container.id or mode not in tool.modes:
        return frozenset()
    options = plan(tool, mode, facts, Request(tool=tool.name, container="").ceiling).options
    return next((frozenset(option.cap_add) for option in options if option.opened_calls), frozenset())


def _write(path: Path, text: str) -> None:
    try:
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError("not-written", f"{path}: {error.strerror}", "name another file with -o") from error
