"""The container engine, as few thin calls. `transport` is how it is reached; only these two import docker-py.

Answers are the API's own JSON. Every failure becomes a DebugrunError that says which endpoint, what it was asked
for, why it said no, and what to type next (`refusals` holds the texts).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from debugrun.core.know import versions
from debugrun.core.know.json_access import mapping, text
from debugrun.core.rules import share
from debugrun.engine import answers, transport
from debugrun.engine.sidecar import Sidecar, in_json
from debugrun.engine.stream import Stream
from debugrun.engine.transport import FLOOR, Endpoint, translated
from debugrun.errors import EngineError, TargetError
from debugrun.values import dataclass

if TYPE_CHECKING:
    from docker import APIClient

Json = Mapping[str, object]

COMPOSE_SERVICE = "com.docker.compose.service"  # the label that Compose gives a service's containers
TIMEOUT = 60.0  # seconds for one answer; hijacked streams have none


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStat:
    """A file in a container. `mode` has Go's bits above the nine of permission; `link_target` is "" or a path.

    The engine resolves the directories of the path in the container, not a link in its last part.
    """

    name: str
    size: int
    mode: int
    link_target: str


class Engine:
    """One engine in reach. Close it, or use it as a context manager."""

    def __init__(self, client: APIClient, endpoint: Endpoint) -> None:
        self._client = client
        self._version: Json | None = None
        self._asked = threading.Lock()
        self._processors: int | None = None
        self.ours: set[str] = set()  # ids that we created or proved: nothing else is removed or renamed
        self.endpoint = endpoint
        self.asking = functools.partial(translated, endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def client(self) -> APIClient:
        """docker-py's client, which speaks the engine's newest API."""
        self.version()
        return self._client

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    def version(self) -> Json:
        """GET /version, asked once. Raises EngineError: not reachable, or too old."""
        with self._asked:
            if self._version is None:
                with self.asking("answer"), transport.patience(self.endpoint):
                    answer = answers.decoded(self._client.version(api_version=False), answers.VERSION)
                self._settle_on(str(answer.get("ApiVersion", "0")))
                self._version = answer
            return self._version

    def _settle_on(self, found: str) -> None:  # docker-py would ask a second time to negotiate
        if versions.numbers(found) < versions.numbers(FLOOR):
            raise EngineError(
                "engine-too-old",
                f"{self.endpoint} speaks API {found}, at least {FLOOR} is needed (Docker 18.09)",
                "update the engine, or name another one in DOCKER_HOST",
            )
        self._client._version = found  # type: ignore[attr-defined]  # noqa: SLF001 - the only way

    def _get(self, path: str) -> Json:
        """An object. Without a version in its path the API is the newest, as in `client`: no need to wait for that."""
        answer = self._client.get(f"{self._client.base_url}{path}", timeout=self._client.timeout)
        answer.raise_for_status()
        return answers.an_object(answer.json())

    def info(self) -> Json:
        """GET /info."""
        with self.asking("tell about itself"):
            told = answers.decoded(self._get("/info"), answers.INFO)
        count = told.get("NCPU")
        limits = told.get("CpuCfsQuota") is not False
        self._processors = count if isinstance(count, int) and limits else 0
        return told

    @property
    def processors(self) -> int:
        """How many its host has; 0: it can't limit the time that a container has on them (no cpu controller)."""
        if self._processors is None:
            self.info()
        return self._processors or 0

    def inspect_container(self, ref: str) -> Json:
        """GET /containers/REF/json; `ref` is a name, an id or a prefix of one that only one container has."""
        if re.fullmatch(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]*", ref) is None:  # moby daemon/names/names.go
            raise TargetError("no-such-container", f"{ref!r} is not a valid container name", "docker ps")
        with self.asking("describe the container", ref):
            return answers.decoded(self._get(f"/containers/{ref.removeprefix('/')}/json"), answers.CONTAINER)

    def list_containers(self, *, everything: bool = False, labels: Sequence[str] = ()) -> list[Json]:
        """GET /containers/json: the running ones, or all; `labels` are KEY or KEY=VALUE, all of which match."""
        filters = {"label": list(labels)} if labels else None
        with self.asking("list containers"):
            return answers.objects(self.client.containers(all=everything, filters=filters), answers.LISTED)

    def container_names(self, *, everything: bool = False, services: bool = False) -> tuple[str, ...]:
        """Names as people type them, sorted; with the names of Compose services, too."""
        names: list[str] = []
        for each in self.list_containers(everything=everything):
            if isinstance(found := each.get("Names"), list):
                names.extend(str(name).removeprefix("/") for name in found)
            if services and (service := text(mapping(each, "Labels"), COMPOSE_SERVICE)):
                names.append(service)
        return tuple(sorted(set(names)))

    def use(self, container: str) -> Json:
        """GET /containers/ID/stats, once and at once: what it uses of its limits; {} where the engine cannot say."""
        with contextlib.suppress(EngineError, TargetError), self.asking("tell what is used by", container):
            return self._get(f"/containers/{container}/stats?stream=false&one-shot=true")
        return {}

    def log_tail(self, container: str, lines: int) -> str:
        """The last lines of its log, both streams; "" where its log driver cannot be read."""
        with contextlib.suppress(EngineError, TargetError), self.asking("read the log of", container):
            told: bytes = self.client.logs(container, tail=lines)
            return told.decode(errors="surrogateescape")
        return ""

    def inspect_image(self, ref: str) -> Json:
        """GET /images/REF/json. Raises EngineError `no-such-image`."""
        with self.asking("describe the image", ref):
            return answers.decoded(self._get(f"/images/{urllib.parse.quote(ref, safe='/:@')}/json"), answers.IMAGE)

    def archive_stat(self, container: str, path: str) -> FileStat | None:
        """What a path of the container's file system is; None when there is none. Runs nothing in it.

        HEAD /containers/ID/archive, which docker-py does not have: its get_archive makes a tar of the file.
        """
        with self.asking("look for a file in", container):
            address = f"{self._client.base_url}/containers/{container}/archive"
            answer = self._client.head(address, params={"path": path}, timeout=TIMEOUT)
            if answer.status_code in {400, 404, 500}:  # 400, 500 (20.10): a part of the path is no directory
                return None
            answer.raise_for_status()
            told = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
            return FileStat(
                name=str(told["name"]),
                size=int(told["size"]),
                mode=int(told["mode"]),
                link_target=str(told.get("linkTarget", "")),
            )

    def create_sidecar(self, sidecar: Sidecar) -> str:
        """POST /containers/create; its id. With `auto_remove` the engine removes it at its end, not when it never ran.

        NetworkDisabled gives it an empty network namespace of its own; the engine's `none` network would do the
        same 70 ms later. No log is written: the tool's output may hold the target's memory. Raises UsageError for an
        argument that JSON cannot carry.
        """
        from docker.types import LogConfig, Mount  # noqa: PLC0415 - loaded by connect() already

        words = in_json(sidecar.command)
        mounts = [(path, path) for path in sidecar.mounts] + [(path, "/dev/null") for path in sidecar.hidden]
        environment = {"HOME": "/tmp", "XDG_CONFIG_HOME": "/tmp"}  # noqa: S108 - the only place that it can write to
        with self.asking("create a container from the image", sidecar.image):
            host = self.client.create_host_config(
                auto_remove=sidecar.auto_remove,
                cap_add=list(sidecar.cap_add),
                cap_drop=list(sidecar.cap_drop),
                # Not NanoCpus, which an engine without the cpu controller refuses; this it leaves out, with a warning
                # (moby daemon/daemon_unix.go verifyPlatformContainerResources).
                cpu_period=share.PERIOD if sidecar.processors else None,
                cpu_quota=share.quota(sidecar.processors) or None,
                init=False,
                log_config=LogConfig(type="none"),
                mem_limit=sidecar.memory,
                mounts=[Mount(target, source, type="bind", read_only=True) for target, source in mounts],
                network_mode=f"container:{sidecar.target}" if sidecar.network == "target" else None,
                pid_mode={"target": f"container:{sidecar.target}", "host": "host"}.get(sidecar.pid_namespace),
                pids_limit=sidecar.pids,
                privileged=sidecar.privileged,
                read_only=True,
                security_opt=list(sidecar.security_opt),
                tmpfs={"/tmp": "mode=1777,size=1g"},  # noqa: S108 - the sidecar's own, gone with it
                userns_mode=sidecar.userns_mode or None,
            )
            created = self.client.create_container(
                sidecar.image,
                entrypoint=words[:1],
                command=words[1:],
                environment={**environment, **sidecar.environment},
                healthcheck={"test": ["NONE"]},
                host_config=host,
                labels=dict(sidecar.labels),
                name=sidecar.name,
                network_disabled=sidecar.network == "none",
                stdin_open=True,
                stop_signal="SIGTERM",
                stop_timeout=sidecar.stop_timeout,
                use_config_proxy=False,
                user=sidecar.user,
                working_dir="/tmp",  # noqa: S108 - tools write their files to the working directory
            )
            return self.created(created)

    def attach(self, container: str) -> Stream:
        """POST /containers/ID/attach: its standard input, output and error, multiplexed. May precede the start."""
        with self.asking("attach to", container):
            wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            return Stream(self.client.attach_socket(container, params=wanted))

    def start(self, container: str) -> None:
        """POST /containers/ID/start."""
        with self.asking("start", container):
            self.client.start(container)

    def exec_create(  # noqa: PLR0913 - the API's own
        self,
        container: str,
        argv: Sequence[str],
        *,
        user: str,
        tty: bool = False,
        privileged: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """POST /containers/ID/exec; the exec's id. Raises UsageError for an argument that JSON cannot carry."""
        words = in_json(argv)
        with self.asking("run a command in", container):
            created = self.client.exec_create(
                container,
                words,
                stdin=True,
                tty=tty,
                privileged=privileged,
                user=user,
                environment=dict(environment) if environment else None,
                detach_keys=NO_DETACH_KEYS if tty else None,
            )
            return str(created["Id"])

    def exec_start(self, exec_id: str, *, tty: bool = False) -> Stream:
        """POST /exec/ID/start: the connection becomes its standard input and output (no TTY: multiplexed)."""
        with self.asking("start a command"):
            return Stream(self.client.exec_start(exec_id, tty=tty, socket=True))

    def exec_inspect(self, exec_id: str) -> Json:
        """GET /exec/ID/json. ExitCode may be null for some milliseconds after the stream has ended."""
        with self.asking("describe a command"):
            return answers.an_object(self.client.exec_inspect(exec_id))

    def resize(self, exec_id: str, *, rows: int, columns: int) -> None:
        """POST /exec/ID/resize: the size of its TTY."""
        with self.asking("resize a terminal"):
            self.client.exec_resize(exec_id, height=rows, width=columns)

    def stop(self, container: str, *, timeout: int) -> None:
        """POST /containers/ID/stop: TERM, then KILL after `timeout` seconds. No error when it is not running."""
        with self.asking("stop", container):
            self.client.stop(container, timeout=timeout)

    def created(self, answer: Json) -> str:
        """The id in the answer to a creation: from now on ours to remove."""
        self.ours.add(made := str(answers.decoded(answer, {"Id": answers.ID})["Id"]))
        return made

    def remove(self, container: str, *, force: bool = False) -> None:
        """`delete` with anonymous volumes; gone is no error. Never force one that runs a tool: that one is killed."""
        with contextlib.suppress(TargetError):
            self.delete(container, force=force, volumes=True)

    def delete(self, container: str, *, force: bool = False, volumes: bool = False) -> None:
        """DELETE /containers/ID, of what is ours: see `ours`."""
        self.allow(container)
        with self.asking("remove", container):
            self.client.remove_container(container, force=force, v=volumes)

    def allow(self, ref: str) -> None:
        """Raise EngineError `not-ours` for what we neither created nor proved."""
        if ref not in self.ours:
            raise EngineError("not-ours", f"{ref}: that debugrun made it can't be proven", "docker inspect it")


# No terminal sends this. The engine's own default, ctrl-p,ctrl-q, would take keys out of what the user types and hold
# back each lone ctrl-p, which readline uses; ours are looked for on this side.
NO_DETACH_KEYS = "ctrl-^,ctrl-^,ctrl-^,ctrl-^,ctrl-^,ctrl-^,ctrl-^,ctrl-^"


def connect(base_url: str | None = None, *, timeout: float = TIMEOUT) -> Engine:
    """The engine of `base_url`, else of DOCKER_HOST, else of the current Docker context, else the default socket.

    The first thing that is asked of it raises EngineError when it can't be reached (by its cause) or is too old.
    """
    endpoint, client = transport.client(base_url, timeout=timeout)
    return Engine(client, endpoint)
