"""The engine and the host that it runs on, without any container: what both say of themselves."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from debugrun.core.ask.request import TOOLBOX
from debugrun.core.decide import doctor
from debugrun.core.decide.doctor import Findings
from debugrun.core.know import inspection, procfs
from debugrun.core.know.facts import EngineFacts, HostFacts
from debugrun.core.know.procfs import Reading
from debugrun.engine import engine as engines
from debugrun.errors import EngineError
from debugrun.observe import hostproc, profiles

_DAEMONS = frozenset({"dockerd", "podman"})
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def examine(connection: engines.Engine) -> Findings:
    """What the engine says, and what this machine's /proc says where the engine runs here."""
    facts = inspection.engine_facts(connection.version(), connection.info())
    found = Findings(
        endpoint=str(connection.endpoint),
        engine=facts,
        host=HostFacts(),
        toolbox=_toolbox(connection),
        processors=connection.processors,
    )
    daemon = _daemon(connection.endpoint.url)
    if daemon is not None or _sees_containers(connection, facts.kernel):
        found = _locally(found, daemon)
        found = replace(found, engine=profiles.of_engine(connection, found.engine, daemon.status.pid if daemon else 0))
    return found


def _toolbox(connection: engines.Engine) -> str | None:
    try:
        connection.inspect_image(TOOLBOX)
    except EngineError as error:
        if error.code == "no-such-image":
            return None
        raise
    return TOOLBOX


def _daemon(url: str) -> Reading | None:
    """The engine itself, where it is the process of our PID namespace that listens on its socket: unix(7).

    Not whoever listens: behind a socket of ours may be an ssh client, and a machine with the same kernel.
    """
    scheme, _, path = url.partition("://")
    if not scheme.endswith("unix"):
        return None
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        probe.connect(path)
        pid, _, _ = _CREDENTIALS.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        reading = hostproc.read(int(pid)) if pid else None
        return reading if reading is not None and reading.status.comm in _DAEMONS else None
    return None


def _sees_containers(connection: engines.Engine, kernel: str) -> bool:
    """Whether our own /proc shows a container of the engine: proof as well, where a service manager listens for it."""
    for row in connection.list_containers()[:1]:
        inspected = connection.inspect_container(str(row.get("Id", "")))
        state = inspected.get("State")
        pid = state.get("Pid") if isinstance(state, Mapping) else None
        return isinstance(pid, int) and hostproc.is_local(pid, str(inspected.get("Id", "")), kernel)
    return False


def _locally(found: Findings, daemon: Reading | None) -> Findings:
    """The findings with what this machine's own /proc and /sys say."""
    facts: EngineFacts = replace(found.engine, local=True)
    if daemon is not None:
        facts = replace(facts, capabilities=procfs.names(daemon.status.bounding))
    return replace(
        found,
        engine=facts,
        host=hostproc.host_facts(0 if daemon is None else daemon.status.pid),
        daemon=None if daemon is None else f"{daemon.status.comm} (PID {daemon.status.pid})",
        config=_kernel_config(facts.kernel),
        lsms=_lsms(),
        emulators=_emulators(),
        counters=_counters(),
    )


def _kernel_config(release: str) -> Mapping[str, str] | None:
    """The options that matter, by name; None when the kernel's configuration is nowhere to be read."""
    for path, unpack in (("/proc/config.gz", gzip.decompress), (f"/boot/config-{release}", bytes)):
        with contextlib.suppress(OSError):
            text = unpack(Path(path).read_bytes()).decode(errors="replace")
            return parse_config(text)
    return None


def parse_config(text: str) -> Mapping[str, str]:
    """The options of `doctor.KERNEL_OPTIONS` in a kernel's .config; one that is not set is "n"."""
    on = dict(re.findall(r"(?m)^(CONFIG_\w+)=([ym])$", text))
    return {key: on.get(key, "n") for key in doctor.KERNEL_OPTIONS}


def _lsms() -> tuple[str, ...] | None:
    with contextlib.suppress(OSError):
        return tuple(Path("/sys/kernel/security/lsm").read_text(encoding="ascii").strip().split(","))
    return None


def _emulators() -> tuple[str, ...] | None:
    """The names of the interpreters registered for foreign programs; None when that can't be read."""
    with contextlib.suppress(OSError):
        names = sorted(path.name for path in Path("/proc/sys/fs/binfmt_misc").iterdir())
        return tuple(name for name in names if name.startswith(("qemu-", "rosetta", "box64")))
    return None


def _counters() -> bool:
    """Whether the processor's own event counters are there: a virtual machine often has none."""
    devices = Path("/sys/bus/event_source/devices")
    return any((devices / name / "events").is_dir() for name in ("cpu", "cpu_core", "armv8_pmuv3_0"))
