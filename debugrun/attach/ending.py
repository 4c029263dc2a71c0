"""How a tool ended: by itself, or because something that it stands on went away."""

from __future__ import annotations

import os
import signal
import time

from debugrun.attach.lease import SILENCE
from debugrun.attach.place import Place, Running
from debugrun.errors import DebugrunError, EngineError, TargetError

SETTLES = 2.0  # seconds in which the engine notices that a container ended, after its processes have
ENDS_TOGETHER = 0.5  # seconds between two ends of which one caused the other, as the engine tells them
UNKNOWN = -1  # the PID of a container that runs
KILLED = 128 + signal.SIGKILL
STREAM_BROKE = 126  # what the engine says of an exec whose streams broke, too: moby daemon/exec.go ContainerExecStart


def write(fd: int, data: bytes) -> None:
    """Write it all. Raises BrokenPipeError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def ending(place: Place, running: Running, tool: str) -> int:
    """The exit status of a tool that has ended by itself; raises DebugrunError with the cause when it has not."""
    status = running.status()
    if error := _cut_short(place, tool):
        raise error
    if status is not None and place.first is not None:
        return status  # as its parent told it, whatever the engine has made of the end
    if status == STREAM_BROKE and place.lease is not None and place.lease.over:
        raise lost(place, tool, "its streams ended")
    if status is None or status == KILLED:
        alive = _outlived(place, tool)
        if status is None or not alive:
            raise _killed(place, tool, ended=not alive)
    return status


def _outlived(place: Place, tool: str) -> bool:
    """Whether the sidecar has outlived a tool that ended oddly; raises TargetError where the target ended with it."""
    deadline = time.monotonic() + SETTLES
    alive = True
    while (now := time.monotonic()) < deadline:
        # The target first: with its PID 1 the sidecar's processes end, and the engine may notice that before.
        pid = _runs(place, place.target.id, tool)
        if pid not in {0, UNKNOWN, place.target.pid or pid}:
            message = f"container {place.target.name} was restarted while {tool} was at it"
            raise TargetError("target-restarted", message, f"docker logs {place.target.name}; start again")
        if not pid:
            message = f"container {place.target.name} ended while {tool} was at it"
            raise TargetError("target-ended", message, f"docker logs {place.target.name}")
        if alive and not _runs(place, place.container, tool):
            alive = False
            deadline = min(deadline, now + ENDS_TOGETHER)
        time.sleep(0.1)
    return alive


def waiting(place: Place, tool: str) -> str:
    """What to tell of a target that the tool can't get hold of, once; "" when there is nothing."""
    if place.lease is None or not place.lease.found_waiting():
        return ""
    return (
        f"debugrun: {tool} waits: a thread of {place.target.name} is in state D, waiting in the kernel (vfork, a dead "
        "NFS), where nothing can stop it; Ctrl-C twice gives up\n"
    )


def _cut_short(place: Place, tool: str) -> DebugrunError | None:
    """What the lease has said that means the end of the tool, or that it never began."""
    said = place.lease.said() if place.lease is not None else frozenset()
    name, hint = place.target.name, "the same command again; the target runs on"
    if "gone" in said:
        message = f"{tool} was told to let go of {name}: the client went silent for {SILENCE} s"
        return EngineError("lease-expired", message, hint)
    if "stopped" in said:
        message = f"somebody stopped the sidecar; {tool} was told to let go of {name}"
        return EngineError("sidecar-stopped", message, hint)
    if "other" in said:
        return place.replaced()
    return place.opened() if "open" in said else None


def _killed(place: Place, tool: str, *, ended: bool) -> EngineError:
    """The sidecar was killed; where the engine says that it has `ended`, a tool by exec may run on all the same."""
    if ended and place.first is None:
        place.clear()
    message = f"the sidecar was killed while {tool} was at {place.target.name}"
    return EngineError(
        "sidecar-killed", message, f"docker inspect {place.target.name}, which says whether it still runs"
    )


def lost(place: Place, tool: str, why: object) -> EngineError:
    """The connection broke: what that means for the target."""
    then = (
        "its lease ends it, if the sidecar runs on"
        if place.leased
        else "it runs on: the container has no shell to hold a lease"
    )
    message = f"{place.engine.endpoint} broke the connection to {tool} at {place.target.name} ({why}); {then}"
    return EngineError("engine-lost", message, "docker ps; debugrun gc")


def _runs(place: Place, container: str, tool: str) -> int:
    """The PID by the host of a container's first process, 0: it has ended. Raises EngineError: nobody can say."""
    try:
        state = place.engine.inspect_container(container).get("State")
    except TargetError:
        return 0
    except DebugrunError as error:
        raise lost(place, tool, "it does not answer any more") from error
    if not isinstance(state, dict) or state.get("Running") is not True:
        return 0
    pid = state.get("Pid")
    return pid if isinstance(pid, int) and pid else UNKNOWN
