"""What the memory of a process is made of: decoded from what was printed, and what to ask its runtime. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from debugrun.core.know.json_access import items, mapping, maps, text
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Mappings of one kind, in bytes. `pss` shares what several processes have; `private` is written by this one."""

    name: str
    count: int
    size: int
    rss: int
    pss: int
    private: int
    swap: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """One process. `largest` are (name, kind, RSS in bytes); `cut`: it has more mappings than were read."""

    pid: int
    kinds: tuple[Kind, ...] = ()
    largest: tuple[tuple[str, str, int], ...] = ()
    runtimes: tuple[str, ...] = ()
    cut: bool = False
    error: str = ""

    @property
    def rss(self) -> int:
        """Bytes in memory."""
        return sum(each.rss for each in self.kinds)


def parse(printed: str) -> tuple[Memory, ...]:
    """What data/oncall/memory.py printed. Raises ValueError: it was cut off or is something else."""
    told = json.loads(printed)
    if not isinstance(told, dict) or told.get("schema") != 1:
        raise ValueError("not a list of memory")
    return tuple(_memory(each) for each in maps(told, "processes"))


def _memory(told: Mapping[str, object]) -> Memory:
    kinds = [
        Kind(name=name, **{key: _number(kind, key) for key in ("count", "size", "rss", "pss", "private", "swap")})
        for name, kind in mapping(told, "kinds").items()
        if isinstance(kind, dict)
    ]
    return Memory(
        pid=_number(told, "pid"),
        kinds=tuple(sorted(kinds, key=lambda kind: -kind.rss)),
        largest=tuple((text(each, "name"), text(each, "kind"), _number(each, "rss")) for each in maps(told, "largest")),
        runtimes=tuple(str(each) for each in items(told, "runtimes")),
        cut=told.get("cut") is True,
        error=text(told, "error"),
    )


def advice(runtimes: tuple[str, ...], container: str, pid: int) -> list[str]:
    """How the types that fill a runtime's memory are had: nothing tells them from outside without asking it."""
    told = {
        "jvm": f"top types of the JVM: debugrun jattach {container} {pid} --mode jcmd -- GC.class_histogram",
        "node": "top types of node: it writes them at a signal when it was started with --heapsnapshot-signal=SIGUSR2",
        "python": "top types of Python: it knows where objects were made when it was started with PYTHONTRACEMALLOC=10",
    }
    return [told[each] for each in runtimes if each in told]


def _number(told: Mapping[str, object], key: str) -> int:
    value = told.get(key)
    return value if isinstance(value, int) else 0
