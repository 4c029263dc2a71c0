"""Seccomp profiles that are files on the engine's host: a daemon's own default, what Podman is given, one for Podman.

Docker takes a profile inline; Podman, over the API too, only the path of a file on its own machine (measured).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from debugrun.core.know import inspection
from debugrun.core.know.facts import ContainerFacts, EngineFacts
from debugrun.core.know.json_access import Json
from debugrun.errors import DebugrunError, EngineError
from debugrun.observe import hostproc

if TYPE_CHECKING:
    from debugrun.engine.engine import Engine

PODMAN_DEFAULT = "/usr/share/containers/seccomp.json"  # containers-common; another path is somebody's own choice
_LARGEST = 1 << 20  # bytes: Docker's own has 10 kB


def of_engine(engine: Engine, facts: EngineFacts, pid: int) -> EngineFacts:
    """The facts with the default profile that the engine reads from a file; what can't be read stays unknown.

    `pid` is a process of the engine's host, as seen from here, that is not in a container: a shim, conmon, the daemon.
    """
    path = facts.seccomp if facts.seccomp and facts.seccomp.startswith("/") else None
    if facts.name == "podman" and facts.seccomp is not None:
        path = _podman_default(engine)
        if path and path != PODMAN_DEFAULT:
            facts = replace(facts, seccomp=path)
    if path is None or not path.startswith("/"):
        return facts
    return replace(facts, seccomp_profile=_read(pid, path))


def of_container(facts: ContainerFacts, inspected: Json, pid: int) -> ContainerFacts:
    """The facts with the profile that a container was given as a file's path, as Podman has it; `pid` as above."""
    host = inspected.get("HostConfig")
    options = host.get("SecurityOpt") if isinstance(host, Mapping) else None
    path = inspection.security_options(options if isinstance(options, list) else ()).get("seccomp", "")
    if facts.seccomp != "custom" or facts.seccomp_profile is not None or not path.startswith("/"):
        return facts
    return replace(facts, seccomp_profile=_read(pid, path))


def _podman_default(engine: Engine) -> str | None:
    """The path that Podman says it reads its default profile from, "unconfined", or None: it has none or does not say.

    GET /libpod/info; /info of its Docker API says "default" whatever is configured in containers.conf(5).
    """
    with suppress(DebugrunError, ValueError, KeyError, TypeError), engine.asking("tell about its seccomp profile"):
        answer = engine.client.get(f"{engine.client.base_url}/v4.0.0/libpod/info")
        answer.raise_for_status()
        return str(answer.json()["host"]["security"]["seccompProfilePath"]) or None
    return None


def _read(pid: int, path: str) -> str | None:
    """A file as that process would find it; None where that may not be read, or is no file of a sensible size."""
    if not pid:
        return None
    with suppress(OSError, UnicodeDecodeError):
        file = Path(f"{hostproc.PROC}/{pid}/root{path}")
        if file.is_file() and file.stat().st_size <= _LARGEST:
            return file.read_text(encoding="utf-8")
    return None


@contextmanager
def handed_over(engine: Engine, text: str | None, *, local: bool | None) -> Iterator[str | None]:
    """What stands for a profile in the API's `seccomp=`, while a container is created: the text, or a file's path.

    The file has mode 0600 and is gone afterwards: Podman reads it when it creates the container. It belongs to the user
    that Podman runs as, where root asks somebody's rootless one. `local` says whether the engine is on this machine.
    Raises EngineError: Podman on another one.
    """
    if text is None or inspection.engine_facts(engine.version(), {}).name != "podman":
        yield text
        return
    if not local:
        raise EngineError(
            "profile-elsewhere",
            "Podman takes a seccomp profile only as a file on its own machine, and that is not this one",
            "run debugrun there; or write one with `debugrun profile TOOL CONTAINER -o FILE`, copy it there and use "
            "podman run --security-opt seccomp=FILE",
        )
    descriptor, path = tempfile.mkstemp(prefix="debugrun-", suffix=".json")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if os.geteuid() == 0 and (socket := engine.endpoint.socket):
                os.fchown(file.fileno(), socket.stat().st_uid, -1)
        yield path
    finally:
        Path(path).unlink(missing_ok=True)
