"""What is ours on an engine: marks what we create, proves what we find.

The engine's own functions remove and rename only what this process has created or proven (`Engine.ours`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from debugrun.core.know import json_access
from debugrun.core.know.kinds import (
    COMMON,
    INHERITED,
    KINDS,
    LABEL_CREATED,
    LABEL_KIND,
    LABEL_MAKER,
    LABEL_PROOF,
    LABEL_SESSION,
    Found,
    Kind,
    Thing,
    doubt,
    proof,
)
from debugrun.engine import state
from debugrun.engine.engine import Engine, Json
from debugrun.errors import DebugrunError
from debugrun.values import dataclass

LATE = 2.0  # seconds for the engine to create a container that we no longer want


@dataclass(frozen=True, kw_only=True, slots=True)
class Owned:
    """A thing of ours by proof.

    `state` is a container's: created, running, paused, exited, dead or removing; `parent` is the id of the image that
    an image stands on. `orphaned` says that the process which made it has ended; None where that can't be told.
    """

    kind: Kind
    id: str
    name: str
    labels: Mapping[str, str]
    state: str = ""
    parent: str = ""
    orphaned: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubted:
    """A thing that carries our label without a proof: it is never touched."""

    name: str
    why: str


def marked(kind: Kind, name: str = "", facts: Mapping[str, str] | None = None) -> dict[str, str]:
    """The labels for a thing that is about to be created under this name ("" for an image)."""
    labels = {
        LABEL_SESSION: os.urandom(6).hex(),
        LABEL_CREATED: str(int(time.time())),
        LABEL_MAKER: maker(),
        **(facts or {}),
        LABEL_KIND: kind.name,
    }
    return {**labels, LABEL_PROOF: proof(kind, name, labels, state.secret())}


def clear() -> dict[str, str]:
    """Our labels with nothing in them: for an image of a container that has them, which must not pass them on."""
    return dict.fromkeys((*COMMON, LABEL_PROOF), "")


def containers(engine: Engine, kind: Kind | None = None) -> tuple[list[Owned], list[Doubted]]:
    """All containers that say they are ours (of one kind): the proven ones, which may be changed now, and the rest."""
    label = LABEL_KIND if kind is None else f"{LABEL_KIND}={kind.name}"
    owned: list[Owned] = []
    doubted: list[Doubted] = []
    for each in engine.list_containers(everything=True, labels=[label]):
        with contextlib.suppress(DebugrunError):  # gone since
            inspected = engine.inspect_container(json_access.text(each, "Id"))
            _sort(_found(engine, inspected), Thing.CONTAINER, owned, doubted, status=_state(inspected))
    engine.ours.update(each.id for each in owned)
    return owned, doubted


def images(engine: Engine, label: str = LABEL_KIND) -> list[Owned]:
    """Images of ours by proof, which may be removed now."""
    with engine.asking("list images"):
        listed = list(engine.client.images(filters={"label": label}))
    owned: list[Owned] = []
    for each in listed:
        with contextlib.suppress(DebugrunError):  # gone since
            inspected = engine.inspect_image(json_access.text(each, "Id"))
            parent = json_access.text(inspected, "Parent")
            found = Found(
                id=json_access.text(inspected, "Id"),
                names=tuple(str(tag) for tag in json_access.items(inspected, "RepoTags")),
                labels=_labels(inspected),
                inherited=_labels_of_image(engine, parent) if parent else {},
            )
            _sort(_plain(found), Thing.IMAGE, owned, [], parent=parent)
    engine.ours.update(each.id for each in owned)
    return owned


def volumes(engine: Engine) -> list[Owned]:
    """Volumes of ours by proof, which may be removed now."""
    owned: list[Owned] = []
    with engine.asking("list volumes"):
        listed = engine.client.volumes(filters={"label": LABEL_KIND}).get("Volumes") or []
    for each in listed:
        name = json_access.text(each, "Name")
        labels = {key: str(value) for key, value in json_access.mapping(each, "Labels").items()}
        _sort(Found(id=name, names=(name,), labels=labels), Thing.VOLUME, owned, [])
    engine.ours.update(each.id for each in owned)
    return owned


@contextlib.contextmanager
def creating(
    engine: Engine,
    name: str,
    labels: Mapping[str, str],
    *,
    holding: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
) -> Iterator[None]:
    """While a container is created under this name: one whose answer we did not hear is found by its proof, removed.

    An interrupt may reach us before the engine has created it, so that it is waited for. Nobody else's is touched.
    `holding` is entered for that time: it may keep further signals off.
    """
    try:
        yield
    except BaseException as error:
        with holding():
            deadline = time.monotonic() + (0 if isinstance(error, DebugrunError) else LATE)
            while (made := claim(engine, name, labels)) is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if made is not None:
                with contextlib.suppress(DebugrunError):
                    engine.remove(made)
        raise


def claim(engine: Engine, name: str, labels: Mapping[str, str]) -> str | None:
    """The id of the container `name` if it is the one that we asked for with these labels; None: it is not.

    For a creation whose answer was lost: nobody else has its proof, which covers a random session.
    """
    with contextlib.suppress(DebugrunError):
        found = _found(engine, engine.inspect_container(name))
        told = found.labels.get(LABEL_PROOF)
        if told and told == labels.get(LABEL_PROOF) and not doubt(found, Thing.CONTAINER, state.secret()):
            engine.ours.add(found.id)
            return found.id
    return None


def rename(engine: Engine, container: str, name: str) -> None:
    """POST /containers/ID/rename, of what is ours."""
    engine.allow(container)
    with engine.asking(f"name {name} the container", container):
        engine.client.rename(container, name)


def remove_image(engine: Engine, image: str) -> None:
    """DELETE /images/ID, of what is ours. Raises EngineError `engine-conflict`: in use."""
    engine.allow(image)
    with engine.asking("remove the image", image):
        engine.client.remove_image(image)


def remove_volume(engine: Engine, name: str) -> None:
    """DELETE /volumes/NAME, of what is ours. Raises EngineError `engine-conflict`: in use."""
    engine.allow(name)
    with engine.asking("remove the volume", name):
        engine.client.remove_volume(name)


def _sort(  # noqa: PLR0913 - what it is, and where it goes
    found: Found, thing: Thing, owned: list[Owned], doubted: list[Doubted], *, status: str = "", parent: str = ""
) -> None:
    name = found.names[0] if found.names else found.id
    if why := doubt(found, thing, state.secret()):
        if why != INHERITED:  # an image of ours, or an enemy's: nobody's doing at the container
            doubted.append(Doubted(name=name, why=why))
        return
    labels = found.labels
    alive = is_alive(labels.get(LABEL_MAKER, ""))
    owned.append(
        Owned(
            kind=KINDS[labels[LABEL_KIND]],
            id=found.id,
            name=name,
            labels=labels,
            state=status,
            parent=parent,
            orphaned=None if alive is None else not alive,
        )
    )


def _found(engine: Engine, inspected: Json) -> Found:
    return Found(
        id=json_access.text(inspected, "Id"),
        names=(json_access.text(inspected, "Name").removeprefix("/"),),
        labels=_labels(inspected),
        host=json_access.mapping(inspected, "HostConfig"),
        inherited=_labels_of_image(engine, json_access.text(inspected, "Image")),
    )


def _plain(found: Found) -> Found:
    """Podman names untagged images, and puts localhost/ before its own."""
    names = (each.removeprefix("localhost/") for each in found.names if each != "<none>:<none>")
    return Found(id=found.id, names=tuple(names), labels=found.labels, inherited=found.inherited)


def _labels(inspected: Json) -> dict[str, str]:
    told = json_access.mapping(json_access.mapping(inspected, "Config"), "Labels")
    return {key: str(value) for key, value in told.items()}


def _labels_of_image(engine: Engine, ref: str) -> dict[str, str]:
    """{} of an image that is gone: then its labels can't be what the container has."""
    try:
        return _labels(engine.inspect_image(ref))
    except DebugrunError as error:
        if error.code != "no-such-image":
            raise
        return {}


def _state(inspected: Json) -> str:
    return json_access.text(json_access.mapping(inspected, "State"), "Status")


@functools.cache
def maker() -> str:
    """This process: its PID, its start time, and the PID namespace and boot that both are of. "" where /proc is not."""
    pid = os.getpid()
    return f"{pid}.{start}.{_space()}" if (start := _start(pid)) else ""


def is_alive(made_by: str) -> bool | None:
    """Whether that process runs; None: it is of another PID namespace or boot, or nothing that we wrote."""
    pid, _, rest = made_by.partition(".")
    start, _, space = rest.partition(".")
    if not (pid.isdecimal() and pid.isascii()) or not space or space != _space():
        return None
    return _start(int(pid)) == start


def _start(pid: int) -> str:
    """Its start time in ticks since the boot: proc_pid_stat(5), the field after 21 others; "" for no such process."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    fields = told.rpartition(b")")[2].split()
    return "" if fields[0] in {b"Z", b"X"} else fields[19].decode()


@functools.cache
def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - a link that leads nowhere
    except OSError:
        return ""
    return hashlib.sha256(boot + namespace.encode()).hexdigest()[:12]
