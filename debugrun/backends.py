"""Where a target can be: the containers of an engine, or the pods of a cluster. All above asks a Backend only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from debugrun.attach import apply, planned
from debugrun.attach.invocation import Invocation, can_start_with
from debugrun.attach.place import Place
from debugrun.core.ask.pod_reference import is_pod_reference
from debugrun.core.ask.request import Request
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Option
from debugrun.core.know.facts import ContainerFacts, Facts
from debugrun.core.know.tool_file import Tool
from debugrun.engine import engine
from debugrun.observe.target import look


@contextmanager
def reach(request: Request) -> Iterator[Backend]:
    """The kind of engine that holds the target: a cluster for KIND/NAME, else the engine. Raises DebugrunError."""
    if is_pod_reference(request.container):
        from debugrun.kubernetes import backend  # noqa: PLC0415 - not on the way to a container

        with backend.connect(request) as pods:
            yield pods
        return
    with engine.connect() as connection:
        yield Containers(connection)


class Backend(Protocol):
    """A kind of engine: what it tells of a target, what it alone can say to a plan, and a place for tools there."""

    def look(self, request: Request, tool: Tool | None) -> Facts:
        """Observe the process that is meant."""

    def decide(self, decision: Plan, *, everything: bool = False) -> Plan:
        """The plan, with what only the engine itself can say to the option that is taken, or to `everything`."""

    def place(self, decision: Plan, option: Option, steps: Sequence[Invocation]) -> AbstractContextManager[Place]:
        """Where the steps run, one after the other; nothing of it stays behind."""

    def planned(
        self,
        decision: Plan,
        option: Option,
        *,
        only: Sequence[str] = (),
        lets_go: bool = False,
        helpers: Sequence[str] = (),
    ) -> AbstractContextManager[Place]:
        """The same for programs of ours in place of the tool: see `attach.planned.place`."""

    def beside(
        self, option: Option, target: ContainerFacts, *, tool: str, only: Sequence[str] = ()
    ) -> AbstractContextManager[Place]:
        """Where a program of ours runs that no plan was made for; `only` may be the only one."""


class Containers:
    """The containers of a Docker engine, or of one that speaks its API."""

    def __init__(self, connection: engine.Engine) -> None:
        self.connection = connection

    def look(self, request: Request, tool: Tool | None) -> Facts:
        """Observe the process that is meant."""
        return look(self.connection, request, tool)

    def decide(self, decision: Plan, *, everything: bool = False) -> Plan:  # noqa: ARG002 - as Backend has it
        """The plan as it is: all rules of such an engine are known."""
        return decision

    def place(self, decision: Plan, option: Option, steps: Sequence[Invocation]) -> AbstractContextManager[Place]:
        """A sidecar, or the container itself."""
        only = steps[0].argv if can_start_with(steps, option, decision.facts) else ()
        return planned.place(self.connection, decision, option, only=only)

    def planned(
        self,
        decision: Plan,
        option: Option,
        *,
        only: Sequence[str] = (),
        lets_go: bool = False,
        helpers: Sequence[str] = (),
    ) -> AbstractContextManager[Place]:
        """A sidecar."""
        return planned.place(self.connection, decision, option, only=only, lets_go=lets_go, helpers=helpers)

    def beside(
        self, option: Option, target: ContainerFacts, *, tool: str, only: Sequence[str] = ()
    ) -> AbstractContextManager[Place]:
        """A sidecar of the toolbox."""
        return apply.place(
            self.connection,
            option,
            target,
            session=os.urandom(6).hex(),
            tool=tool,
            breakpoints=False,
            only=only,
            toolbox=True,
        )
