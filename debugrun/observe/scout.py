"""Scouts: short-lived containers in the target's PID namespace that read /proc there, for a remote engine.

They run a fixed script (data/scout.sh), without network, and are gone when they have spoken. One is nobody, whom the
target can't get at; a second one sees what only the target's own uid can, and counts as the target's word.
"""

from __future__ import annotations

import re
import struct
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from debugrun.core import package_data
from debugrun.core.grants import BROAD_CAPABILITIES
from debugrun.core.know import kinds, procfs
from debugrun.core.know.facts import ContainerFacts, HostFacts, ImageFacts
from debugrun.core.know.kinds import LABEL_SESSION, LABEL_TARGET
from debugrun.core.know.procfs import Reading
from debugrun.engine import ownership
from debugrun.engine.sidecar import Sidecar
from debugrun.errors import EngineError
from debugrun.values import dataclass

if TYPE_CHECKING:
    from debugrun.engine.engine import Engine

_PATIENCE = 30.0  # seconds for a start on a slow host and a few lines of text


class ScoutError(ValueError):
    """What the scout said makes no sense."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a scout saw: processes by PID of the target's namespace, without its own, and the host's settings.

    `readable` holds the PIDs whose exe link it could read; `own` is its own PID.
    """

    readings: tuple[Reading, ...]
    host: HostFacts
    readable: frozenset[int]
    own: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who a scout is: "uid:gid" and its capabilities."""

    user: str
    capabilities: tuple[str, ...] = ()


def dumpable(survey: Survey, reading: Reading, peer: Identity | None) -> bool | None:
    """Whether a process is dumpable: by the kernel's word to nobody, else by what the peer could open."""
    by_owner = procfs.dumpable_by_owner(reading)
    if by_owner is not None or peer is None:
        return by_owner
    uid, gid = (int(part) for part in peer.user.split(":"))
    return procfs.dumpable_by_access(
        reading,
        readable=reading.status.pid in survey.readable,
        ids=(uid, gid),
        effective=procfs.mask(peer.capabilities),
    )


def by_target(survey: Survey, reading: Reading, peer: Identity | None) -> tuple[str, ...]:
    """What of it the peer told, a process of the target's own uid: where that one is got at, the target told it."""
    told = []
    if procfs.dumpable_by_owner(reading) is None and dumpable(survey, reading, peer) is not None:
        told.append("dumpable")
    return (*told, "exe") if reading.exe is not None else tuple(told)


def nobody(container: ContainerFacts) -> Identity:
    """Who tells of the host and of nearly all else: nobody, with no capability, and never the target's own user."""
    return Identity(user="65533:65533" if container.user.split(":")[0] in {"65534", "nobody"} else "65534:65534")


def peer(container: ContainerFacts) -> Identity | None:
    """Who tells what nobody can't see: exe links, and root processes that look the same dumpable or not.

    The target's own ids where they are known, with no more than its own capabilities (`procfs.dumpable_by_access`).
    One that would take a capability that opens the machine, or SYS_PTRACE, is not sent.
    """
    if container.user in {"", "0", "root", "0:0", "root:root"}:
        held = set(container.capabilities or ())
        if container.capabilities is None or held & (BROAD_CAPABILITIES | {"SYS_PTRACE"}):
            return None
        return Identity(user="0:0", capabilities=container.capabilities)
    return Identity(user=container.user) if re.fullmatch(r"\d+:\d+", container.user) else None


def survey(
    engine: Engine, container: ContainerFacts, other: Identity | None, images: ImageFacts, words: Sequence[str]
) -> Survey:
    """Send the scouts at the same time; `words` are arguments of data/scout.sh. Raises EngineError."""
    with ThreadPoolExecutor(2) as pool:
        second = pool.submit(_one, engine, container, other, images, words) if other else None
        first = _one(engine, container, nobody(container), images, words)
        seen = second.result() if second else first
    exes = {each.status.pid: each.exe for each in seen.readings}
    ours = {first.own, seen.own}
    readings = (each for each in first.readings if not {each.status.pid, each.status.ppid} & ours)
    return replace(
        first,
        readings=tuple(replace(each, exe=exes.get(each.status.pid)) for each in readings),
        readable=seen.readable,
    )


def _one(engine: Engine, container: ContainerFacts, who: Identity, images: ImageFacts, words: Sequence[str]) -> Survey:
    image = str(images.toolbox)
    script = package_data.text("scout.sh")
    session = uuid.uuid4().hex[:12]
    name = f"debugrun-scout-{session}"
    label = f"apparmor={container.apparmor}"
    # Not the copies that root's tools are: those change their group, and a link in /proc opens to the same group only.
    # So a target that may read all files can get into its peer: what that one tells counts as the target's word.
    options = ("no-new-privileges",)
    sidecar = Sidecar(
        name=name,
        target=container.id,
        image=image,
        command=("sh", "-c", script, "scout", *words),
        user=who.user,
        labels=ownership.marked(kinds.SCOUT, name, {LABEL_SESSION: session, LABEL_TARGET: container.id}),
        cap_add=who.capabilities,
        cap_drop=("ALL",),
        security_opt=(*options, label) if container.apparmor else options,
        privileged=False,
        network="none",
        memory=64 << 20,
        pids=32,
        stop_timeout=1,
        userns_mode=container.userns_mode,
    )
    try:
        return parse(_output(engine, sidecar))
    except ScoutError as error:
        message = f"the scout container could not read /proc of {container.name}: {error}"
        raise EngineError("scout", message, "an image that holds /bin/sh, and busybox or coreutils") from error


def _output(engine: Engine, sidecar: Sidecar) -> str:
    """Run it to its end; what it wrote to its standard output. It is removed whatever happens."""
    with ownership.creating(engine, sidecar.name, sidecar.labels):
        created = engine.create_sidecar(sidecar)
    try:
        # At the same time: the script waits for its go, so that nothing is said before somebody listens.
        with ThreadPoolExecutor(1) as pool:
            attached = pool.submit(engine.attach, created)
            engine.start(created)
            stream = attached.result()
        stream.send_all(b"\n")
    except BaseException:
        engine.remove(created, force=True)
        raise
    try:
        data = bytearray()
        deadline = time.monotonic() + _PATIENCE
        while stream.wait(deadline - time.monotonic()):
            some = stream.receive()
            if some == b"":
                break
            data += some or b""
    finally:
        stream.close()
    return _standard_output(bytes(data)).decode(errors="replace")


def _standard_output(data: bytes) -> bytes:
    """The stdout part of a multiplexed stream: Engine API, ContainerAttach, "Stream format"."""
    parts = []
    while len(data) >= 8:  # noqa: PLR2004 - the header's length
        kind, size = struct.unpack(">BxxxI", data[:8])
        if kind == 1:
            parts.append(data[8 : 8 + size])
        data = data[8 + size :]
    return b"".join(parts)


def parse(text: str) -> Survey:
    """What the script printed. Raises ScoutError when it was cut off."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            lines = sections.setdefault(line.split(" ")[0], [])
            if " " in line:
                lines.append(line.split(" ", 1)[1])
        else:
            lines.append(line)
    if "@end" not in sections or not sections.get("@self"):
        raise ScoutError("its report is cut off" if text else "it said nothing")
    own, readable = int(sections["@self"][0]), frozenset(int(pid) for pid in " ".join(sections["@readable"]).split())
    exes = _exes(sections["@exes"], readable)
    owners = {int(path.split("/")[0]): (int(uid), int(gid)) for path, uid, gid in map(str.split, sections["@owners"])}
    starts = dict(_start(line) for line in sections.get("@starts", ()))
    cgroups, labels = (_by_pid(sections[name]) for name in ("@cgroups", "@labels"))
    commands = dict(_command(line) for line in sections.get("@commands", ()))
    readings = []
    for part in procfs.split_statuses("\n".join(sections["@status"]) + "\n"):
        try:
            status = procfs.parse_status(part)
        except ValueError:
            continue  # it ended while it was read
        if status.pid != own:
            readings.append(
                Reading(
                    status=status,
                    owner=owners.get(status.pid),
                    cgroup=cgroups.get(status.pid, ""),
                    label=labels.get(status.pid, "").strip("\0\n") or None,
                    exe=exes.get(status.pid),
                    shell_command=str(status.pid) in sections["@shells"],
                    start_time=starts.get(status.pid),
                    words=commands.get(status.pid, (None, ()))[1],
                    cpu=commands.get(status.pid, (None, ()))[0],
                )
            )
    readings.sort(key=lambda reading: reading.status.pid)
    return Survey(readings=tuple(readings), host=_host(sections["@sysctls"]), readable=readable, own=own)


def _command(line: str) -> tuple[int, tuple[float | None, tuple[str, ...]]]:
    """(PID, (seconds of processor time, words of the command line))."""
    pid, ticks, *words = line.split(" ")
    return int(pid), (int(ticks) / procfs.USER_HZ if ticks.isdigit() else None, tuple(each for each in words if each))


def _exes(lines: list[str], readable: frozenset[int]) -> dict[int, str]:
    """Where exe links lead, by PID. A target may run a program whose path has newlines in it: then none at all."""
    matches = (re.fullmatch(r"[`'](\d+)/exe' -> [`'](.*)'", line) for line in lines if " -> " in line)
    found = {int(match[1]): match[2] for match in matches if match}
    return found if found.keys() == readable and len(lines) == len(readable) else {}


def _start(line: str) -> tuple[int, int | None]:
    """PID and start of a line; None where it had ended."""
    pid, _, start = line.partition(" ")
    return int(pid), int(start) if start else None


def _by_pid(lines: list[str]) -> dict[int, str]:
    """What grep printed of several files PID/NAME, each line behind its file's name, by PID."""
    found: dict[int, str] = {}
    for line in lines:
        name, _, rest = line.partition(":")
        pid = name.split("/")[0]
        if pid.isdigit():
            found[int(pid)] = found.get(int(pid), "") + rest + "\n"
    return found


def _host(lines: list[str]) -> HostFacts:
    settings = dict(line.split(":", 1) for line in lines if ":" in line)

    def setting(name: str) -> int | None:
        value = settings.get(f"sys/{name}", "")
        return int(value) if re.fullmatch(r"-?\d+", value) else None

    host = HostFacts(
        yama_ptrace_scope=setting("kernel/yama/ptrace_scope"),
        perf_event_paranoid=setting("kernel/perf_event_paranoid"),
        kptr_restrict=setting("kernel/kptr_restrict"),
        proc_mem_override=procfs.proc_mem_override("\n".join(lines)),
    )
    # No Yama, or not among the LSMs in use: nothing restricts (Documentation/admin-guide/LSM/Yama.rst).
    absent = settings.get("sys/kernel/yama/ptrace_scope") == "absent"
    return replace(host, yama_ptrace_scope=0) if absent else host
