"""Makes the place that an option describes, and lets go of it so that the target runs on.

A sidecar is a held container: its main process is the lease (data/lease.sh), the tool is an exec in it, or, where it
takes no input, a child of the lease. When the lease ends, the container does, and the engine removes it. `here`, the
lease is a second exec.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import FrameType

from debugrun.attach import lease
from debugrun.attach.child import Child
from debugrun.attach.hold_signals import undisturbed
from debugrun.attach.lease import Lease
from debugrun.attach.place import Place
from debugrun.core.grants import Grant, Option, Placement
from debugrun.core.know import kinds
from debugrun.core.know.facts import ContainerFacts
from debugrun.core.know.inspection import removes_running
from debugrun.core.know.kinds import LABEL_SESSION, LABEL_TARGET, LABEL_TOOL
from debugrun.core.know.typed import ROOT_ENVIRONMENT
from debugrun.core.rules import share
from debugrun.engine import ownership
from debugrun.engine.engine import Engine
from debugrun.engine.sidecar import Sidecar
from debugrun.errors import DebugrunError, EngineError
from debugrun.observe import hostproc, profiles

# gdb on a large program takes one or two GiB for symbols. The limit protects the host from more; it is wide because
# a debugger that is killed for memory leaves its breakpoints in the target.
MEMORY = 4 << 30
PIDS = 512  # gdb starts a thread per processor

# runc, crun and the kernel on a limit that they can't set.
NO_CPU_LIMIT = re.compile(r"cfs_(quota|period)|cpu\.max|controller [`'\"]?cpu|CPU CFS")

READY = 10.0  # seconds that a shell in the target has to start
ENDED = 5.0  # seconds for a lease to end with its tool
STOP_TIMEOUT = 60  # seconds that `docker stop` gives the sidecar before KILL


class Ended(SystemExit):
    """TERM or HUP came; `code` is 128 plus its number."""


@contextlib.contextmanager
def place(  # noqa: PLR0913 - what is given, to whom, by whom and for what
    engine: Engine,
    option: Option,
    target: ContainerFacts,
    *,
    session: str,
    tool: str,
    breakpoints: bool,
    stop_signal: str = "TERM",
    process: int | None = None,
    expected: str = "",
    mender: bool = False,
    profile_json: str | None = None,
    only: Sequence[str] = (),
    toolbox: bool = False,
    hidden: Sequence[str] = (),
) -> Iterator[Place]:
    """The place of `option`, for any number of tools one after the other; nothing of it stays behind.

    A sidecar of the `toolbox` can start with `only`, the argv of its only tool, which takes no input. One that has more
    than the target does nothing where the kernel lets the target get into it, and does without the files `hidden`.
    `breakpoints` says that the tool writes into the target's text, so that it must not be killed; `stop_signal` is what
    makes it detach. `process` is the PID that it attaches to by ptrace(2), if it does; `mender`: the image holds a
    Python for its sake. Nothing is started where `expected`, as `ProcessFacts.identity`, has another one's PID by now.
    `profile_json` is the sidecar's seccomp profile. TERM and HUP raise Ended inside, once. Raises DebugrunError when
    the engine refuses a step.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(ending())
        command = functools.partial(lease.command, stop_signal=stop_signal, breakpoints=breakpoints, process=process)
        if option.placement is Placement.HERE:
            shell = target.shell
            script = command(shell=shell) if shell else ()
            made = _here(engine, option, target, script, stack)
        else:
            # By the connection, before the start: whoever could read it, as all can an argument, could forge the end.
            mark = f"debugrun-{os.urandom(16).hex()}:" if only else ""
            closed = toolbox and option.grant is not Grant.NONE
            script = command(mender=mender, closed=closed, expected=expected, tool=only)
            labels = {LABEL_SESSION: session, LABEL_TOOL: tool}
            local = hostproc.is_local(target.pid, target.id, str(engine.version().get("KernelVersion", "")))
            with profiles.handed_over(engine, profile_json, local=local) as given:

                def described(processors: float) -> Sidecar:
                    sidecar = replace(
                        _described(option, target, script, labels, given),
                        processors=processors,
                        auto_remove=_removed_by_engine(engine, breakpoints=breakpoints),
                    )
                    if not toolbox:
                        return sidecar
                    environment = ROOT_ENVIRONMENT if option.user == "0:0" else {}
                    return replace(sidecar, hidden=hidden, environment=environment)

                made = _limited(engine, described, target, mark, stack)
            if only and made.lease is not None:
                made.first = made.running = Child(engine, made.lease, mark)
        made.expected = expected
        stack.callback(made.leave)
        yield made


def _described(
    option: Option,
    target: ContainerFacts,
    script: tuple[str, ...],
    labels: dict[str, str],
    profile: str | None,
) -> Sidecar:
    """The sidecar of an option; `profile` as the API takes it."""
    if option.image is None:
        raise EngineError(
            "no-toolbox",
            "the engine has no image for the sidecar",
            "debugrun toolbox build, or --image with another one",
        )
    name = f"debugrun-{labels[LABEL_TOOL]}-{os.urandom(5).hex()}"
    return Sidecar(
        name=name,
        target=target.id,
        image=option.image,
        command=script,
        user=option.user,
        labels=ownership.marked(kinds.SIDECAR, name, {**labels, LABEL_TARGET: target.id}),
        cap_add=option.cap_add,
        cap_drop=option.cap_drop,
        security_opt=option.security_opt(profile),
        privileged=option.privileged,
        network=option.network,
        pid_namespace=option.pid_namespace,
        mounts=option.mounts,
        memory=MEMORY,
        pids=PIDS,
        stop_timeout=STOP_TIMEOUT,
        userns_mode=target.userns_mode,
    )


def _limited(
    engine: Engine,
    described: Callable[[float], Sidecar],
    target: ContainerFacts,
    mark: str,
    stack: contextlib.ExitStack,
) -> Place:
    """The sidecar with its limit on processor time; without one, and with a line that says so, where none can be set.

    Some engines only find out at the start: rootless Podman without the cpu controller, and one that is itself in a
    cgroup of version 1 with less time than that (kernel/sched/core.c tg_cfs_schedulable_down).
    """
    limit = share.processors(engine.processors)
    try:
        return _sidecar(engine, described(limit), target, mark, stack)
    except EngineError as error:
        if not limit or NO_CPU_LIMIT.search(error.message) is None:
            raise
        print("debugrun: no limit on the sidecar's processor time: the engine can't set one here", file=sys.stderr)
    return _sidecar(engine, described(0.0), target, mark, stack)


def _sidecar(engine: Engine, sidecar: Sidecar, target: ContainerFacts, mark: str, stack: contextlib.ExitStack) -> Place:
    """Create, attach, start. Its input is attached before the start, so that there is no moment without a lease."""
    undo = contextlib.ExitStack()
    try:
        with ownership.creating(engine, sidecar.name, sidecar.labels, holding=undisturbed):
            container = engine.create_sidecar(sidecar)
            undo.callback(_discard, engine, container)
        if not sidecar.auto_remove:
            stack.callback(_remove_ended, engine, container)
        stream = engine.attach(container)
        undo.callback(stream.close)
        if mark:
            stream.send_all(f"{mark}\n".encode())
        engine.start(container)
        held = stack.enter_context(contextlib.closing(Lease(stream)))
    except BaseException:
        with undisturbed():  # a closed terminal, say, after the Ctrl-C that brought us here
            undo.close()
        raise
    return Place(engine=engine, container=container, target=target, user=sidecar.user, lease=held, privileged=False)


def _discard(engine: Engine, container: str) -> None:
    """Remove a sidecar that has not started.

    Never by force: the engine may have started it while an interrupt kept us from hearing of that, with its tool. Its
    input has been closed then, and the lease ends it.
    """
    with undisturbed(), contextlib.suppress(DebugrunError):
        engine.remove(container)


def _removed_by_engine(engine: Engine, *, breakpoints: bool) -> bool:
    """Whether a sidecar may be left to the engine's own removal: not where that could come while a tool writes."""
    return not (breakpoints and removes_running(engine.version()) and engine.info().get("LiveRestoreEnabled") is True)


def _remove_ended(engine: Engine, container: str) -> None:
    """Remove a sidecar that the engine does not; one that takes longer to end is left to `debugrun gc`."""
    deadline = time.monotonic() + ENDED
    while time.monotonic() < deadline:
        with contextlib.suppress(DebugrunError):
            state = engine.inspect_container(container).get("State")
            if isinstance(state, dict) and state.get("Running") is not True:
                break
        time.sleep(0.05)
    _discard(engine, container)


def _here(
    engine: Engine, option: Option, target: ContainerFacts, script: tuple[str, ...], stack: contextlib.ExitStack
) -> Place:
    """The lease as an exec of its own, ready before any tool; none when the container has no shell."""
    held: Lease | None = None
    if script:
        exec_id = engine.exec_create(target.id, script, user=option.user, privileged=option.privileged)
        held = stack.enter_context(contextlib.closing(Lease(engine.exec_start(exec_id))))
        if not held.await_ready(READY):
            raise EngineError(
                "no-lease",
                f"{target.shell} in {target.name} did not start within {READY:.0f} s",
                "give it a sidecar: --via sidecar",
            )
    return Place(
        engine=engine,
        container=target.id,
        target=target,
        user=option.user,
        lease=held,
        privileged=option.privileged,
        shell=target.shell or "sh",
    )


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """TERM and HUP become an exception, so that everything is undone; a second one ends us as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def end(number: int, _: FrameType | None) -> None:
        restore()
        raise Ended(128 + number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, end)
    try:
        yield
    finally:
        restore()
