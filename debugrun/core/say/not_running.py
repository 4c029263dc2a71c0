"""Why nothing can be put on a container as it is, how it came to that, and the command that helps. Pure."""

from __future__ import annotations

from debugrun.core.know import json_access
from debugrun.core.know.json_access import Json
from debugrun.core.know.kinds import LABEL_RECORD as LABEL
from debugrun.errors import TargetError

_PARKED, _LOCK = ".debugrun-original", ".debugrun-recreating"  # core.rebuild.transaction.Record
# How a container ends that somebody stopped: docker stop sends TERM, then KILL; Ctrl-C sends INT.
_STOPPED = {0, 128 + 2, 128 + 9, 128 + 15}
# What ends programs, by number: signal(7), the same on x86 and ARM.
_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip


def refusal(inspected: Json) -> TargetError | None:
    """What to say of a container that does not run, or not steadily; None: it does."""
    state = json_access.mapping(inspected, "State")
    name = json_access.text(inspected, "Name").removeprefix("/")
    status = json_access.text(state, "Status")
    if status == "paused" or state.get("Paused") is True:
        message = f"{name} is paused: a debugger would wait for its frozen processes without end"
        return TargetError("container-paused", message, f"docker unpause {name}")
    if status == "restarting":
        message = f"{name} is restarting: its process ends again and again, the last time {ended(inspected)}"
        return TargetError("container-restarting", message, f"debugrun run --like {name} gdb")
    if status == "running" and state.get("Pid"):
        return None
    return _half_made(inspected, name) or _ended(inspected, name, status)


def _half_made(inspected: Json, name: str) -> TargetError | None:
    """One of the two containers of a recreate: starting it by hand would be in the way of that."""
    labels = json_access.mapping(json_access.mapping(inspected, "Config"), "Labels")
    if not (name.endswith((_PARKED, _LOCK)) or LABEL in labels):
        return None
    whole = name.removesuffix(_PARKED).removesuffix(_LOCK)
    message = f"{name} is half of a recreate of {whole}, which is under way, or was interrupted"
    return TargetError("being-recreated", message, f"wait for it, or `debugrun restore {whole}`")


def _ended(inspected: Json, name: str, status: str) -> TargetError:
    state = json_access.mapping(inspected, "State")
    code = state.get("ExitCode")
    if status in {"created", "configured", "initialized"}:
        return TargetError("container-not-running", f"{name} was never started", f"docker start {name}")
    if status in {"exited", "stopped"} and (code not in _STOPPED or state.get("OOMKilled") is True):
        message = f"{name} does not run: it ended {ended(inspected)}"
        return TargetError("container-not-running", message, f"debugrun run --like {name} gdb")
    how = f"ended {ended(inspected)}" if status in {"exited", "stopped"} else f"is {status}"
    message = f"{name} does not run: it {how}"
    return TargetError("container-not-running", message, f"docker start {name}")


def ended(inspected: Json) -> str:
    """How its main process ended: "with exit status 3", "of SIGSEGV (exit status 139)", for memory with its limit."""
    state = json_access.mapping(inspected, "State")
    code = state.get("ExitCode")
    if not isinstance(code, int):
        return "in a way that the engine does not tell"
    if state.get("OOMKilled") is True:
        limit = json_access.mapping(inspected, "HostConfig").get("Memory")
        most = f"its limit is {limit / (1 << 20):.0f} MiB" if isinstance(limit, int) and limit else "it has no limit"
        return f"because it ran out of memory: {most} (exit status {code})"
    error = json_access.text(state, "Error")
    if error:
        return f"with exit status {code}: {error}"
    if (name := _SIGNALS.get(code - 128)) is not None:
        return f"of {name} (exit status {code})"
    return f"with exit status {code}"
