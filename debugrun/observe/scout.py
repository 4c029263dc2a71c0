"""A scout: one short-lived container in the target's PID namespace that reads /proc there, for a remote engine.

It runs a fixed script (data/scout.sh), without network, with the least that sees enough, and is gone when it has
spoken.
"""

from __future__ import annotations

import re
import struct
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from debugrun.core import package_data
from debugrun.core.grants import BROAD_CAPABILITIES
from debugrun.core.know import procfs
from debugrun.core.know.facts import ContainerFacts, HostFacts
from debugrun.core.know.procfs import Reading
from debugrun.errors import EngineError

if TYPE_CHECKING:
    from debugrun.engine.engine import Engine

_PATIENCE = 30.0  # seconds for a start on a slow host and a few lines of text
_NOBODY = "65534:65534"


class ScoutError(ValueError):
    """What the scout said makes no sense."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a scout saw: processes by PID of the target's namespace, without its own, and the host's settings.

    `readable` holds the PIDs whose exe link it could read.
    """

    readings: tuple[Reading, ...]
    host: HostFacts
    readable: frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who the scout is: "uid:gid" and its capabilities."""

    user: str
    capabilities: tuple[str, ...] = ()

    def dumpable(self, survey: Survey, reading: Reading) -> bool | None:
        """Whether a process is dumpable, from what this scout saw of it."""
        by_owner = procfs.dumpable_by_owner(reading)
        if by_owner is not None:
            return by_owner
        uid, gid = (int(part) for part in self.user.split(":"))
        return procfs.dumpable_by_access(
            reading,
            readable=reading.status.pid in survey.readable,
            ids=(uid, gid),
            effective=procfs.mask(self.capabilities),
        )


def identity(container: ContainerFacts) -> Identity:
    """The least that sees enough: nobody, with no capability; the target's own ids where they are known.

    Root processes look the same dumpable or not; a scout with no more than the target's own capabilities can tell
    (`procfs.dumpable_by_access`). One that would take a capability that opens the machine, or SYS_PTRACE, is not
    sent.
    """
    if container.user in {"", "0", "root", "0:0", "root:root"}:
        held = set(container.capabilities or ())
        if container.capabilities is None or held & (BROAD_CAPABILITIES | {"SYS_PTRACE"}):
            return Identity(user=_NOBODY)
        return Identity(user="0:0", capabilities=container.capabilities)
    own = re.fullmatch(r"\d+:\d+", container.user) is not None
    return Identity(user=container.user if own else _NOBODY)


def survey(engine: Engine, container: ContainerFacts, who: Identity, image: str, pids: tuple[int, ...]) -> Survey:
    """Send a scout; `pids` are the container's own, none: all. Raises EngineError."""
    from debugrun.engine.engine import Sidecar  # noqa: PLC0415 - the engine's client: only when there is an engine

    script = package_data.text("scout.sh")
    session = uuid.uuid4().hex[:12]
    label = f"apparmor={container.apparmor}"
    sidecar = Sidecar(
        name=f"debugrun-scout-{session}",
        target=container.id,
        image=image,
        command=("/bin/sh", "-c", script, "scout", *(str(pid) for pid in pids)),
        user=who.user,
        labels={
            "debugrun.session": session,
            "debugrun.target": container.id,
            "debugrun.created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        cap_add=who.capabilities,
        cap_drop=("ALL",),
        security_opt=("no-new-privileges", label) if container.apparmor else ("no-new-privileges",),
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


def _output(engine: Engine, sidecar: object) -> str:
    """Run it to its end; what it wrote to its standard output. It is removed whatever happens."""
    from debugrun.engine.engine import Sidecar  # noqa: PLC0415 - as above

    assert isinstance(sidecar, Sidecar)  # noqa: S101
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
    cgroups, labels = (_by_pid(sections[name]) for name in ("@cgroups", "@labels"))
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
                )
            )
    readings.sort(key=lambda reading: reading.status.pid)
    return Survey(readings=tuple(readings), host=_host(sections["@sysctls"]), readable=readable)


def _exes(lines: list[str], readable: frozenset[int]) -> dict[int, str]:
    """Where exe links lead, by PID. A target may run a program whose path has newlines in it: then none at all."""
    matches = (re.fullmatch(r"[`'](\d+)/exe' -> [`'](.*)'", line) for line in lines if " -> " in line)
    found = {int(match[1]): match[2] for match in matches if match}
    return found if found.keys() == readable and len(lines) == len(readable) else {}


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
        unprivileged_bpf_disabled=setting("kernel/unprivileged_bpf_disabled"),
        kptr_restrict=setting("kernel/kptr_restrict"),
        dmesg_restrict=setting("kernel/dmesg_restrict"),
    )
    # No Yama, or not among the LSMs in use: nothing restricts (Documentation/admin-guide/LSM/Yama.rst).
    absent = settings.get("sys/kernel/yama/ptrace_scope") == "absent"
    return replace(host, yama_ptrace_scope=0) if absent else host
