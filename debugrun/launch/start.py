"""`debugrun run` on an engine: look at the image, decide, make the container, be it in the foreground."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import field, replace
from pathlib import Path, PurePosixPath

from debugrun.attach import foreground
from debugrun.core.ask.request import TOOLBOX
from debugrun.core.decide import launch
from debugrun.core.decide.launch import Program, Source
from debugrun.core.decide.widen_profile import profile_json
from debugrun.core.grants import Ceiling, Grant, Option, Placement, Verdict
from debugrun.core.know import inspection, kinds
from debugrun.core.know.facts import ContainerFacts, EngineFacts, Facts, HostFacts, ProcessFacts
from debugrun.core.know.kinds import LABEL_TOOL
from debugrun.core.know.tool_file import Launch, Tool
from debugrun.core.say import launch_report
from debugrun.core.say.launch_report import Decided
from debugrun.engine import engine as engines
from debugrun.engine import ownership
from debugrun.engine.engine import Engine
from debugrun.errors import EXIT_REFUSED, DebugrunError, EngineError, TargetError
from debugrun.launch import options as runoptions
from debugrun.launch import staging
from debugrun.launch.create import Making, create
from debugrun.launch.options import RunOptions
from debugrun.observe import engine_host
from debugrun.toolbox import catalog
from debugrun.toolbox import volume as volumes
from debugrun.values import dataclass

_NARROWER = {"i686": "x86_64", "armv7l": "aarch64"}  # programs that those kernels run themselves


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was typed. `command` takes the place of the image's; `args` are the tool's own."""

    tool: str
    image: str
    command: tuple[str, ...] = ()
    options: RunOptions = field(default_factory=RunOptions)
    mode: str | None = None
    args: tuple[str, ...] = ()
    aslr: bool = True
    ceiling: Ceiling = field(default_factory=Ceiling)
    tool_image: str | None = None
    tool_file: Path | None = None
    detach_keys: str = "ctrl-p,ctrl-q"
    save_profile: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Staged:
    """What the image is, and what of the tool it holds."""

    program: Program
    container: ContainerFacts
    user: str
    in_image: bool
    image_id: str


def run(wish: Wish, folder: Path) -> int:
    """Start the program under the tool; the exit status of the tool, which is the program's where the tool passes it.

    Raises DebugrunError.
    """
    with engines.connect() as connection:
        decided = decide(connection, wish, folder)
        if decided.plan.option is None:
            raise launch_report.refusal(decided)
        print(launch_report.announce(decided), file=sys.stderr)
        with contextlib.ExitStack() as undo:
            container, name = _made(connection, wish, decided, undo)
            status = foreground.run(
                connection,
                container,
                name=name,
                tty=decided.terminal,
                detach_keys=wish.detach_keys,
                removed=wish.options.remove,
                unsaid=decided.plan.tool.unsaid,
            )
            undo.pop_all()  # it ended, and the engine removes it; or the user left it running
            return status


def show(wish: Wish, folder: Path, *, as_json: bool) -> int:
    """Print the decision and start nothing; 126 when nothing within the ceiling works."""
    with engines.connect() as connection:
        decided = decide(connection, wish, folder)
    option = decided.plan.option
    if wish.save_profile is not None and option is not None and (text := _profile(option, decided)):
        wish.save_profile.touch(mode=0o600)
        wish.save_profile.write_text(text + "\n", encoding="utf-8")
    print(launch_report.as_json(decided) if as_json else launch_report.text(decided))
    return EXIT_REFUSED if option is None else 0


def decide(connection: Engine, wish: Wish, folder: Path) -> Decided:
    """Look at engine, host and image, and decide. Raises DebugrunError."""
    runoptions.ports(wish.options)  # the container to look into publishes nothing, so a mistake would show late
    tool = catalog.load_file(wish.tool_file, called=wish.tool) if wish.tool_file else catalog.load(wish.tool, folder)
    way = tool.launch(wish.mode)
    found = engine_host.examine(connection)
    staged = _stage(connection, wish, tool, way, found.engine)
    home = wish.tool_image or TOOLBOX
    image_id = _image_id(connection, home) if wish.tool_image or tool.toolbox or staged.in_image else None
    source = Source(
        in_image=staged.in_image and wish.tool_image is None,
        volume=volumes.name_of(image_id) if image_id else None,
        architecture=found.engine.architecture,
    )
    base = _base(staged)
    facts = _facts(staged, found.engine, found.host)
    plan = launch.decide(tool, launch.wanted(way, aslr=wish.aslr), facts, wish.ceiling, base)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    under = launch.under(
        tool, way, staged.program, source, args=wish.args, option=plan.option, aslr=wish.aslr, terminal=terminal
    )
    return Decided(
        plan=plan,
        base=base,
        source=source,
        under=under,
        image=wish.image,
        image_id=staged.image_id,
        home=home,
        options=tuple(runoptions.words(wish.options)),
        again=_again(wish),
        terminal=terminal,
    )


def _again(wish: Wish) -> tuple[str, ...]:
    """The line that asks for the same decision, as far as it bears on that."""
    words = ["debugrun", "run", wish.tool, wish.image]
    words += ["--mode", wish.mode] if wish.mode else []
    words += ["-u", wish.options.user] if wish.options.user else []
    return (*words, *(() if wish.aslr else ("--no-aslr",)))


def _image_id(connection: Engine, reference: str) -> str | None:
    try:
        return str(connection.inspect_image(reference).get("Id"))
    except EngineError as error:
        if error.code == "no-such-image":
            return None
        raise


def _stage(connection: Engine, wish: Wish, tool: Tool, way: Launch, engine: EngineFacts) -> _Staged:
    image = connection.inspect_image(wish.image)
    with _unstarted(connection, wish) as container:
        inspected = connection.inspect_container(container)
        facts = inspection.container_facts(inspected, engine, image)
        theirs = facts.architecture
        if (
            theirs is not None
            and _NARROWER.get(theirs, theirs) != engine.architecture
            and theirs != engine.architecture
        ):
            message = f"{wish.image} is an {theirs} image on an {engine.architecture} engine: emulated, without ptrace"
            raise TargetError("emulated", message, f"take one for {engine.architecture} (--platform)")
        return _Staged(
            program=staging.program(connection, container, inspected, elf=way.elf),
            container=replace(facts, id="", name=wish.image, state="created"),
            user=staging.user(connection, container, inspected),
            in_image=staging.find(connection, container, inspected, tool.binary) is not None,
            image_id=str(image.get("Id", "")),
        )


@contextlib.contextmanager
def _unstarted(connection: Engine, wish: Wish) -> Iterator[str]:
    """The container as it would be without a tool, to look into."""
    entrypoint = wish.options.entrypoint
    name = f"debugrun-look-{os.urandom(5).hex()}"
    made = Making(
        image=wish.image,
        options=replace(wish.options, publish=(), name=name),
        entrypoint=None if entrypoint is None else (entrypoint,),
        command=wish.command,
        labels=ownership.marked(kinds.LOOK, name, {LABEL_TOOL: wish.tool}),
    )
    with ownership.creating(connection, name, made.labels):
        container = create(connection, made)
    try:
        yield container
    finally:
        connection.remove(container, force=True)


def _base(staged: _Staged) -> Option:
    """How the container would run without a tool, as an option to widen."""
    return Option(
        placement=Placement.RUN,
        grant=Grant.NONE,
        user=staged.user,
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_add=tuple(sorted(staged.container.capabilities or ())),
        no_new_privileges=False,
        image=staged.container.image,
    )


def _facts(staged: _Staged, engine: EngineFacts, host: HostFacts) -> Facts:
    """The program that is to be, as a process."""
    uid, gid = (int(number) for number in staged.user.split(":"))
    held = staged.container.capabilities or () if uid == 0 else ()
    process = ProcessFacts(
        pid=1,
        comm=PurePosixPath(staged.program.argv[0]).name[:15],
        uids=(uid,) * 4,
        gids=(gid,) * 4,
        permitted=held,
        dumpable=True,
    )
    return Facts(engine=engine, host=host, container=staged.container, process=process)


def _profile(option: Option, decided: Decided) -> str | None:
    return profile_json(option, decided.plan.facts)


def _made(connection: Engine, wish: Wish, decided: Decided, undo: contextlib.ExitStack) -> tuple[str, str]:
    """(id, name) of the container, its tools mounted and whole; `undo` removes it."""
    name = wish.options.name or f"debugrun-{wish.tool}-{os.urandom(5).hex()}"
    if not decided.under.mounts:
        return _container(connection, wish, decided, name, undo), name
    image_id = str(connection.inspect_image(wish.tool_image or TOOLBOX)["Id"])
    if not volumes.exists(connection, volumes.name_of(image_id)):
        print(f"debugrun: copying {decided.home} into volume {decided.source.volume}, once", file=sys.stderr)
        volumes.fill(connection, image_id)
    container = _container(connection, wish, decided, name, undo)
    if not volumes.is_complete(connection, container, launch.MOUNT):
        connection.remove(container, force=True)
        volumes.renew(connection, image_id)
        container = _container(connection, wish, decided, name, undo)
    return container, name


def _discard(connection: Engine, container: str) -> None:
    with contextlib.suppress(DebugrunError):
        connection.remove(container, force=True)


def _container(connection: Engine, wish: Wish, decided: Decided, name: str, undo: contextlib.ExitStack) -> str:
    option, under = decided.plan.option, decided.under
    assert option is not None  # noqa: S101 - refused before
    kind = kinds.PROGRAM if wish.options.remove else kinds.LASTING
    made = Making(
        image=wish.image,
        options=replace(wish.options, name=name),
        entrypoint=under.entrypoint,
        command=under.command,
        labels=ownership.marked(kind, name, {LABEL_TOOL: wish.tool}),
        mounts=under.mounts,
        cap_add=() if option.privileged else launch.added(option, decided.base),
        security_opt=option.security_opt(_profile(option, decided)),
        privileged=option.privileged,
        tty=decided.terminal,
        attached=True,
    )
    with ownership.creating(connection, name, made.labels):
        container = create(connection, made)
    undo.callback(_discard, connection, container)
    return container
