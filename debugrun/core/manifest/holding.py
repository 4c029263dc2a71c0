"""What one container of a manifest holds, and where each part of it stands. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from debugrun.core.export.ask import Privileges
from debugrun.core.manifest.document import Node
from debugrun.values import dataclass

# Calls by which a process looks at another, for policies that are lists of calls.
DEBUG_CALLS = frozenset({"ptrace", "process_vm_readv", "process_vm_writev", "perf_event_open", "bpf", "kcmp"})


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A place on the way down to a part: an entry of a mapping (`key`), or an item of a list."""

    owner: Node
    value: Node
    key: Node | None = None


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Part:
    """One thing that is granted: what it is, and the way to it from the container's mapping.

    `kind` is privileged, capability, drop, seccomp, apparmor, label, no-new-privileges, pid, network, mount, user or
    call. A part of a running container stands nowhere: its way is empty.
    """

    kind: str
    value: str
    way: tuple[Step, ...] = ()

    @property
    def node(self) -> Node:
        """Where it stands."""
        last = self.way[-1]
        return last.key or last.value


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Holding:
    """A container: its name for people, its mapping in the document, and its parts. `joins` is in the same file."""

    name: str
    format: str
    node: Node
    parts: tuple[Part, ...]
    joins: str = ""

    @property
    def privileges(self) -> Privileges:
        """The parts as one value."""
        return gathered(self.parts)


def gathered(parts: tuple[Part, ...]) -> Privileges:
    """The parts as one value, in the order in which they stand."""
    found = Privileges()
    for part in parts:
        found = with_part(found, part.kind, part.value)
    return found


_FLAGS = {"privileged": "privileged", "label": "no_labels", "no-new-privileges": "no_new_privileges"}
_LISTS = {"capability": "cap_add", "drop": "cap_drop", "mount": "mounts"}
_TEXTS = frozenset({"seccomp", "apparmor", "pid", "network", "user"})


def with_part(given: Privileges, kind: str, value: str) -> Privileges:
    """The privileges with one part more; what is no privilege of a container's (a call) changes nothing."""
    change: dict[str, Any] = {}
    if kind in _FLAGS:
        change = {_FLAGS[kind]: True}
    elif kind in _LISTS:
        change = {_LISTS[kind]: (*getattr(given, _LISTS[kind]), value)}
    elif kind in _TEXTS:
        change = {kind: value}
    return replace(given, **change)


def down(node: Node, *path: str) -> tuple[Step, ...]:
    """The way down a path of keys; () where it is not all there."""
    way: list[Step] = []
    for key in path:
        found = node.entry(key)
        if found is None:
            return ()
        way.append(Step(node.owner_of(key), found[1], found[0]))
        node = found[1]
    return tuple(way)


def each(node: Node, *path: str) -> list[tuple[Step, ...]]:
    """The ways to the items of a list at a path; to the value itself where that is no list."""
    way = down(node, *path)
    if not way:
        return []
    held = way[-1].value
    if held.items is None:
        return [way]
    return [(*way, Step(held, item)) for item in held.items]
