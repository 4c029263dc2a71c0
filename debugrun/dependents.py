"""Containers that refer to another one, and so lose it when that one is recreated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Json = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependent:
    """A container that refers to another one.

    `relations` are of network, pid, ipc, volumes-from, link. `by_name`: all of them name it, so that a restart
    of the dependent finds whoever has the name then; else they hold its id, and the dependent has to be recreated.
    """

    id: str
    name: str
    running: bool
    relations: tuple[str, ...]
    by_name: bool


def dependents(container: Json, others: Sequence[Json]) -> tuple[Dependent, ...]:
    """The containers among `others` (inspected) that refer to `container` (inspected), by name."""
    raise NotImplementedError
