"""Recreates a container with more than it had, so that every step can be taken back: see `transaction`.

The order: the stand-in is created under a name that only one can have; the original gives up its name and its restart
policy, and is stopped; its writable layer is committed where something was written to it; the stand-in gets the name,
starts, and gets the restart policy. Whatever goes wrong, and whoever kills us, `restore` finds the way back.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from debugrun.attach.hold_signals import steady
from debugrun.core.know import json_access, kinds
from debugrun.core.know.json_access import Json
from debugrun.core.know.kinds import LABEL_LAYER, LABEL_RECORD
from debugrun.core.rebuild import transaction
from debugrun.core.rebuild.blueprint import Blueprint, with_image, with_labels
from debugrun.core.rebuild.transaction import NEVER, Record, Restart, Scene
from debugrun.engine import ownership
from debugrun.engine.engine import Engine
from debugrun.errors import DebugrunError, EngineError, TargetError
from debugrun.observe import layer
from debugrun.recreate import journal, restore
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is to be done: `before` is the original, inspected; `drawn` what creates the stand-in."""

    before: Json
    drawn: Blueprint
    record: Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The stand-in's id; when the original was told to stop; how long nothing served so far, in seconds.

    `written` are the paths that made it necessary to commit the original's writable layer; then there is a `spare`
    stand-in, which held the lock.
    """

    id: str
    spare: str | None
    began: float
    down: float
    written: tuple[str, ...]


def recreate(engine: Engine, change: Change, *, start: bool = True) -> Done:
    """Let a stand-in take the original's place; on any failure the original has it again.

    Without `start` that is left to whoever is in its foreground, and nothing restarts it. Raises DebugrunError, whose
    hint says `debugrun restore` where going back failed as well.
    """
    record = change.record
    with journal.working_on(record.original, record.name):
        _refuse_second(restore.scene(engine, record), record)
        journal.write(record, engine.endpoint.url)
        with _reserving(engine, record):
            first = _create(engine, change.drawn, record.lock, record)
        with _withdrawing(engine, record, first):
            _check(engine, change, first)
        stopping = [False]
        with _going_back(engine, change, stopping):
            done = _prepare(engine, change, first, stopping)
            if start:
                return _serve(engine, change, done)
            _tidy(engine, done)
            return done


def _refuse_second(found: Scene, record: Record) -> None:
    if found.stand_ins:
        raise TargetError(
            "being-recreated",
            f"{record.name} is being recreated by somebody else, or that was interrupted",
            f"wait, or `debugrun restore {record.name}`",
        )


@contextmanager
def _reserving(engine: Engine, record: Record) -> Iterator[None]:
    """Nothing has changed yet: what may have been created after all is removed, somebody else's is not."""
    try:
        yield
    except BaseException as error:
        if _stands(engine, record):
            _back(engine, record, error, stopping=False)
        else:
            journal.forget(record.original)
        if isinstance(error, EngineError) and error.code == "engine-conflict":
            _refuse_second(restore.scene(engine, record), record)
        raise


def _stands(engine: Engine, record: Record) -> bool:
    """Whether a stand-in of this very recreate is there; yes where that can't be told."""
    try:
        return any(each.session == record.session for _, each in restore.labelled(engine))
    except DebugrunError:
        return True


@contextmanager
def _withdrawing(engine: Engine, record: Record, first: str) -> Iterator[None]:
    """Only our stand-in is new: where the original has another name by now, somebody else is recreating it."""
    try:
        yield
    except BaseException as error:
        try:
            with steady(f"removing the stand-in of {record.name}"):
                restore.remove(engine, first)
        except DebugrunError as second:
            raise _not_back(record, error, second) from error
        journal.forget(record.original)
        raise


@contextmanager
def _going_back(engine: Engine, change: Change, stopping: list[bool]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        _back(engine, change.record, error, stopping=stopping[0])
        _tell_ports(engine, change)
        raise


def _tell_ports(engine: Engine, change: Change) -> None:
    """Say which random ports are others, since the original was stopped and started."""
    with suppress(DebugrunError):
        now = engine.inspect_container(change.record.original)
        for line in restore.moved(restore.published(change.before), restore.published(now)):
            print(f"debugrun: note: {line}", file=sys.stderr)


def _back(engine: Engine, record: Record, error: BaseException, *, stopping: bool) -> None:
    """Undo; where that fails too, the error that is raised says what is left to do."""
    try:
        restore.undo(engine, record, stopping=stopping)
    except DebugrunError as second:
        raise _not_back(record, error, second) from error


def _not_back(record: Record, error: BaseException, second: DebugrunError) -> EngineError:
    said = error.message if isinstance(error, DebugrunError) else type(error).__name__
    message = f"{said}; then the way back failed too: {second.message}"
    return EngineError("not-restored", message, f"debugrun restore {record.name}")


def _check(engine: Engine, change: Change, first: str) -> None:
    """The stand-in is alone, the original is still what was looked at, and the data is the same in both."""
    record = change.record
    others = [found for _, found in restore.labelled(engine) if found.original == record.original]
    now = engine.inspect_container(record.original)
    if any(each.session != record.session for each in others) or _essence(now) != _essence(change.before):
        raise TargetError(
            "changed-meanwhile", f"{record.name} was changed by somebody else meanwhile", "the same command again"
        )
    named = {
        json_access.text(each, "Source")
        for each in json_access.maps(json_access.mapping(change.drawn.body, "HostConfig"), "Mounts")
    }
    strange = _volumes(engine.inspect_container(first)) - _volumes(change.before) - named
    if strange:
        message = f"a new container of {record.name} would not have its volumes: {len(strange)} would be new and empty"
        raise EngineError("volumes-differ", message, "name its volumes, so that they can be found again")


def _essence(inspected: Json) -> tuple[object, ...]:
    return tuple(inspected.get(key) for key in ("Name", "Config", "HostConfig"))


def _volumes(inspected: Json) -> set[str]:
    return {
        json_access.text(each, "Name") for each in json_access.maps(inspected, "Mounts") if each.get("Type") == "volume"
    }


def _prepare(engine: Engine, change: Change, first: str, stopping: list[bool]) -> Done:
    """Stop the original, and have the stand-in in its place, to be started."""
    record = change.record
    engine.ours.add(record.original)  # a person asked for it to be recreated
    if restarts := _restarts(change.before):  # no engine renames a container while it makes its network
        restore.set_restart(engine, record.original, Restart())
        engine.stop(record.original, timeout=restore.stop_timeout(change.before))
    ownership.rename(engine, record.original, record.parked)
    if record.restart.name != NEVER and not restarts:
        restore.set_restart(engine, record.original, Restart())
    stopping[0] = True
    began = time.monotonic()
    engine.stop(record.original, timeout=restore.stop_timeout(change.before))
    stopping[0] = False
    written = layer.written(engine, change.before)
    if written:
        labels = ownership.marked(kinds.LAYER, facts={LABEL_LAYER: record.original})
        image = layer.commit(engine, record.original, labels)
        stand_in = _create(engine, with_image(change.drawn, image), record.name, record)
    else:
        stand_in = first
        ownership.rename(engine, stand_in, record.name)
    spare = None if stand_in == first else first
    return Done(id=stand_in, spare=spare, began=began, down=time.monotonic() - began, written=written)


def _restarts(before: Json) -> bool:
    """Whether it ends again and again, and the engine starts it anew each time."""
    state, count = json_access.mapping(before, "State"), before.get("RestartCount")
    return state.get("Restarting") is True or (isinstance(count, int) and count > 0)


def _serve(engine: Engine, change: Change, done: Done) -> Done:
    """Start the stand-in, and tidy up behind it."""
    record = change.record
    restore.start(engine, done.id)
    down = time.monotonic() - done.began
    _refuse_dead(engine.inspect_container(done.id), record)
    _tidy(engine, done)
    if record.restart.name != NEVER:
        restore.set_restart(engine, done.id, record.restart)
    return replace(done, down=down)


def _tidy(engine: Engine, done: Done) -> None:
    """Remove what only held the lock."""
    if done.spare is not None:
        restore.remove(engine, done.spare)


def _refuse_dead(inspected: Json, record: Record) -> None:
    state = json_access.mapping(inspected, "State")
    if not state.get("Running"):
        raise TargetError(
            "did-not-stay",
            f"{record.name} ended with {state.get('ExitCode')} as soon as it was recreated",
            f"debugrun {record.tool} {record.name} --via recreate --restart-under shows why",
        )


def _create(engine: Engine, drawn: Blueprint, name: str, record: Record) -> str:
    """Create a stand-in, which nothing brings back by itself before it has taken the place; its id."""
    labelled = with_labels(drawn, ownership.marked(kinds.STAND_IN, name, {LABEL_RECORD: transaction.dump(record)}))
    quiet = {"Name": NEVER, "MaximumRetryCount": 0}
    body = {**labelled.body, "HostConfig": {**json_access.mapping(labelled.body, "HostConfig"), "RestartPolicy": quiet}}
    with engine.asking("create a container from the image", json_access.text(body, "Image")):
        create = engine.client.create_container_from_config
        stand_in = engine.created(create(body, name, drawn.platform or None))  # type: ignore[no-untyped-call]
    for network, endpoint in drawn.networks:
        connect(engine, network, stand_in, endpoint)
    return stand_in


def in_foreground(drawn: Blueprint, start: tuple[Sequence[str], Sequence[str]], *, terminal: bool) -> Blueprint:
    """The same with another entrypoint and command, and the streams for whoever starts it."""
    streams = dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce"), True)
    entrypoint, command = (list(words) for words in start)
    return replace(drawn, body={**drawn.body, **streams, "Tty": terminal, "Entrypoint": entrypoint, "Cmd": command})


def connect(engine: Engine, network: str, container: str, endpoint: Mapping[str, object]) -> None:
    """POST /networks/NAME/connect with every setting of the endpoint: docker-py's call takes some of them only."""
    client = engine.client
    with engine.asking(f"connect to the network {network} the container", container):
        address = f"{client.base_url}/v{client.api_version}/networks/{network}/connect"
        answer = client.post(
            address, json={"Container": container, "EndpointConfig": dict(endpoint)}, timeout=client.timeout
        )
        answer.raise_for_status()
