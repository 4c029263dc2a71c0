"""A service of the Compose project in this folder as a `docker run` line: what `docker compose config` says of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

from debugrun.core.know.json_access import Json, items, mapping, maps, text
from debugrun.errors import EngineError, UsageError

_KNOWN = frozenset(
    "cap_add cap_drop command entrypoint environment image ipc network_mode pid privileged security_opt tmpfs user "  # noqa: SIM905 - words read better
    "userns_mode volumes working_dir networks profiles restart deploy build ports depends_on container_name".split()
)

# What docker says to `docker compose` without the plugin: newer clients, older ones, and those that parse its options.
_NO_PLUGIN = re.compile(r"unknown command: docker compose|'compose' is not a docker command|unknown (shorthand )?flag")


def as_line(service: str) -> tuple[str, ...]:
    """The words of the line. Raises EngineError: Compose is not here, or refuses; UsageError: no such service."""
    config = json.loads(_asked("--profile", "*", "config", "--format", "json"))
    services = mapping(config, "services")
    if not mapping(services, service):
        message = f"the project has no service {service!r}; it has: {', '.join(services)}"
        raise UsageError("no-service", message, "docker compose config --services")
    return ("docker", "run", *_words(mapping(services, service)))


def _asked(*words: str) -> str:
    """What Compose answers: Docker's plugin, else the program of its own. Raises EngineError."""
    said = ""
    for program in (["docker", "compose"], ["docker-compose"]):
        try:
            done = subprocess.run(
                [*program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return done.stdout
        said = done.stderr
        if not _NO_PLUGIN.search(said):
            lines = [line for line in said.strip().splitlines() if not line.startswith(("See '", "Run '"))]
            raise EngineError(
                "compose-refuses",
                f"{' '.join(program)} config: {(lines or ['no reason'])[-1]}",
                "correct the project's files",
            )
    if said:
        message = "docker has no Compose here, which reads the project"
        raise EngineError(
            "no-compose", message, "install the plugin: docker-compose-plugin, or docker-compose in Debian"
        )
    raise EngineError("no-client", "there is no docker here to read the project", "install docker")


def _words(service: Json) -> Iterator[str]:
    left = sorted(set(service) - _KNOWN)
    if left:
        print(f"debugrun: note: not part of the runs: {', '.join(left)}", file=sys.stderr)
    yield from _grant(service)
    for name, value in mapping(service, "environment").items():
        yield from ("--env", name if value is None else f"{name}={value}")
    for mount in maps(service, "volumes"):
        target, source = text(mount, "target"), text(mount, "source")
        read_only = ":ro" if mount.get("read_only") is True else ""
        yield from ("--volume", f"{source}:{target}{read_only}" if source else target)
    for path in items(service, "tmpfs"):
        yield from ("--tmpfs", str(path))
    entrypoint = [str(word) for word in items(service, "entrypoint")]
    if entrypoint:
        yield from ("--entrypoint", entrypoint[0])
    yield text(service, "image")
    yield from entrypoint[1:]
    yield from (str(word) for word in items(service, "command"))


_LISTS = (("--cap-add", "cap_add"), ("--cap-drop", "cap_drop"), ("--security-opt", "security_opt"))
_TEXTS = (
    ("--pid", "pid"), ("--ipc", "ipc"), ("--userns", "userns_mode"), ("--network", "network_mode"),
    ("--user", "user"), ("--workdir", "working_dir"),
)  # fmt: skip


def _grant(service: Json) -> Iterator[str]:
    if service.get("privileged") is True:
        yield "--privileged"
    for option, key in _LISTS:
        for value in items(service, key):
            yield from (option, str(value))
    for option, key in _TEXTS:
        if value := text(service, key):
            yield from (option, value)
