"""The way back, from every state that a recreate or a restore can leave: a small engine in memory plays it through."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.rebuild.transaction import Act, Record, Restart, Scene, Seen, Step, dump, keep, load, undo

ORIGINAL = "0" * 64
RECORD = Record(
    original=ORIGINAL,
    name="web",
    running=True,
    restart=Restart(name="on-failure", retries=3),
    tool="gdb",
    grant="SYS_PTRACE",
    since=1.5e9,
    session="somebody-1",
)


@dataclass(kw_only=True, slots=True)
class World:
    """Containers of one transaction by id, as an engine would have them; `stopping`: told to stop, not yet stopped."""

    containers: dict[str, Seen]
    layers: tuple[str, ...] = ()
    stopping: bool = False
    wrote: set[str] = field(default_factory=set)

    def scene(self) -> Scene:
        stand_ins = tuple(each for each in self.containers.values() if each.id != ORIGINAL)
        shown = tuple(replace(each, saved=each.running or each.id not in self.wrote) for each in stand_ins)
        return Scene(record=RECORD, original=self.containers.get(ORIGINAL), stand_ins=shown, layers=self.layers)

    def land(self) -> None:
        """The stop that was under way is done."""
        if self.stopping:
            self.stopping = False
            self.containers[ORIGINAL] = replace(self.containers[ORIGINAL], running=False)

    def take(self, step: Step) -> None:
        if step.act is Act.SETTLE:
            self.land()
            return
        if step.act is Act.REMOVE_IMAGE:
            assert not any(each.id != ORIGINAL for each in self.containers.values()), "an image in use"
            self.layers = tuple(each for each in self.layers if each != step.ref)
            return
        seen = self.containers[step.ref]
        if step.act is Act.RENAME:
            assert step.value not in {each.name for each in self.containers.values()}, f"two are named {step.value}"
            self.containers[step.ref] = replace(seen, name=step.value)
        elif step.act is Act.RESTART:
            self.containers[step.ref] = replace(seen, restart=step.restart)
        elif step.act is Act.STOP:
            assert step.ref != ORIGINAL
            self.containers[step.ref] = replace(seen, running=False)
            self.wrote.add(step.ref)  # while it ends
        elif step.act is Act.START:
            others = [each for each in self.containers.values() if each.running and each.id != step.ref]
            assert not others, "two serve at once"
            self.containers[step.ref] = replace(seen, running=True, ran=True)
        elif step.act is Act.SAVE:
            self.wrote.discard(step.ref)
        elif step.act is Act.REMOVE:
            assert step.ref != ORIGINAL, "the original was removed"
            assert not seen.running
            assert step.ref not in self.wrote, "what it wrote was lost"
            assert len(self.scene().stand_ins) > 1 or self.original_is_back(), "the label went before its time"
            del self.containers[step.ref]

    def original_is_back(self) -> bool:
        expected = Seen(id=ORIGINAL, name="web", running=True, restart=RECORD.restart)
        return self.containers.get(ORIGINAL) == expected and not self.stopping


def forward(*, committed: bool) -> Iterator[World]:
    """The states through which recreating goes, in order."""
    first, second = "a" * 64, "b" * 64
    original = Seen(id=ORIGINAL, name="web", running=True, restart=RECORD.restart)
    world = World(containers={ORIGINAL: original})
    yield world
    lock = Seen(id=first, name=RECORD.lock, running=False, restart=Restart(), ran=False)
    world = World(containers={ORIGINAL: original, first: lock})
    yield world
    parked = replace(original, name=RECORD.parked)
    yield World(containers={ORIGINAL: parked, first: lock})
    parked = replace(parked, restart=Restart())
    yield World(containers={ORIGINAL: parked, first: lock})
    yield World(containers={ORIGINAL: parked, first: lock}, stopping=True)
    parked = replace(parked, running=False)
    yield World(containers={ORIGINAL: parked, first: lock})
    if committed:
        yield World(containers={ORIGINAL: parked, first: lock}, layers=("image",))
        there = replace(lock, id=second, name="web")
        yield World(containers={ORIGINAL: parked, first: lock, second: there}, layers=("image",))
        serving = replace(there, running=True, ran=True)
        yield World(containers={ORIGINAL: parked, first: lock, second: serving}, layers=("image",), wrote={second})
        yield World(containers={ORIGINAL: parked, second: serving}, layers=("image",), wrote={second})
    else:
        there = replace(lock, name="web")
        yield World(containers={ORIGINAL: parked, first: there})
        serving = replace(there, running=True, ran=True)
        yield World(containers={ORIGINAL: parked, first: serving}, wrote={first})
    serving = replace(serving, restart=RECORD.restart)
    yield World(containers={ORIGINAL: parked, serving.id: serving}, layers=("image",) * committed, wrote={serving.id})


STATES = [*forward(committed=False), *forward(committed=True)]


@given(
    start=st.integers(0, len(STATES) - 1),
    interruptions=st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=4),
)
def test_the_original_comes_back_from_every_state_however_often_that_is_interrupted(
    start: int, interruptions: list[tuple[int, bool]]
) -> None:
    world = replace(STATES[start], containers=dict(STATES[start].containers), wrote=set(STATES[start].wrote))
    for done, landed in interruptions:
        for step in undo(world.scene())[:done]:
            world.take(step)
        if landed:
            world.land()
    for _ in range(4):
        for step in undo(world.scene()):
            world.take(step)
    assert undo(world.scene()) == ()
    assert world.original_is_back()
    assert set(world.containers) == {ORIGINAL}
    assert world.layers == ()


def test_nothing_is_done_where_nothing_was_changed() -> None:
    assert undo(STATES[0].scene()) == ()


def test_the_service_is_down_between_two_steps_only() -> None:
    """Names and policies are put right while the stand-in still serves, the rest when the original does."""
    acts = [step.act for step in undo(STATES[-1].scene())]
    assert acts[acts.index(Act.STOP) + 1] is Act.START
    assert Act.RENAME not in acts[acts.index(Act.STOP) :]


def test_an_original_that_may_be_stopping_is_waited_for_before_its_name_says_otherwise() -> None:
    (state,) = [each for each in STATES[:10] if each.stopping]
    acts = [step.act for step in undo(state.scene())]
    assert acts.index(Act.SETTLE) < acts.index(Act.RENAME) < acts.index(Act.START)


def test_without_an_original_there_is_no_way_back() -> None:
    scene = replace(STATES[-1].scene(), original=None)
    assert undo(scene) == ()
    assert keep(scene) == ()


@pytest.mark.parametrize("state", STATES)
def test_only_a_stand_in_that_took_the_place_can_stay(state: World) -> None:
    scene = state.scene()
    serves = len(scene.stand_ins) == 1 and scene.stand_ins[0].ran
    assert keep(scene) == ((Step(act=Act.REMOVE, ref=ORIGINAL),) if serves else ())
    assert scene.complete == serves


@pytest.mark.parametrize("state", STATES)
def test_a_stand_in_that_somebody_renamed_keeps_the_place_and_its_original_comes_back(state: World) -> None:
    taken = state.scene().current
    if taken is None:
        return
    renamed = {**state.containers, taken.id: replace(taken, name="web2")}
    world = replace(state, containers=renamed, wrote=set(state.wrote))
    assert world.scene().complete == state.scene().complete
    assert world.scene().current == replace(state.scene().current or taken, name="web2")
    for _ in range(2):
        for step in undo(world.scene()):
            world.take(step)
    assert world.original_is_back()
    assert set(world.containers) == {ORIGINAL}


def test_one_that_gives_its_place_back_was_not_renamed_by_somebody() -> None:
    world = replace(STATES[-1], containers=dict(STATES[-1].containers))
    (rename,) = [each for each in undo(world.scene()) if each.act is Act.RENAME and each.ref != ORIGINAL]
    world.take(rename)
    assert world.scene().current is None


def test_a_record_travels_as_a_label() -> None:
    assert load(dump(RECORD)) == RECORD
    assert "\n" not in dump(RECORD)


def changed(**keys: object) -> str:
    return json.dumps({**json.loads(dump(RECORD)), **keys})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "not JSON", changed(schema=2), changed(restart="no"), changed(since=None), changed(restart={})],
)
def test_a_label_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the only one it raises
        load(text)


def test_engines_have_two_words_for_no_restart() -> None:
    assert Restart(name="") == Restart(name="no")


def names(states: Sequence[World]) -> set[str]:
    return {each.name for state in states for each in state.containers.values()}


def test_every_name_is_one_that_engines_take() -> None:
    assert all(name.replace(".", "").replace("-", "").isalnum() for name in names(STATES))
