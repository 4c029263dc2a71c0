"""Ephemeral containers: made, waited for, held by the lease, and left ended. They stay in the pod's specification.

The seam to `attach`: `Runner` offers what a place asks of an engine, so that nothing behind it learns where it runs.
"""

from __future__ import annotations

import os
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import field

from debugrun.attach.lease import Lease
from debugrun.core.decide import admitted, ephemeral
from debugrun.core.grants import Option
from debugrun.core.know import pod as knowledge
from debugrun.core.know.json_access import Json, mapping, maps, text
from debugrun.engine.sidecar import in_json
from debugrun.engine.stream import Stream
from debugrun.errors import EngineError, TargetError
from debugrun.kubernetes import rights
from debugrun.kubernetes.channels import Channels
from debugrun.kubernetes.cluster import FORBIDDEN, ApiError, Cluster
from debugrun.kubernetes.pods import Found
from debugrun.values import dataclass

STARTS_WITHIN = 60.0  # seconds, for a node that has to pull the image
POLL = 0.1  # seconds between two looks at a status
LISTENS_WITHIN = 10.0  # seconds for an attach to be let in, once the container runs
PREFIX = "debugrun-"
# Reasons of a waiting container that no waiting cures: kubelet pkg/kubelet/images/types.go, container/sync_result.go.
HOPELESS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
    | {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


@dataclass(kw_only=True)
class Sidecar:
    """One ephemeral container that runs, its user and what holds it."""

    name: str
    option: Option
    lease: Lease


@dataclass(kw_only=True)
class Runner:
    """Commands in the containers of one pod, as a place asks for them."""

    cluster: Cluster
    found: Found
    _waiting: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    _started: dict[str, Channels] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """What is talked to, for messages."""
        return self.cluster.endpoint

    def exec_create(  # noqa: PLR0913 - the engine's own
        self,
        container: str,
        argv: Sequence[str],
        *,
        user: str,
        tty: bool = False,
        privileged: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Note what `exec_start` shall run: in Kubernetes an exec is one request, as the container's own user."""
        del user, tty, privileged
        words = in_json(argv)
        if environment:
            words = ["/usr/bin/env", *(f"{key}={value}" for key, value in environment.items()), *words]
        number = os.urandom(8).hex()
        self._waiting[number] = (container, words)
        return number

    def exec_start(self, exec_id: str, *, tty: bool = False) -> Stream:
        """GET pods/NAME/exec."""
        container, words = self._waiting.pop(exec_id)
        channels = self._open("exec", container, words, tty=tty)
        self._started[exec_id] = channels
        return channels.stream

    def exec_inspect(self, exec_id: str) -> Json:
        """As an engine tells it: Running, and ExitCode."""
        channels = self._started[exec_id]
        return {"Running": not channels.ended, "ExitCode": channels.status(0)}

    def resize(self, exec_id: str, *, rows: int, columns: int) -> None:
        """The size of its TTY."""
        self._started[exec_id].resize(rows, columns)

    def attach(self, container: str) -> Stream:
        """GET pods/NAME/attach, of a container that runs."""
        return self._open("attach", container, (), tty=False).stream

    def inspect_container(self, ref: str) -> Json:
        """Whether that container runs, as an engine tells it. Raises TargetError: no such container any more."""
        pod = self.cluster.maybe(self.found.path)
        name = self.found.container if ref == self._target() else ref
        state = mapping(knowledge.status_of(pod or {}, name), "state")
        if not state:
            raise TargetError("no-such-container", f"no container {name}", "")
        return {"Name": name, "State": {"Running": "running" in state}}

    def remove(self, container: str, *, force: bool = False) -> None:
        """Nothing: an ephemeral container can't be removed, it ends with its lease."""

    def _target(self) -> str:
        return text(knowledge.status_of(self.found.pod, self.found.container), "containerID").partition("://")[2]

    def _open(self, verb: str, container: str, words: Sequence[str], *, tty: bool) -> Channels:
        query = [("container", container), ("stdin", "true"), ("stdout", "true")]
        # With a TTY there is one output only, and containerd refuses to be asked for the other.
        query += [("tty", "true")] if tty else [("stderr", "true")]
        query += [("command", word) for word in words]
        try:
            return self.cluster.stream(f"{self.found.path}/{verb}", query, tty=tty)
        except ApiError as error:
            if error.http == FORBIDDEN:
                raise rights.missing(self.cluster, f"pods/{verb}", "get", error) from error
            raise


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What an ephemeral container is made of; `command` is the lease."""

    image: str
    pull_policy: str
    command: Sequence[str]
    environment: Mapping[str, str]


def start(runner: Runner, option: Option, made: Made) -> Sidecar:
    """Add an ephemeral container with the lease as its main process, and attach to it once it runs.

    Raises EngineError: not admitted, no right to, or it does not start, with the kubelet's own words.
    """
    name = f"{PREFIX}{os.urandom(5).hex()}"
    found = runner.found
    context = admitted.context_of(option, knowledge.pod_facts(found.pod, found.container, None))
    body = ephemeral.patch(
        name,
        context,
        image=made.image,
        target=found.container,
        command=made.command,
        pull_policy=made.pull_policy,
        environment=made.environment,
    )
    try:
        runner.cluster.patch(f"{found.path}/ephemeralcontainers", body)
    except ApiError as error:
        if error.http == FORBIDDEN and not rights.by_admission(error):
            raise rights.missing(runner.cluster, "pods/ephemeralcontainers", "patch", error) from error
        raise
    _await_running(runner, name, made.image)
    return Sidecar(name=name, option=option, lease=Lease(_listened(runner, name)))


def _listened(runner: Runner, name: str) -> Stream:
    """An attach that the script has answered: one that comes too early opens and is closed without a word."""
    deadline = time.monotonic() + LISTENS_WITHIN
    while True:
        stream = runner.attach(name)
        if stream.wait(0.3) and stream.receive() == b"":
            stream.close()
            if time.monotonic() < deadline:
                continue
            message = f"{runner.endpoint} ends each attach to the ephemeral container {name}"
            raise EngineError("kubernetes-attach", message, f"kubectl describe pod {knowledge.name(runner.found.pod)}")
        return stream


def _await_running(runner: Runner, name: str, image: str) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        pod = runner.cluster.get(runner.found.path)
        state = mapping(knowledge.status_of(pod, name), "state")
        if "running" in state:
            return
        if "terminated" in state:
            raise _not_started(name, mapping(state, "terminated"), image)
        waiting = mapping(state, "waiting")
        if text(waiting, "reason") in HOPELESS:
            raise _not_started(name, waiting, image)
        if said := _failed(runner, name):
            raise _not_started(name, said, image)
        time.sleep(POLL)
    message = f"the ephemeral container {name} did not start within {STARTS_WITHIN:.0f} s"
    hint = f"kubectl -n {runner.cluster.namespace} describe pod {knowledge.name(runner.found.pod)}"
    raise EngineError("kubernetes-start", message, hint)


def _failed(runner: Runner, name: str) -> Json | None:
    """What the kubelet has said of it in an event: events come at once, the status up to 14 s later."""
    pod = runner.found.pod
    selector = f"involvedObject.name={knowledge.name(pod)},involvedObject.fieldPath=spec.ephemeralContainers{{{name}}}"
    namespace = urllib.parse.quote(knowledge.namespace(pod))
    query = urllib.parse.urlencode([("fieldSelector", selector)])
    listed = runner.cluster.maybe(f"/api/v1/namespaces/{namespace}/events?{query}")
    failed = [each for each in maps(listed or {}, "items") if text(each, "reason") in {"Failed", *HOPELESS}]
    return failed[-1] if failed else None


def _not_started(name: str, told: Json, image: str) -> EngineError:
    reason, said = text(told, "reason"), text(told, "message")
    hint = "debugrun toolbox push REF, and name it with --image" if "mage" in f"{reason} {said}" else ""
    message = f"the ephemeral container {name} of image {image} does not start: {reason}: {said}"
    return EngineError("kubernetes-start", message, hint)
