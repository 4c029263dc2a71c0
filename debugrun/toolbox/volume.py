"""The toolbox as a volume: its /usr, copied once per toolbox image, for containers of other images to mount read-only.

Engines copy what an image has at a path into an empty volume that is mounted there. So a container of the toolbox is
run once; what it does itself is to say that the copy is whole. The volume stays until `debugrun gc`, or until another
toolbox is built.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from debugrun.core.know import kinds
from debugrun.core.know.kinds import LABEL_VOLUME
from debugrun.core.know.typed import CAPABILITY_COPIES, ROOT_COPIES
from debugrun.engine import ownership
from debugrun.engine.engine import Engine
from debugrun.errors import EngineError

PREFIX = "debugrun-toolbox-"
COMPLETE = ".complete"  # a file at the volume's root
_HOME = "/usr"
# The programs are read here, by a loader that is named; those with capabilities have no business in a user's container.
# The mode is what a tmpfs there needs: engines give a tmpfs that of the folder below it.
_SCRIPT = f"""\
rm -rf {CAPABILITY_COPIES} {ROOT_COPIES} &&
chmod -R a+r {_HOME} && mkdir -p -m 1777 {_HOME}/scratch && : >{_HOME}/{COMPLETE}"""
PATIENCE = 120.0  # seconds for another session to copy what we need too


def name_of(image_id: str) -> str:
    """The name of the volume for a toolbox image."""
    return PREFIX + image_id.removeprefix("sha256:")[:12]


def exists(engine: Engine, name: str) -> bool:
    """Whether there is such a volume, whole or not."""
    with engine.asking("list volumes"):
        listed = engine.client.volumes(filters={"name": name})["Volumes"] or []
    return any(each["Name"] == name for each in listed)


def fill(engine: Engine, image_id: str) -> str:
    """Copy the toolbox into its volume; when somebody else is at it, in turn: nothing is left to copy then. Its name.

    The copying container's name is the lock. Raises EngineError.
    """
    name = name_of(image_id)
    container = _take_turn(engine, image_id, name)
    try:
        engine.start(container)
        with engine.asking("wait for", f"{name}-copy"):
            status = engine.client.wait(container)["StatusCode"]
        if status != 0:
            raise EngineError("no-volume", f"copying the toolbox ended with {status}", "debugrun toolbox build")
    finally:
        engine.remove(container, force=True)
    return name


def _take_turn(engine: Engine, image_id: str, name: str) -> str:
    """The container that copies, once its name is free; its id.

    Only making it tells: an engine that copies into a volume has the name taken, and no such container to look at.
    """
    copier = f"{name}-copy"
    labels = ownership.marked(kinds.COPIER, copier, {LABEL_VOLUME: image_id})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _create(engine, image_id, name, labels)
        except EngineError as error:
            if error.code != "engine-conflict":
                raise
            if time.monotonic() > deadline:
                message = f"another session copies the toolbox, and has not ended in {PATIENCE:.0f} s"
                raise EngineError("volume-busy", message, "debugrun gc removes what a crash left") from error
        time.sleep(0.2)


def _create(engine: Engine, image_id: str, name: str, labels: Mapping[str, str]) -> str:
    copier = f"{name}-copy"
    own = ownership.marked(kinds.VOLUME, name, {LABEL_VOLUME: image_id})
    host = engine.client.create_host_config()
    host["Mounts"] = [{"Type": "volume", "Source": name, "Target": _HOME}]
    # By itself, not by its mount: Podman would leave the labels out, and nobody could prove whose it is.
    with engine.asking("create the volume", name):
        engine.client.create_volume(name, labels=own)
    with ownership.creating(engine, copier, labels), engine.asking("create a container named", copier):
        created = engine.client.create_container(
            image_id,
            entrypoint=["/bin/sh"],
            command=["-c", _SCRIPT],
            host_config=host,
            labels=dict(labels),
            name=copier,
            network_disabled=True,
            use_config_proxy=False,
            user="0:0",
        )
    return engine.created(created)


def renew(engine: Engine, image_id: str) -> str:
    """Fill a volume that was found incomplete: somebody is at it, or was when the engine went down."""
    name = name_of(image_id)
    if exists(engine, name) and name not in {each.id for each in ownership.volumes(engine)}:
        message = f"the volume {name} is incomplete, and that debugrun made it on this machine can't be proven"
        raise EngineError("volume-not-ours", message, f"docker volume rm {name}")
    try:
        ownership.remove_volume(engine, name)
    except EngineError as error:
        if error.code not in {"engine-conflict", "not-ours"}:  # in use; gone meanwhile
            raise
    return fill(engine, image_id)


def is_complete(engine: Engine, container: str, where: str) -> bool:
    """Whether the volume that `container` has mounted at `where` is whole."""
    return engine.archive_stat(container, f"{where}/{COMPLETE}") is not None


def remove(engine: Engine, *, keep: str | None = None) -> tuple[str, ...]:
    """Remove the volumes that no container uses, but the one for the image id `keep`; their names."""
    gone = []
    for name in (each.id for each in ownership.volumes(engine)):
        if keep is not None and name == name_of(keep):
            continue
        try:
            ownership.remove_volume(engine, name)
        except EngineError as error:
            if error.code != "engine-conflict":  # in use
                raise
        else:
            gone.append(name)
    return tuple(gone)
