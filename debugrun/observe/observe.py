"""Asks the engine and /proc for the facts that a decision needs, with the fewest round trips.

Requests that do not need each other's answers are made at the same time: first all that the command line names, then
the container's image; for a local engine our own /proc tells the rest. For any other one a scout container does, and
is made in the second round and started in the third.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from debugrun.core.ask.selection import Row, Wanted, is_supervisor, known
from debugrun.core.know import inspection
from debugrun.core.know.facts import ContainerFacts, Facts, ImageFacts
from debugrun.core.know.json_access import Json
from debugrun.core.know.procfs import Reading
from debugrun.core.rules import sandbox
from debugrun.core.rules.sandbox import Sandbox
from debugrun.core.say import not_running
from debugrun.errors import EngineError, TargetError
from debugrun.observe import hostproc, named, profiles, programs
from debugrun.observe.seen import Seen, by_survey, cross_checked, observed_process, tell_of_workers

if TYPE_CHECKING:
    from debugrun.engine.engine import Engine

# Of the toolbox image, comma separated: its programs, and where those lie that carry file capabilities.
BINARIES_LABEL, COPIES_LABEL = "debugrun.binaries", "debugrun.copies"


BEGINS = 2.0  # seconds for a container's program to take the place of the runtime's: it execs

MAIN = Wanted()  # nothing said: the main process


def observe(  # noqa: PLR0913 - what is asked, and what with
    engine: Engine,
    container_ref: str,
    wanted: Wanted = MAIN,
    *,
    binaries: tuple[str, ...] = (),
    toolbox_ref: str | None = None,
    note: Callable[[Row, tuple[Row, ...]], None] | None = None,
) -> Facts:
    """The facts about one process of a container.

    `binaries` are programs to look for in the container's file system; `toolbox_ref` is the image that a scout and
    a sidecar would use; `note` is told of a main process that only supervises, and of its workers. Raises TargetError
    (AmbiguousError with the choice): no such container or process, or one that cannot be debugged as it is;
    EngineError: the engine does not answer.
    """
    with ThreadPoolExecutor(4) as pool:
        inspected, info, toolbox = _ask(engine, container_ref, toolbox_ref, pool)
        if (refused := not_running.refusal(inspected)) is not None:
            raise refused
        engine_facts = inspection.engine_facts(engine.version(), info)
        container = inspection.container_facts(inspected, engine_facts)
        sandboxed = sandbox.of(container)
        local = hostproc.is_local(container.pid, container.id, engine_facts.kernel)
        image = pool.submit(_maybe_image, engine, container.image_id)
        found = pool.submit(programs.find, engine, container, inspected, binaries, local=local and not sandboxed)
        seen: Seen | Sandbox
        if sandboxed is not None:
            seen = sandboxed
        elif local:
            seen = _locally(container, wanted)
            engine_facts = replace(engine_facts, capabilities=hostproc.bounding_of_engine(seen.main))
            engine_facts = profiles.of_engine(engine, engine_facts, seen.main.status.ppid)
        else:
            seen = _by_scout(engine, container, wanted, _images(toolbox_ref, toolbox))
        container = inspection.container_facts(inspected, engine_facts, image.result())
        if local and isinstance(seen, Seen):
            container = profiles.of_container(container, inspected, seen.main.status.ppid)
    if info.get("MemoryLimit") is False:  # it keeps what was asked for, and enforces nothing: rootless on cgroup v1
        container = replace(container, memory_limit=0)
    engine_facts = replace(engine_facts, local=local)
    if isinstance(seen, Sandbox):
        process = sandbox.process_facts(container, str(inspected.get("Path", "")), wanted)
        host, container = sandbox.host_facts(seen), sandbox.container_facts(seen, container)
    else:
        process, host = observed_process(engine, container, wanted, seen), seen.host
        if note is not None and wanted == MAIN:
            tell_of_workers(container, seen, process.pid, note)
        container = cross_checked(container, seen)
    images = _images(toolbox_ref, toolbox)
    if binaries:
        held = found.result()
        container = replace(container, tools=held.tools, shell=held.shell)
        images = replace(images, target_holds_tool=held.in_image)
    return Facts(engine=engine_facts, host=host, container=container, process=process, images=images)


def _ask(engine: Engine, ref: str, toolbox_ref: str | None, pool: ThreadPoolExecutor) -> tuple[Json, Json, Json | None]:
    """(container, info, the toolbox image), and the engine's version besides, at the same time."""
    if engine.endpoint.login:
        engine.version()
    version, info = pool.submit(engine.version), pool.submit(engine.info)
    toolbox = pool.submit(_maybe_image, engine, toolbox_ref) if toolbox_ref else None
    try:
        inspected = named.container(engine, ref)
    except TargetError as error:
        raise _with_near_names(engine, ref, error) from error
    version.result()
    return inspected, info.result(), toolbox.result() if toolbox else None


def _maybe_image(engine: Engine, ref: str) -> Json | None:
    """An image, or None when the engine has it no more."""
    try:
        return engine.inspect_image(ref)
    except EngineError as error:
        if error.code == "no-such-image":
            return None
        raise


def _with_near_names(engine: Engine, ref: str, error: TargetError) -> TargetError:
    """The same error, with the names that look like what was typed."""
    import difflib  # noqa: PLC0415 - only to help

    if error.code != "no-such-container":
        return error
    names = engine.container_names(everything=True)
    if f"{ref}.debugrun-original" in names:  # core.rebuild.transaction: it has no name while the two are exchanged
        message = f"{ref} is being recreated, or that was interrupted"
        return TargetError("being-recreated", message, f"wait for it, or `debugrun restore {ref}`")
    near = difflib.get_close_matches(ref, names, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else error.hint
    return TargetError(error.code, error.message, hint)


def _begun(pid: int) -> Reading | None:
    """A container's main process once it is itself: what the engine has just started is runc for a moment."""
    deadline = time.monotonic() + BEGINS
    while (main := hostproc.read(pid)) is not None and main.status.comm.startswith("runc:["):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return main


def _locally(container: ContainerFacts, wanted: Wanted) -> Seen:
    main = _begun(container.pid)
    if main is None:
        raise TargetError("gone", f"{container.name} has just ended", f"docker logs --tail 20 {container.name}")
    depth = len(main.status.ns_pids) - 1
    alone = wanted == MAIN or wanted.pid == main.status.ns_pids[depth] or wanted.host_pid == main.status.pid
    first = main.status.comm in known("inits") or is_supervisor(main.status.comm) or main.shell_command
    readings = [main] if alone and (wanted != MAIN or not first) else hostproc.members(main, container.id)
    return Seen(
        readings=readings,
        main=main,
        main_known=True,
        depth=depth,
        host=hostproc.host_facts(main.status.ppid),
        local=True,
        dumpable=hostproc.dumpable,
        thread_of=lambda tid: hostproc.process_of_thread(readings, tid, depth),
    )


def _by_scout(engine: Engine, container: ContainerFacts, wanted: Wanted, images: ImageFacts) -> Seen:
    if images.toolbox is None:
        message = "this engine's /proc can't be read from here, and it has no image to send a scout from"
        raise EngineError("no-scout", message, "debugrun toolbox build")
    from debugrun.observe import scout  # noqa: PLC0415 - for engines elsewhere

    peer = scout.peer(container)
    shared = container.pid_mode != ""
    pids = (1, wanted.pid) if wanted.pid is not None and not shared else ()
    words = [*(["-c"] if wanted.comm is not None else []), *map(str, dict.fromkeys(pids))]
    survey = scout.survey(engine, container, peer, images, words)
    return by_survey(survey, peer, container, wanted)


def _images(toolbox_ref: str | None, toolbox: Json | None) -> ImageFacts:
    if toolbox is None:
        return ImageFacts()
    listed, copies = (inspection.labels(toolbox).get(label, "") for label in (BINARIES_LABEL, COPIES_LABEL))
    return ImageFacts(
        toolbox=toolbox_ref,
        toolbox_binaries=tuple(name for name in listed.split(",") if name),
        toolbox_copies=tuple(path for path in copies.split(",") if path),
    )
