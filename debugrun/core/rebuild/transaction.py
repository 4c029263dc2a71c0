"""Recreating a container as a transaction: what is written down, what can be seen, what is still to be done.

The engine itself holds the state. A *stand-in* is created in place of the *original*, and its label says everything
that is needed to go back; the label is there before anything changes, and goes last. So what remains to be done
follows from what is seen, after a crash at any moment, on any machine. Pure.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from debugrun.values import dataclass

NEVER = "no"  # the restart policy of what must not come back on its own

_SCHEMA = 1
_ID, _NAME = r"[0-9a-f]{64}", r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"  # a container's, as engines have them


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """A restart policy as the API has it. Podman and old engines say "" for "no"."""

    name: str = NEVER
    retries: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", NEVER)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What is needed to go back, and to say what was done.

    `original` is a container's id, `name` the name that it gets back; `running` and `restart` are how it was.
    `grant` says in words what the stand-in has beyond it. `since` is in seconds of the epoch, by the client's clock;
    `session` tells this recreate from another one of the same container.
    """

    original: str
    name: str
    running: bool
    restart: Restart
    tool: str
    grant: str
    since: float
    session: str

    @property
    def lock(self) -> str:
        """The name under which the first stand-in is created: the engine gives it to one only."""
        return f"{self.name}.debugrun-recreating"

    @property
    def parked(self) -> str:
        """The name of the original while it is away; it has it before it is told to stop."""
        return f"{self.name}.debugrun-original"

    def leaving(self, stand_in: str) -> str:
        """The name of a stand-in, by its id, that has given the place back."""
        return f"{self.name}.debugrun-{stand_in[:12]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A container as it is now. `ran` says that it was started at least once."""

    id: str
    name: str
    running: bool
    restart: Restart
    ran: bool = True
    saved: bool = True  # it wrote nothing to its own layer, or that is in an image


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Everything of one transaction that the engine has.

    `original` is None where somebody removed it. `layers` are ids of images that no other image stands on.
    """

    record: Record
    original: Seen | None
    stand_ins: tuple[Seen, ...] = ()
    layers: tuple[str, ...] = ()

    @property
    def current(self) -> Seen | None:
        """The stand-in that has taken the original's place; None: none has, yet or any more.

        A name that we never give is somebody's who has renamed it since.
        """
        record = self.record
        named = next((each for each in self.stand_ins if each.name == record.name), None)
        others = (each for each in self.stand_ins if each.name not in {record.lock, record.leaving(each.id)})
        return named or next(others, None)

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left on the engine: not even an image with the original's writable layer."""
        return self.original is None and not self.stand_ins and not self.layers

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do but to go back some day."""
        return self.current is not None and self.current.ran and len(self.stand_ins) == 1


class Act(enum.Enum):
    """One request to the engine. `value` of the step is a name or a policy where the act has one."""

    SETTLE = "wait for a stop that may be under way"
    RENAME = "rename"
    RESTART = "set the restart policy of"
    STOP = "stop"
    START = "start"
    SAVE = "keep what was written by"
    REMOVE = "remove"
    REMOVE_IMAGE = "remove the image"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """An act on the container (or image) `ref`."""

    act: Act
    ref: str
    value: str = ""
    restart: Restart = Restart()


def undo(scene: Scene) -> tuple[Step, ...]:
    """What still has to be done to have the original back, in order; () when it is as it was.

    Any prefix may be done, and the rest follows from what is seen then. The names are put right while the stand-in
    still serves: only stopping it and starting the original takes the service down. Without an original: ().
    """
    if scene.original is None:
        return ()
    return (*_names(scene, scene.original), *_service(scene, scene.original), *_rest(scene))


def _names(scene: Scene, original: Seen) -> Iterator[Step]:
    """Give the original its name, and see to it that no stand-in comes back by itself.

    Its other name says that it may have been told to stop, so that is waited for first.
    """
    name = scene.record.name
    away = original.name != name
    if away and original.running:
        yield Step(act=Act.SETTLE, ref=original.id)
    for each in scene.stand_ins:
        if each.restart.name != NEVER:
            yield Step(act=Act.RESTART, ref=each.id)
        if each.name == name:
            yield Step(act=Act.RENAME, ref=each.id, value=scene.record.leaving(each.id))
    if away:
        yield Step(act=Act.RENAME, ref=original.id, value=name)


def _service(scene: Scene, original: Seen) -> Iterator[Step]:
    """Let the original serve instead of a stand-in."""
    for each in scene.stand_ins:
        if each.running:
            yield Step(act=Act.STOP, ref=each.id)
    if scene.record.running and (original.name != scene.record.name or not original.running):
        yield Step(act=Act.START, ref=original.id)
    if original.restart != scene.record.restart:
        yield Step(act=Act.RESTART, ref=original.id, restart=scene.record.restart)


def _rest(scene: Scene) -> Iterator[Step]:
    """Remove what is ours, once nothing of it runs: what a stand-in writes while it ends is seen only then."""
    if any(each.running for each in scene.stand_ins):
        return
    for each in scene.stand_ins:
        if each.ran and not each.saved:
            yield Step(act=Act.SAVE, ref=each.id)
    for each in scene.stand_ins:
        yield Step(act=Act.REMOVE, ref=each.id)
    if all(each.saved for each in scene.stand_ins):  # else an image stands on it, and is seen the next time
        for layer in scene.layers:
            yield Step(act=Act.REMOVE_IMAGE, ref=layer)


def keep(scene: Scene) -> tuple[Step, ...]:
    """What still has to be done to stay with the stand-in: the original goes, with its writable layer.

    () also where the stand-in has not taken its place: there is nothing to stay with.
    """
    if not scene.complete or scene.original is None:
        return ()
    return (Step(act=Act.REMOVE, ref=scene.original.id),)


def dump(record: Record) -> str:
    """The record as the text of a label: one line of JSON."""
    return json.dumps({"schema": _SCHEMA, **asdict(record)}, separators=(",", ":"))


def load(text: str) -> Record:
    """The record from such a text. Raises ValueError: not one of ours, or of another version."""
    told = json.loads(text)
    if not isinstance(told, Mapping) or told.get("schema") != _SCHEMA:
        raise ValueError(text)
    restart = told.get("restart")
    if not isinstance(restart, Mapping):
        raise ValueError(text)  # noqa: TRY004 - a text of another shape, whatever the type
    if re.fullmatch(_ID, str(told.get("original"))) is None or re.fullmatch(_NAME, str(told.get("name"))) is None:
        raise ValueError(text)
    try:
        return Record(
            original=str(told["original"]),
            name=str(told["name"]),
            running=bool(told["running"]),
            restart=Restart(name=str(restart["name"]), retries=int(restart["retries"])),
            tool=str(told["tool"]),
            grant=str(told["grant"]),
            since=float(told["since"]),
            session=str(told["session"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(text) from error
