"""Mounts of an inspected container, as a request asks for them so that the very same volumes come back. Pure.

Volumes are asked for with `nocopy`: else creating a container fills an empty volume from the image, and a volume in
use, or emptied on purpose, is not ours to write to (moby daemon/create_unix.go populateVolumes()).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from debugrun.core.know.json_access import Json, items, mapping, maps, text
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """The fields of HostConfig that mounts need otherwise than they were, and what is to be said of them."""

    host: Json
    lost: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def stored(container: Json, others: Sequence[Json], *, docker: bool, volumes: Sequence[Json] = ()) -> Stored:
    """The mounts of `container`: anonymous volumes by name, volumes of other containers as long as those have them.

    `others` are those other containers, inspected; `docker` says that the engine knows `nocopy`. `volumes` are
    its inspected volumes, for those that are in memory while a container uses them.
    """
    host = mapping(container, "HostConfig")
    mounted = {text(mount, "Destination"): mount for mount in maps(container, "Mounts")}
    kept, gone = _volumes_from(host, mounted, others)
    mounts = [_pinned(mount, mounted, docker=docker) for mount in maps(host, "Mounts")]
    covered = {text(mount, "Target") for mount in mounts} | {destination(bind) for bind in _binds(host)} | kept
    pins = [
        _pin(mounted[target], docker=docker)
        for target in sorted(mounted)
        if target not in covered and target not in mapping(host, "Tmpfs")
    ]
    changed: dict[str, object] = {}
    if _binds(host):
        changed["Binds"] = [_bind(bind, docker=docker) for bind in _binds(host)]
    if mounts or pins:
        changed["Mounts"] = [*mounts, *pins]
    if gone:
        changed["VolumesFrom"] = [each for each in items(host, "VolumesFrom") if each not in gone]
    return Stored(
        host=changed,
        lost=(*_lost(host, mounted), *_in_memory(mounted, volumes)),
        warnings=tuple(_warnings(host, pins, gone)),
    )


def destination(bind: str) -> str:
    """Where an entry of HostConfig.Binds is mounted: SOURCE:DESTINATION[:OPTIONS]."""
    return bind.split(":")[1] if ":" in bind else bind


def _binds(host: Json) -> list[str]:
    return [str(each) for each in items(host, "Binds")]


def _bind(bind: str, *, docker: bool) -> str:
    """An entry of Binds; of a volume, not a path, with nocopy.

    Without any option it would get z from the engine (moby daemon/volumes_unix.go setBindModeIfNull()).
    """
    parts = bind.split(":")
    if not docker or bind.startswith("/") or len(parts) < 2:  # noqa: PLR2004 - source and destination
        return bind
    options = parts[2].split(",") if len(parts) > 2 and parts[2] else ["z"]  # noqa: PLR2004 - then the options
    return ":".join([*parts[:2], ",".join(options if "nocopy" in options else [*options, "nocopy"])])


def _pinned(mount: Json, mounted: Mapping[str, Json], *, docker: bool) -> Json:
    """An entry of HostConfig.Mounts; an anonymous volume gets the name that it was given."""
    if text(mount, "Type") != "volume":
        return mount
    name = text(mount, "Source") or text(mounted.get(text(mount, "Target"), {}), "Name")
    options = {**mapping(mount, "VolumeOptions"), "NoCopy": True} if docker else mapping(mount, "VolumeOptions")
    return {**mount, "Source": name, **({"VolumeOptions": options} if options else {})}


def _pin(found: Json, *, docker: bool) -> Json:
    """An entry of HostConfig.Mounts for what is mounted and no option of the container's own asks for."""
    target = text(found, "Destination")
    protected = {"ReadOnly": True} if found.get("RW") is False else {}
    if text(found, "Type") != "volume":
        propagation = {"BindOptions": {"Propagation": text(found, "Propagation")}} if found.get("Propagation") else {}
        kind = text(found, "Type") or "bind"
        return {"Type": kind, "Source": text(found, "Source"), "Target": target, **protected, **propagation}
    driver = text(found, "Driver")
    options: dict[str, object] = {"NoCopy": True} if docker else {}
    if driver not in {"", "local"}:
        options["DriverConfig"] = {"Name": driver}
    pin = {"Type": "volume", "Source": text(found, "Name"), "Target": target, **protected}
    return {**pin, **({"VolumeOptions": options} if options else {})}


def _volumes_from(host: Json, mounted: Mapping[str, Json], others: Sequence[Json]) -> tuple[set[str], list[str]]:
    """(destinations that VolumesFrom still brings, its entries that name a container that is gone).

    What another container has changed since is not brought by it: that is pinned instead.
    """
    brought: set[str] = set()
    gone = []
    for entry in items(host, "VolumesFrom"):
        ref = str(entry).partition(":")[0]
        other = next((each for each in others if _is(each, ref)), None)
        if other is None:
            gone.append(str(entry))
            continue
        for mount in maps(other, "Mounts"):
            found = mounted.get(text(mount, "Destination"), {})
            if found and all(found.get(key) == mount.get(key) for key in ("Type", "Name", "Source")):
                brought.add(text(mount, "Destination"))
    return brought, gone


def _is(container: Json, ref: str) -> bool:
    return bool(ref) and (text(container, "Name").removeprefix("/") == ref or text(container, "Id").startswith(ref))


def _lost(host: Json, mounted: Mapping[str, Json]) -> list[str]:
    places = [*mapping(host, "Tmpfs"), *(text(m, "Target") for m in maps(host, "Mounts") if text(m, "Type") == "tmpfs")]
    places += [target for target, mount in mounted.items() if text(mount, "Type") == "tmpfs"]
    return [f"what is in the tmpfs at {place}" for place in dict.fromkeys(places)]


def _in_memory(mounted: Mapping[str, Json], volumes: Sequence[Json]) -> list[str]:
    """Volumes of a tmpfs: the engine unmounts them with the last container that runs."""
    names = {text(each, "Name") for each in volumes if text(mapping(each, "Options"), "type") in {"tmpfs", "ramfs"}}
    return [
        f"what is in the volume {text(mount, 'Name')} at {target}: it is in memory"
        for target, mount in mounted.items()
        if text(mount, "Name") in names
    ]


def _warnings(host: Json, pins: Sequence[Json], gone: Sequence[str]) -> list[str]:
    anonymous = [text(m, "Target") for m in maps(host, "Mounts") if text(m, "Type") == "volume" and not m.get("Source")]
    anonymous += [text(pin, "Target") for pin in pins if text(pin, "Type") == "volume"]
    warnings = [
        f"the anonymous volume at {place} is kept by its name: `docker rm -v` and --rm will not remove it"
        for place in anonymous
    ]
    return [*warnings, *(f"{each} is no container any more: its volumes are mounted by name" for each in gone)]
