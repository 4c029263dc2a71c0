"""A pod as the session knows a container of an engine: its facts, the server's say in the plan, a place for tools.

The process' ids, capabilities and dumpability are not in the API: they are read from an ephemeral container, which is
also the tool's sidecar when what it has turns out to be enough.
"""

from __future__ import annotations

import contextlib
import functools
import os
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

from debugrun.attach import apply, lease
from debugrun.attach.invocation import Invocation
from debugrun.attach.place import Place
from debugrun.core.ask.pod_reference import parse
from debugrun.core.ask.request import TOOLBOX, Request
from debugrun.core.ask.selection import Wanted
from debugrun.core.decide import admitted
from debugrun.core.decide.plan import Plan
from debugrun.core.decide.programs import READ_ALL
from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.know import pod as knowledge
from debugrun.core.know.facts import ContainerFacts, Facts, ImageFacts
from debugrun.core.know.json_access import Json, mapping, text
from debugrun.core.know.tool_file import Tool
from debugrun.core.know.typed import ROOT_ENVIRONMENT
from debugrun.core.oncall import containers
from debugrun.core.oncall.containers import Container
from debugrun.errors import EngineError
from debugrun.kubernetes import admission, pods
from debugrun.kubernetes import cluster as clusters
from debugrun.kubernetes.cluster import Cluster
from debugrun.kubernetes.pods import Found
from debugrun.kubernetes.sidecar import Made, Runner, Sidecar, start
from debugrun.kubernetes.survey import kernel, survey
from debugrun.observe import scout
from debugrun.observe import seen as sight
from debugrun.toolbox import catalog

IMAGE_VARIABLE = "DEBUGRUN_KUBERNETES_IMAGE"  # the toolbox as the nodes can pull it
SECCOMP_VARIABLE = "DEBUGRUN_KUBERNETES_SECCOMP"  # below the kubelet's seccomp folder: exported profiles


class Pods:
    """One pod's container, in reach through the API server. Close it, or use it as a context manager."""

    def __init__(self, cluster: Cluster, request: Request, *, image: str, pull_policy: str = "IfNotPresent") -> None:
        self._cluster = cluster
        self._image = image
        self._pull_policy = pull_policy
        self._found = pods.find(cluster, parse(request.container))
        self._runner = Runner(cluster=cluster, found=self._found)
        self._around = knowledge.pod_facts(self._found.pod, self._found.container, None)
        self._sidecars: dict[str, Sidecar] = {}
        self._machine = ""
        self._script = functools.partial(lease.command, stop_signal="TERM", breakpoints=False)
        self._ours = request.image is None

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
            signal, writes = tool.stop_signal, tool.breakpoints
            self._script = functools.partial(lease.command, stop_signal=signal, breakpoints=writes)
        version = self._cluster.get("/version")
        engine = knowledge.engine_facts(version, self._node(), self._found.pod)
        architecture = engine.architecture or None
        container = knowledge.container_facts(self._found.pod, self._found.container, architecture=architecture)
        who = _first(container)
        wanted = Wanted(pid=request.pid, host_pid=request.host_pid, comm=request.comm)
        while True:
            made = self._sidecar(self._as(who))
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
        images = ImageFacts(toolbox=self._image, toolbox_binaries=self._holds(tool))
        space = self._cluster.maybe(f"/api/v1/namespaces/{urllib.parse.quote(knowledge.namespace(self._found.pod))}")
        refuses = admission.refuses_all(self._cluster, self._found, self._image) if tool is None else ""
        return Facts(
            engine=engine,
            host=seen.host,
            container=sight.cross_checked(container, seen),
            process=process,
            images=images,
            pod=knowledge.pod_facts(self._found.pod, self._found.container, space, refuses=refuses),
        )

    def _holds(self, tool: Tool | None) -> tuple[str, ...]:
        """What our toolbox holds; () where the image is one that was named, of which nothing is known."""
        if not self._ours:
            return ()
        tools = (tool,) if tool is not None else (catalog.load(name) for name in catalog.names())
        return tuple(sorted({each.binary for each in tools if each.toolbox}))

    def decide(self, decision: Plan, *, everything: bool = False) -> Plan:
        """The plan with what the API server says to the option that is taken, or to `everything`."""
        placed = admitted.with_profiles(decision, os.environ.get(SECCOMP_VARIABLE) or None)
        return admission.asked(self._cluster, self._found, placed, self._image, everything=everything)

    @contextlib.contextmanager
    def place(self, decision: Plan, option: Option, steps: Sequence[Invocation]) -> Iterator[Place]:
        """The place of an option: a sidecar that runs already, where that has the same context, else another one."""
        del steps
        if option.placement is not Placement.SIDECAR:
            message = f"--via {option.placement.value} is for an engine's containers: a pod gets an ephemeral container"
            raise EngineError("kubernetes-placement", message, "leave --via out")
        with self._place(option, decision.facts.container, decision.facts.process.identity) as place:
            yield place

    def planned(
        self,
        decision: Plan,
        option: Option,
        *,
        only: Sequence[str] = (),
        lets_go: bool = False,
        helpers: Sequence[str] = (),
    ) -> contextlib.AbstractContextManager[Place]:
        """An ephemeral container that runs already, where that has the same context, else another one."""
        del only, lets_go, helpers
        return self._place(option, decision.facts.container, decision.facts.process.identity)

    def beside(
        self, option: Option, target: ContainerFacts, *, tool: str, only: Sequence[str] = ()
    ) -> contextlib.AbstractContextManager[Place]:
        """The same."""
        del tool, only
        return self._place(option, target)

    @contextlib.contextmanager
    def _place(self, option: Option, target: ContainerFacts, expected: str = "") -> Iterator[Place]:
        with apply.ending():
            made = self._sidecar(option)
            place = Place(
                engine=self._runner,
                container=made.name,
                target=target,
                user=option.user,
                lease=made.lease,
                privileged=False,
                expected=expected if option.pid_namespace == "target" else "",
            )
            try:
                yield place
            finally:
                place.leave()

    @property
    def described(self) -> Container:
        """The container as pages show it."""
        return containers.of_pod(self._found.pod, self._found.container)

    @property
    def configured(self) -> ContainerFacts:
        """What the pod asks for its container."""
        return knowledge.container_facts(self._found.pod, self._found.container)

    @property
    def architecture(self) -> str:
        """Of the node, as uname -m; asked of an ephemeral container where nodes are not ours to see."""
        if not self._machine:
            node = self._node()
            self._machine = knowledge.engine_facts({}, node, self._found.pod).architecture
        if not self._machine:
            made = self._sidecar(self._as(_first(self.configured)))
            self._machine = kernel(self._runner, made.name)[1]
        return self._machine

    def _node(self) -> Json | None:
        name = text(mapping(self._found.pod, "spec"), "nodeName")
        return self._cluster.maybe(f"/api/v1/nodes/{urllib.parse.quote(name)}")

    def again(self) -> None:
        """Look at the pod again: its container may have been restarted. Raises DebugrunError: it can't be reached."""
        pod = self._cluster.get(self._found.path)
        self._found = self._runner.found = Found(pod=pod, container=knowledge.check(pod, self._found.container))

    def _as(self, who: scout.Identity) -> Option:
        """The context that a scout has, as an option with no verdict: the one that the tool will most likely have."""
        closes = self._ours and who.user == "0:0" and not READ_ALL.isdisjoint(who.capabilities)
        return Option(
            placement=Placement.SIDECAR,
            grant=Grant.NONE,
            user=who.user,
            verdict=Verdict.UNKNOWN,
            gates=(),
            cap_add=who.capabilities,
            no_new_privileges=not closes,
        )

    def _sidecar(self, option: Option) -> Sidecar:
        key = repr(admitted.context_of(option, self._around))
        if key not in self._sidecars:
            script = self._script(closed=self._ours and option.grant is not Grant.NONE)
            environment = ROOT_ENVIRONMENT if self._ours and option.user == "0:0" else {}
            wanted = Made(image=self._image, pull_policy=self._pull_policy, command=script, environment=environment)
            self._sidecars[key] = start(self._runner, option, wanted)
        return self._sidecars[key]


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
