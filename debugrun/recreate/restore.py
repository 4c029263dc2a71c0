"""Puts the original of a recreated container back, from wherever a recreate or another restore ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace

from debugrun.attach.hold_signals import steady
from debugrun.core.know import json_access, kinds
from debugrun.core.know.json_access import Json
from debugrun.core.know.kinds import LABEL_KEPT, LABEL_LAYER, LABEL_RECORD, End
from debugrun.core.rebuild import transaction
from debugrun.core.rebuild.transaction import Act, Record, Restart, Scene, Seen, Step
from debugrun.engine import ownership
from debugrun.engine.engine import Engine
from debugrun.engine.ownership import Owned
from debugrun.errors import DebugrunError, EngineError, TargetError
from debugrun.observe import layer, ports
from debugrun.recreate import journal
from debugrun.values import dataclass

ROUNDS = 12  # looks at what is left to do, each after a row of steps
PATIENCE = 3  # failures in all
GRACE = 5.0  # seconds beyond a stop timeout for the engine to have stopped a container
STOP_TIMEOUT = 10  # seconds: the engine's own, where a container has none


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What was done. `down` is how long nothing served, in seconds; None: it served all the time.

    `original` says whether there is one; `saved` are (image, paths) of what stand-ins had written to their own layer,
    `moved` says which published ports are others than before.
    """

    original: bool = True
    down: float | None = None
    moved: tuple[str, ...] = ()
    saved: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


def scenes(engine: Engine) -> tuple[Scene, ...]:
    """All that was recreated on this engine and not put back, the oldest first.

    Known by the labels of stand-ins, and by the journal where somebody removed them. What the journal alone tells of,
    and the engine has nothing of any more, is forgotten.
    """
    known = {record.original: record for _, record in labelled(engine)}
    for record in journal.records(str(engine.endpoint.url)):
        engine.ours.add(record.original)
        known.setdefault(record.original, record)
    found = [scene(engine, record) for record in sorted(known.values(), key=lambda record: record.since)]
    for each in found:
        if each.gone:
            journal.forget(each.record.original)
    return tuple(each for each in found if not each.gone)


def scene(engine: Engine, record: Record) -> Scene:
    """What the engine has of one transaction now."""
    stand_ins = [ref for ref, found in labelled(engine) if found.original == record.original]
    seen = [each for ref in stand_ins if (each := _look(engine, ref, beside=record.original)) is not None]
    return Scene(
        record=record,
        original=_look(engine, record.original),
        stand_ins=tuple(sorted(seen, key=lambda each: each.name == record.name)),
        layers=_layers(engine, record.original),
    )


def settle(
    engine: Engine, record: Record, what: Callable[[Scene], Sequence[Step]], *, stopping: bool = True
) -> Outcome:
    """Take steps until none is left, over failures that do not last. Raises DebugrunError: one that does.

    `stopping` says that somebody may have told the original to stop and not waited for it.
    """
    outcome, failures = Outcome(), 0
    hands = _Hands(engine=engine, record=record, outcome=outcome, stopping=stopping)
    for _ in range(ROUNDS):
        try:
            found = scene(engine, record)
            if not (steps := what(found)):
                outcome.original = found.original is not None
                return outcome
            for step in steps:
                hands.take(step)
        except DebugrunError:
            failures += 1
            if failures == PATIENCE:
                raise
            time.sleep(0.3)
    message = f"the containers of {record.name} change while they are put back"
    raise EngineError("not-settled", message, f"debugrun restore {record.name}")


def undo(engine: Engine, record: Record, *, stopping: bool = True) -> Outcome:
    """Have the original back as it was, and nothing of ours left. Raises DebugrunError."""
    with steady(f"putting {record.name} back"):
        outcome = settle(engine, record, transaction.undo, stopping=stopping)
    if not outcome.original:
        raise TargetError(
            "original-gone",
            f"the original of {record.name} was removed: there is nothing to go back to",
            f"it goes on as it is: `docker inspect {record.name}`",
        )
    journal.forget(record.original)
    return outcome


def keep(engine: Engine, record: Record) -> None:
    """Stay with the stand-in: the original is removed. Raises TargetError where the stand-in is not in place."""
    found = scene(engine, record)
    if not found.complete:
        raise TargetError(
            "not-recreated",
            f"{record.name} was not recreated to the end: there is nothing to keep",
            f"debugrun restore {record.name}",
        )
    settle(engine, record, transaction.keep)
    journal.forget(record.original)


@dataclass(kw_only=True, slots=True)
class _Hands:
    """Does steps, and minds the time."""

    engine: Engine
    record: Record
    outcome: Outcome
    stopping: bool
    stopped_at: float | None = None
    ports: Mapping[str, str] = field(default_factory=dict)

    def take(self, step: Step) -> None:
        engine, ref = self.engine, step.ref
        if step.act is Act.SETTLE and self.stopping:
            _await_stop(engine, ref)
        elif step.act is Act.RENAME:
            ownership.rename(engine, ref, step.value)
        elif step.act is Act.RESTART:
            set_restart(engine, ref, step.restart)
        elif step.act is Act.STOP:
            self.stopped_at = self.stopped_at or time.monotonic()
            told = engine.inspect_container(ref)
            self.ports = published(told)
            engine.stop(ref, timeout=stop_timeout(told))
        elif step.act is Act.START:
            start(engine, ref)
            if self.stopped_at is not None:
                self.outcome.down = time.monotonic() - self.stopped_at
            self.outcome.moved = moved(self.ports, published(engine.inspect_container(ref)))
        elif step.act is Act.SAVE:
            self.outcome.saved.append(_save(engine, ref, self.record))
        elif step.act is Act.REMOVE:
            remove(engine, ref)
        elif step.act is Act.REMOVE_IMAGE:
            ownership.remove_image(engine, ref)


def set_restart(engine: Engine, ref: str, restart: Restart) -> None:
    """POST /containers/ID/update: the restart policy alone."""
    policy = {"Name": restart.name, "MaximumRetryCount": restart.retries}
    with engine.asking("set the restart policy of", ref):
        engine.client.update_container(ref, restart_policy=policy)  # type: ignore[arg-type] # any name


def start(engine: Engine, ref: str) -> None:
    """Start it; an error about a port says who has it."""
    try:
        engine.start(ref)
    except EngineError as error:
        raise (ports.told(engine, error) if error.code == "port-taken" else error) from None


def published(inspected: Json) -> dict[str, str]:
    """Where the engine's host takes connections for each port: "80/tcp" -> "0.0.0.0:32768"."""
    found = json_access.mapping(json_access.mapping(inspected, "NetworkSettings"), "Ports")
    return {
        port: f"{bound[0].get('HostIp')}:{bound[0].get('HostPort')}"
        for port in found
        if (bound := json_access.maps(found, port))
    }


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """What to say of ports that are others now: the engine gives a container with a random port a new one each time."""
    return tuple(
        f"its {port} is published at {after[port]} now, before at {address}: its port is a random one"
        for port, address in before.items()
        if after.get(port, address) != address
    )


def stop_timeout(inspected: Json) -> int:
    """Seconds between a container's stop signal and KILL."""
    found = json_access.mapping(inspected, "Config").get("StopTimeout")
    return found if isinstance(found, int) else STOP_TIMEOUT


def remove(engine: Engine, ref: str) -> None:
    """DELETE /containers/ID, never its volumes: they are the original's. Gone already is no error."""
    try:
        engine.delete(ref)
    except TargetError as error:
        if error.code != "no-such-container":
            raise


def unproven(engine: Engine) -> dict[str, str]:
    """Containers that say they are stand-ins and are not ours by proof: why not, by name."""
    return {each.name: each.why for each in ownership.containers(engine, kinds.STAND_IN)[1]}


def collect_images(engine: Engine) -> tuple[list[Owned], list[Owned]]:
    """Remove the images that no recreated container needs any more; (those that went, those that hold data)."""
    owned = ownership.images(engine)
    needed = {each.record.original for each in scenes(engine)} if owned else set()
    gone = []
    for each in owned:
        if each.kind.end is not End.UNUSED or each.orphaned is False or each.labels.get(LABEL_LAYER) in needed:
            continue
        try:
            ownership.remove_image(engine, each.id)
        except EngineError as error:
            if error.code != "engine-conflict":  # a container or another image stands on it
                raise
        else:
            gone.append(each)
    return gone, [each for each in owned if each.kind.end is End.STAYS]


def labelled(engine: Engine) -> Iterator[tuple[str, Record]]:
    """(id, record) of all stand-ins that are ours by proof; so the original is ours to put back."""
    for each in ownership.containers(engine, kinds.STAND_IN)[0]:
        try:
            record = transaction.load(each.labels[LABEL_RECORD])
        except ValueError:
            continue  # of another version
        engine.ours.add(record.original)
        yield each.id, record


def _look(engine: Engine, ref: str, *, beside: str = "") -> Seen | None:
    """A container; for a stand-in `beside` is its original, whose own files need not be kept twice."""
    try:
        told = engine.inspect_container(ref)
        seen = described(told)
        silent = not beside or seen.running or not seen.ran or _dying(told)
        saved = silent or not layer.news(engine, told, beside) or _is_kept(engine, seen.id)
    except TargetError as error:
        if error.code != "no-such-container":
            raise
        return None
    return replace(seen, saved=saved)


def described(inspected: Json) -> Seen:
    """An inspected container, as a transaction looks at it."""
    state = json_access.mapping(inspected, "State")
    policy = json_access.mapping(json_access.mapping(inspected, "HostConfig"), "RestartPolicy")
    return Seen(
        id=json_access.text(inspected, "Id"),
        name=json_access.text(inspected, "Name").removeprefix("/"),
        running=bool(state.get("Running")),
        restart=Restart(name=json_access.text(policy, "Name"), retries=int(str(policy.get("MaximumRetryCount", 0)))),
        ran=not json_access.text(state, "StartedAt").startswith("0001-"),
    )


def _is_kept(engine: Engine, stand_in: str) -> bool:
    return bool(ownership.images(engine, f"{LABEL_KEPT}={stand_in}"))


def _dying(inspected: Json) -> bool:
    """Whether it is being removed, or was to no end: its layer may be gone before its name."""
    return json_access.text(json_access.mapping(inspected, "State"), "Status") in {"dead", "removing"}


def _layers(engine: Engine, original: str) -> tuple[str, ...]:
    """Images that hold the original's layer, without those that a kept one stands on."""
    found = ownership.images(engine, f"{LABEL_LAYER}={original}")
    parents = {each.parent for each in ownership.images(engine, LABEL_KEPT)} if found else set()
    return tuple(each.id for each in found if each.id not in parents)


def _save(engine: Engine, ref: str, record: Record) -> tuple[str, tuple[str, ...]]:
    """An image of what a stopped stand-in has in its own layer: (name, paths)."""
    paths = layer.news(engine, engine.inspect_container(ref), record.original)
    tag = f"{record.name}-{ref[:12]}"[-128:].lstrip(".-")
    labels = {LABEL_LAYER: "", **ownership.marked(kinds.KEPT, facts={LABEL_KEPT: ref})}
    layer.commit(engine, ref, labels, repository="debugrun-kept", tag=tag)
    return f"debugrun-kept:{tag}", paths


def _await_stop(engine: Engine, ref: str) -> None:
    """Wait until a container that may have been told to stop has done so, or would have."""
    told = engine.inspect_container(ref)
    deadline = time.monotonic() + stop_timeout(told) + GRACE
    while described(told).running and time.monotonic() < deadline:
        time.sleep(0.2)
        told = engine.inspect_container(ref)
