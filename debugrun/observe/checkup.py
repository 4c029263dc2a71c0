"""`debugrun doctor`: visits the engine and its host, and prints the page. Starts nothing but a scout when asked to."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from debugrun import session
from debugrun.attach.apply import LABEL_SESSION
from debugrun.cli import restore
from debugrun.core.ask.request import Request
from debugrun.core.decide import doctor
from debugrun.core.decide.doctor import Findings
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Ceiling
from debugrun.core.know import inspection, procfs, tool_file
from debugrun.core.know.facts import EngineFacts, HostFacts
from debugrun.core.know.procfs import Reading
from debugrun.engine import engine as engines
from debugrun.errors import EXIT_REFUSED, EngineError
from debugrun.observe import hostproc, profiles
from debugrun.toolbox import catalog

_DAEMONS = frozenset({"dockerd", "podman"})
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def run(container: str | None, ceiling: Ceiling, folder: Path, *, as_json: bool) -> int:
    """Print the page. 0 when every tool has a way within the ceiling, else 126."""
    with engines.connect() as connection:
        found = examine(connection, container)
    rows = doctor.matrix(found, (tool_file.load(name, folder) for name in catalog.names(folder)), ceiling)
    if as_json:
        print(doctor.as_json(found, rows))
    else:
        _page(found, rows)
    return 0 if doctor.everything_works(rows) else EXIT_REFUSED


def examine(connection: engines.Engine, container: str | None = None) -> Findings:
    """What the engine says, and what this machine's /proc says where the engine runs here.

    For another machine's settings `container` names one of its containers to look through (by a scout).
    """
    facts = inspection.engine_facts(connection.version(), connection.info())
    found = Findings(
        endpoint=str(connection.endpoint),
        engine=facts,
        host=HostFacts(),
        leftovers=_leftovers(connection),
        recreated=tuple(restore.lines(connection)),
        toolbox=_toolbox(connection),
    )
    daemon = _daemon(connection.endpoint.url)
    if daemon is not None or _sees_containers(connection, facts.kernel):
        found = _locally(found, daemon)
        found = replace(found, engine=profiles.of_engine(connection, found.engine, daemon.status.pid if daemon else 0))
    elif container is not None:
        seen = session.look(connection, Request(tool="", container=container), None)
        found = replace(found, engine=seen.engine, host=seen.host)
    return found


def _leftovers(connection: engines.Engine) -> tuple[str, ...]:
    """Names of containers that sessions made: live ones, and what a crash left."""
    rows = connection.list_containers(everything=True, labels=[LABEL_SESSION])
    names = (row.get("Names") for row in rows)
    return tuple(sorted(str(each[0]).removeprefix("/") for each in names if isinstance(each, list) and each))


def _toolbox(connection: engines.Engine) -> str | None:
    try:
        connection.inspect_image(session.TOOLBOX)
    except EngineError as error:
        if error.code == "no-such-image":
            return None
        raise
    return session.TOOLBOX


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


def _page(found: Findings, rows: Mapping[str, Mapping[str, Plan]]) -> None:
    from rich import box  # noqa: PLC0415 - 60 ms that --json need not pay
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(markup=False, highlight=False)
    page = Table("", "what", "is", "read in", box=box.SIMPLE_HEAD)
    for each in doctor.checks(found):
        page.add_row({"ok": "ok", "note": "!", "unknown": "?"}[each.state], each.name, each.value, each.source)
    console.print(page)
    title = "what each tool takes beyond what the target has"
    needs = Table("tool", *doctor.targets(found), title=title, box=box.SIMPLE_HEAD)
    for name, row in rows.items():
        apart = any(not decision.tool.toolbox for decision in row.values())
        needs.add_row(f"{name} *" if apart else name, *(doctor.cell(decision) for decision in row.values()))
    needs.caption = "* not in the toolbox: takes an image that holds it, --image"
    console.print(needs)
