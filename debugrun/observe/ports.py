"""Who has a published port: for an engine that can't start a container because of it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from debugrun.core.know import json_access
from debugrun.engine.engine import Engine
from debugrun.errors import DebugrunError, EngineError

_PORT = re.compile(r"(?:\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]*\]|\blocalhost):(\d+)")


def told(engine: Engine, error: EngineError) -> EngineError:
    """The same error (`port-taken`), with who holds the port where that can be seen."""
    found = _PORT.search(error.message)
    who = holder(engine, int(found[1])) if found else None
    if found is None or who is None:
        return error
    name, hint = who
    return EngineError(error.code, f"port {found[1]} is taken, by {name}: {error.message}", hint)


def holder(engine: Engine, port: int) -> tuple[str, str] | None:
    """(who, the next command): a container of the engine's, or a proxy that a killed engine has left behind."""
    with contextlib.suppress(DebugrunError):
        for each in engine.list_containers():
            if any(bound.get("PublicPort") == port for bound in json_access.maps(each, "Ports")):
                names = [str(name).removeprefix("/") for name in json_access.items(each, "Names")]
                name = names[0] if names else str(each.get("Id"))[:12]
                return f"container {name}", f"docker stop {name}"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[0].endswith(b"docker-proxy") and str(port).encode() in words[1:]:
                pid = path.parent.name
                return f"a docker-proxy that a killed engine has left (PID {pid} of the engine's host)", f"kill {pid}"
    return None
