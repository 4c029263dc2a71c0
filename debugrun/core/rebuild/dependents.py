"""Containers that refer to another one, and so lose it when that one is recreated. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from debugrun.core.know.json_access import Json, items, mapping, text
from debugrun.values import dataclass

MODES = {"network": "NetworkMode", "pid": "PidMode", "ipc": "IpcMode"}
SHORT = 12  # digits of an id that `docker ps` shows


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependent:
    """A container that refers to another one.

    `relations` are of network, pid, ipc, volumes-from, link. `remedy` is what it needs once the other one has been
    recreated: "recreate" (it holds the old one's id, and with it its namespaces or address), "restart" (it holds the
    name) or "nothing" (volumes are its own since it was created).
    """

    id: str
    name: str
    running: bool
    relations: tuple[str, ...]
    remedy: str


def dependents(container: Json, others: Sequence[Json]) -> tuple[Dependent, ...]:
    """The containers among `others` that refer to `container` (all inspected), in the order of their names.

    Docker writes the id for what was typed as a name in the three modes (measured on 20.10 and 28.5). Links of
    user-defined networks are names that are looked up each time: no dependence.
    """
    found = [each for other in others if (each := _dependent(container, other)) is not None]
    return tuple(sorted(found, key=lambda each: each.name))


def _dependent(container: Json, other: Json) -> Dependent | None:
    if text(other, "Id") == text(container, "Id"):
        return None
    relations = dict(_relations(container, other))
    if not relations:
        return None
    return Dependent(
        id=text(other, "Id"),
        name=text(other, "Name").removeprefix("/"),
        running=mapping(other, "State").get("Running") is True,
        relations=tuple(relations),
        remedy=next(remedy for remedy in ("recreate", "restart", "nothing") if remedy in relations.values()),
    )


def _relations(container: Json, other: Json) -> Iterator[tuple[str, str]]:
    """(relation, remedy) of each way in which `other` refers to `container`."""
    host = mapping(other, "HostConfig")
    for relation, key in MODES.items():
        kind, _, ref = text(host, key).partition(":")
        if kind == "container" and (held := _refers(container, ref)):
            yield relation, "recreate" if held == "id" else "restart"
    if any(_refers(container, str(entry).partition(":")[0]) for entry in items(host, "VolumesFrom")):
        yield "volumes-from", "nothing"
    # /other:/this/alias: the engine follows the container through renames, and wrote its address to /etc/hosts.
    if any(_refers(container, str(link).partition(":")[0].removeprefix("/")) for link in items(host, "Links")):
        yield "link", "recreate"


def _refers(container: Json, ref: str) -> str:
    """How a reference means the container: by "id", by "name", or "" not at all."""
    if ref == text(container, "Name").removeprefix("/"):
        return "name"
    return "id" if len(ref) >= SHORT and text(container, "Id").startswith(ref) else ""
