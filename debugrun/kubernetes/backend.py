"""A pod as the session knows a container of an engine: its facts, the server's say in the plan, a place for tools.

The process' ids, capabilities and dumpability are not in the API: they are read from an ephemeral container, which is
also the tool's sidecar when what it has turns out to be enough.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

from debugrun.attach import apply, lease
from debugrun.attach.invocation import Invocation
from debugrun.attach.place import Place
from debugrun.core.ask.pod_reference import parse
from debugrun.core.ask.request import TOOLBOX, Request
from debugrun.core.ask.selection import Wanted
from debugrun.core.decide import ephemeral
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.know import pod as knowledge
from debugrun.core.know.facts import ContainerFacts, Facts, ImageFacts
from debugrun.core.know.tool_file import Tool
from debugrun.errors import EngineError
from debugrun.kubernetes import admission, pods
from debugrun.kubernetes import cluster as clusters
from debugrun.kubernetes.cluster import Cluster
from debugrun.kubernetes.sidecar import Runner, Sidecar, start
from debugrun.kubernetes.survey import kernel, survey
from debugrun.observe import scout
from debugrun.observe import seen as sight

IMAGE_VARIABLE = "DEBUGRUN_KUBERNETES_IMAGE"  # the toolbox as the nodes can pull it


class Pods:
    """One pod's container, in reach through the API server. Close it, or use it as a context manager."""

    def __init__(self, cluster: Cluster, request: Request, *, image: str, pull_policy: str = "IfNotPresent") -> None:
        self._cluster = cluster
        self._image = image
        self._pull_policy = pull_policy
        self._found = pods.find(cluster, parse(request.container))
        self._runner = Runner(cluster=cluster, found=self._found)
        self._sidecars: dict[str, Sidecar] = {}
        self._script: tuple[str, ...] = lease.command(stop_signal="TERM", breakpoints=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every sidecar's lease; the containers end with them, and stay in the pod's specification as ended."""
        for each in self._sidecars.values():
            each.lease.close()
        self._cluster.close()

    def look(self, request: Request, tool: Tool | None) -> Facts:
        """Observe the process that is meant. Raises DebugrunError."""
        if tool is not None:
            self._script = lease.command(stop_signal=tool.stop_signal, breakpoints=tool.breakpoints)
        version = self._cluster.get("/version")
        spec = self._found.pod.get("spec")
        node_name = spec.get("nodeName") if isinstance(spec, dict) else None
        node = self._cluster.maybe(f"/api/v1/nodes/{node_name}")
        engine = knowledge.engine_facts(version, node, self._found.pod)
        architecture = engine.architecture or None
        container = knowledge.container_facts(self._found.pod, self._found.container, architecture=architecture)
        who = _first(container)
        wanted = Wanted(pid=request.pid, host_pid=request.host_pid, comm=request.comm)
        while True:
            made = self._sidecar(_as(who))
            peer = None if who == scout.nobody(container) else who
            seen = sight.by_survey(survey(self._runner, made.name), peer, container, wanted)
            process = sight.observed_process(self._runner, container, wanted, seen)
            closer = _closer(who, f"{process.uids[1]}:{process.gids[1]}", container)
            if process.dumpable is not None or closer is None:
                break
            who = closer
        if not engine.kernel:
            release, machine = kernel(self._runner, made.name)
            engine = replace(engine, kernel=release, architecture=engine.architecture or machine)
        images = ImageFacts(toolbox=self._image)
        cross_checked = sight.cross_checked(container, seen)
        return Facts(engine=engine, host=seen.host, container=cross_checked, process=process, images=images)

    def decide(self, decision: Plan, *, everything: bool = False) -> Plan:
        """The plan with what the API server says to the option that is taken, or to `everything`."""
        return admission.asked(self._cluster, self._found, decision, self._image, everything=everything)

    @contextlib.contextmanager
    def place(self, decision: Plan, option: Option, steps: Sequence[Invocation]) -> Iterator[Place]:
        """The place of an option: a sidecar that runs already, where that has the same context, else another one."""
        del steps
        if option.placement is not Placement.SIDECAR:
            message = f"--via {option.placement.value} is for an engine's containers: a pod gets an ephemeral container"
            raise EngineError("kubernetes-placement", message, "leave --via out")
        with apply.ending():
            made = self._sidecar(option)
            place = Place(
                engine=self._runner,
                container=made.name,
                target=decision.facts.container,
                user=option.user,
                lease=made.lease,
                privileged=False,
                expected=decision.facts.process.identity,
            )
            try:
                yield place
            finally:
                place.leave()

    def _sidecar(self, option: Option) -> Sidecar:
        key = repr(ephemeral.security_context(option))
        if key not in self._sidecars:
            self._sidecars[key] = start(
                self._runner, option, self._script, image=self._image, pull_policy=self._pull_policy
            )
        return self._sidecars[key]


def _as(who: scout.Identity) -> Option:
    """The context that a scout has, as an option with no verdict."""
    return Option(
        placement=Placement.SIDECAR,
        grant=Grant.NONE,
        user=who.user,
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_add=who.capabilities,
    )


def _first(container: ContainerFacts) -> scout.Identity:
    """Who looks first: the target's own ids where the pod says them, since the tool will most likely run as those."""
    return scout.peer(container) or scout.nobody(container)


def _closer(who: scout.Identity, user: str, container: ContainerFacts) -> scout.Identity | None:
    """Who sees more of the process, now that its ids are known; None: this one has seen all that can be."""
    better = scout.peer(replace(container, user=user))
    return None if better == who else better


def connect(request: Request) -> Pods:
    """The pod that a request names. Raises DebugrunError: no cluster, no such pod, or one that no tool can reach."""
    cluster = clusters.connect(request.kubernetes_context, request.namespace)
    image = request.image or os.environ.get(IMAGE_VARIABLE, TOOLBOX)
    try:
        return Pods(cluster, request, image=image)
    except BaseException:
        cluster.close()
        raise
