"""What the on-call verbs look at: containers of an engine, or one of a pod; programs of ours run beside both."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from debugrun import backends
from debugrun.core.ask.pod_reference import is_pod_reference
from debugrun.core.ask.request import Request
from debugrun.core.know.facts import ContainerFacts
from debugrun.core.know.json_access import Json
from debugrun.core.oncall import containers
from debugrun.core.oncall.containers import Container, Use
from debugrun.engine import engine
from debugrun.engine.engine import Engine
from debugrun.errors import EngineError, UsageError
from debugrun.observe import hostproc
from debugrun.oncall import look as looking
from debugrun.oncall.look import Chosen, Look
from debugrun.values import dataclass

if TYPE_CHECKING:
    from debugrun.kubernetes.backend import Pods


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Where a pod is; None: as the kubeconfig says."""

    namespace: str | None = None
    kubernetes_context: str | None = None


HERE = Where()


class Ground(Protocol):
    """One kind of engine, as far as the on-call verbs ask it."""

    @property
    def backend(self) -> backends.Backend:
        """Who runs programs of ours beside a container."""

    def choose(self, refs: Sequence[str], project: str | None, *, everything: bool) -> Chosen:
        """The containers that are meant. Raises DebugrunError: there is none."""

    def look(self, chosen: Chosen) -> Look:
        """One look at their processes."""

    def facts(self, container: Container) -> ContainerFacts:
        """How a container is configured."""

    def is_here(self, container: Container) -> bool:
        """Whether its processes are among those of our own /proc, and open to us."""

    def use(self, container: Container) -> Use:
        """What it uses of its limits, as far as that is told."""


class OfEngine:
    """The containers of an engine."""

    def __init__(self, connection: Engine) -> None:
        self._connection = connection
        self._inspected: dict[str, Json] = {}
        self.backend = backends.Containers(connection)

    def choose(self, refs: Sequence[str], project: str | None, *, everything: bool) -> Chosen:
        """By name, of a compose project, or all that run."""
        chosen = looking.choose(self._connection, refs, project, everything=everything)
        self._inspected = {each.id: one for each, one in zip(chosen.containers, chosen.inspected, strict=True)}
        return chosen

    def look(self, chosen: Chosen) -> Look:
        """By our own /proc, or by sidecars."""
        return looking.look(self._connection, chosen)

    def facts(self, container: Container) -> ContainerFacts:
        """From the engine."""
        return looking.facts_of(self._connection, self._inspected[container.id])

    def is_here(self, container: Container) -> bool:
        """Proven by its cgroup."""
        kernel = str(self._connection.version().get("KernelVersion", ""))
        return os.geteuid() == 0 and hostproc.is_local(container.pid, container.id, kernel)

    def use(self, container: Container) -> Use:
        """From the engine's counters."""
        return containers.use(self._connection.use(container.id))


class OfPod:
    """One container of a pod."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self.backend = pods

    def choose(self, refs: Sequence[str], project: str | None, *, everything: bool) -> Chosen:
        """The one that was named: it is looked for again, since a pod's containers are restarted in place."""
        del refs, project, everything
        self._pods.again()
        return Chosen(inspected=(), containers=(self._pods.described,), hosts={})

    def look(self, chosen: Chosen) -> Look:
        """By an ephemeral container."""
        unseen, found = {}, []
        try:
            found.append(looking.sent(self._pods, self._pods.configured, self._pods.architecture))
        except EngineError as error:
            unseen[chosen.containers[0].name] = f"{error.message}; try: {error.hint}"
        return Look(chosen=chosen, census=looking.together(found), use={}, logs={}, unseen=unseen)

    def facts(self, container: Container) -> ContainerFacts:
        """From the pod."""
        del container
        return self._pods.configured

    def is_here(self, container: Container) -> bool:
        """Never: the API server does not tell."""
        del container
        return False

    def use(self, container: Container) -> Use:
        """The limit alone: what is used, a metrics server would tell."""
        del container
        return Use(memory_limit=self._pods.configured.memory_limit)


@contextlib.contextmanager
def reach(refs: Sequence[str], where: Where) -> Iterator[Ground]:
    """The kind of engine that holds what is meant. Raises DebugrunError."""
    if not any(is_pod_reference(each) for each in refs):
        with engine.connect() as connection:
            yield OfEngine(connection)
        return
    if len(refs) > 1:
        raise UsageError("one-pod", "one pod's container at a time", "debugrun ps pod/NAME/CONTAINER")
    from debugrun.kubernetes import backend  # noqa: PLC0415 - not on the way to a container

    request = Request(
        tool="", container=refs[0], namespace=where.namespace, kubernetes_context=where.kubernetes_context
    )
    with backend.connect(request) as pods:
        yield OfPod(pods)
