"""The writable layer of a container: what was written to it, beside what the engine puts there itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from debugrun import shapes
from debugrun.shapes import Json

MODIFIED, ADDED = 0, 1  # Kind in GET /containers/ID/changes; 2 is deleted


def written(changes: Iterable[Json], inspected: Json) -> tuple[str, ...]:
    """Paths of GET /containers/ID/changes, without the mount points that the runtime made, and the way to them."""
    mounts = mount_points(inspected)
    kinds = {str(each["Path"]): each["Kind"] for each in changes}
    made = {path for path, kind in kinds.items() if path in mounts and kind in {MODIFIED, ADDED}}
    ways = {path for path in kinds for point in made if point.startswith(f"{path}/")}
    explained = made | {path for path in ways if kinds[path] in {MODIFIED, ADDED}}
    paths = [path for path in kinds if path not in explained]
    # A folder on the way to what is there to be named says nothing more.
    return tuple(path for path in paths if not any(other.startswith(f"{path}/") for other in paths))


def mount_points(inspected: Json) -> frozenset[str]:
    """Where something is mounted in an inspected container."""
    points = [shapes.text(each, "Destination") for each in shapes.maps(inspected, "Mounts")]
    points += shapes.mapping(shapes.mapping(inspected, "HostConfig"), "Tmpfs")
    return frozenset(each.rstrip("/") for each in points)
