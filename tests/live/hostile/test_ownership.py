"""What is not ours is never touched, whatever it is labelled or named; what is ours is found, whoever ended us."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from debugrun.attach import leftovers
from debugrun.core.ask.request import TOOLBOX
from debugrun.core.know import kinds
from debugrun.core.rebuild import transaction
from debugrun.engine import ownership
from debugrun.engine.engine import connect
from debugrun.errors import EngineError
from debugrun.recreate import restore
from debugrun.toolbox import volume
from tests.conftest import Completed
from tests.core.rebuild.test_transaction import RECORD
from tests.live.faults import Fault, Faulty, faulty
from tests.live.victims import Victim, victims

pytestmark = pytest.mark.live

PROGRAM = Path(sys.executable).with_name("debugrun")
IMAGE = "debugrun-test/app"
SETTLED = 60.0  # seconds for a lease to end what a killed client has left


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: docker.APIClient, toolbox: str) -> Path:
    """A journal of this test's own: what others made is not ours here."""
    assert engine.base_url
    assert toolbox
    monkeypatch.setenv("DEBUGRUN_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def victim(engine: docker.APIClient) -> Iterator[Victim]:
    with victims(engine) as made:
        yield made


@contextmanager
def container(engine: docker.APIClient, name: str, image: str = IMAGE) -> Iterator[str]:
    """Somebody's own container, with an anonymous volume."""
    made = engine.create_container(image, name=name, volumes=["/data"])["Id"]
    try:
        yield made
    finally:
        engine.remove_container(made, force=True, v=True)


@contextmanager
def labelled(engine: docker.APIClient, labels: dict[str, str]) -> Iterator[str]:
    """An image that brings these labels."""
    base = engine.create_container(IMAGE)["Id"]
    name = f"debugrun-hostile-{uuid.uuid4().hex[:8]}"
    try:
        engine.commit(base, repository=name, changes=[f"LABEL {key}={value!r}" for key, value in labels.items()])
    finally:
        engine.remove_container(base)
    try:
        yield name
    finally:
        engine.remove_image(name)


def volumes_of(engine: docker.APIClient, ref: str) -> set[str]:
    return {each["Name"] for each in engine.inspect_container(ref)["Mounts"]}


def is_there(engine: docker.APIClient, ref: str, volumes: set[str]) -> bool:
    return bool(volumes) and volumes == volumes_of(engine, ref) <= {v["Name"] for v in engine.volumes()["Volumes"]}


@pytest.mark.parametrize("stays", [(), ("--no-rm",)])
def test_a_name_that_is_taken_stays_with_its_owner(
    engine: docker.APIClient, debugrun: Callable[..., Completed], stays: tuple[str, ...]
) -> None:
    name = f"debugrun-web-{uuid.uuid4().hex[:8]}"
    with container(engine, name) as mine:
        volumes = volumes_of(engine, name)
        done = debugrun("run", "strace", "debugrun-test/static", "--name", name, *stays, status=125)
        assert name in done.stderr
        assert engine.inspect_container(name)["Id"] == mine
        assert is_there(engine, mine, volumes)
    assert gc_leaves(debugrun) == []


def gc_leaves(debugrun: Callable[..., Completed]) -> list[str]:
    """Names of containers that are ours by proof, after `debugrun gc`."""
    debugrun("gc", status=0)
    with connect() as connection:
        return [each.name for each in leftovers.leftovers(connection)]


def forgeries(engine: docker.APIClient, victim: Victim) -> dict[str, tuple[str, dict[str, str]]]:
    """What an image could say, by name: (name of the container, labels)."""
    record = transaction.Record(
        original=victim.id, name=victim.name, running=True, restart=transaction.Restart(), tool="gdb",
        grant="SYS_PTRACE", since=time.time(), session="x",
    )  # fmt: skip
    name = f"debugrun-gdb-{uuid.uuid4().hex[:10]}"
    true = ownership.marked(kinds.SIDECAR, name, {kinds.LABEL_TARGET: victim.id})
    text = transaction.dump(record)
    stand_in = ownership.marked(kinds.STAND_IN, record.lock, {kinds.LABEL_RECORD: text})
    assert engine.base_url
    return {
        "session": (name, {"debugrun.session": "1", "debugrun.kind": "sidecar"}),
        "sidecar": (name, {**true, "debugrun.proof": "0" * 64}),
        "sidecar copied": (name, true),  # from a real one, which an image must not pass on
        "recreated": (record.lock, {"debugrun.recreated": text}),
        "stand-in": (record.lock, {**stand_in, "debugrun.proof": "f" * 64}),
        "stand-in copied": (record.lock, stand_in),
    }


@pytest.mark.parametrize("how", ["session", "sidecar", "sidecar copied", "recreated", "stand-in", "stand-in copied"])
def test_an_image_with_our_labels_makes_nothing_ours(
    engine: docker.APIClient, victim: Victim, debugrun: Callable[..., Completed], how: str
) -> None:
    name, labels = forgeries(engine, victim)[how]
    with labelled(engine, labels) as image, container(engine, name, image) as innocent:
        volumes = volumes_of(engine, innocent)
        assert engine.inspect_container(innocent)["Config"]["Labels"].items() >= labels.items()
        said = debugrun("gc", "--all", status=0).stdout
        said += debugrun("restore", status=0).stdout
        said += debugrun("doctor", "--json").stdout
        assert victim.name not in said
        assert name not in said
        for words in ([victim.name], [victim.name, "--keep-new"], [name]):
            assert "was not recreated" in debugrun("restore", *words, status=125).stderr
        assert is_there(engine, innocent, volumes)
        told = engine.inspect_container(victim.id)
        assert (told["Name"], told["State"]["Running"]) == (f"/{victim.name}", True)


@pytest.mark.parametrize("wrong", ["name", "host", "secret", "kind"])
def test_a_container_that_is_only_nearly_ours_is_left_alone(
    engine: docker.APIClient, debugrun: Callable[..., Completed], wrong: str, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    name = f"debugrun-selftest-{uuid.uuid4().hex[:8]}"
    if wrong == "secret":  # as another machine's, or another user's
        monkeypatch.setenv("DEBUGRUN_STATE", str(tmp_path / "elsewhere"))
    kind = kinds.COPIER if wrong == "kind" else kinds.SELFTEST
    labels = ownership.marked(kind, name)
    monkeypatch.setenv("DEBUGRUN_STATE", str(tmp_path / "state"))
    host = engine.create_host_config(auto_remove=wrong != "host")
    used = f"debugrun-selftest-{uuid.uuid4().hex[:8]}" if wrong == "name" else name
    made = engine.create_container(IMAGE, name=used, labels=labels, host_config=host)["Id"]
    try:
        done = debugrun("gc", "--all", status=0)
        assert engine.inspect_container(made)["Name"] == f"/{used}"
        assert f"not touched: {used} carries debugrun's label, but " in done.stderr
        with connect() as connection:
            assert used not in {each.name for each in leftovers.leftovers(connection)}
            with pytest.raises(EngineError, match="that debugrun made it can't be proven"):
                connection.remove(made, force=True)
            with pytest.raises(EngineError, match="that debugrun made it can't be proven"):
                ownership.rename(connection, made, "other")
    finally:
        engine.remove_container(made, force=True)


def test_a_record_is_proven_before_it_is_believed(engine: docker.APIClient) -> None:
    """Another machine's record is neither listed nor acted on: the message of gc says what it is."""
    with connect() as connection:
        assert engine.base_url
        assert all(each.record != RECORD for each in restore.scenes(connection))


ELSEWHERE = """
import sys
from debugrun.observe import hostproc
hostproc.is_local = lambda *_: False
from debugrun.__main__ import main
main()
"""
STREAM = re.compile(r"/attach$|/exec/[^/]+/start$")  # what becomes one is not answered late
LINES = {
    "gdb": ["gdb", "{}", "--", "-batch", "-ex", "bt"],
    "strace": ["strace", "{}", "--duration", "1", "--", "-c"],
    "run": ["run", "strace", "debugrun-test/static", "--", "/subject", "exit", "7"],
    "run --no-rm": ["run", "strace", "debugrun-test/static", "--no-rm", "--", "/subject", "exit", "7"],
    "report": ["doctor", "--report", "{report}"],
    "stacks": ["stacks", "{}", "1"],
    "core": ["core", "{}", "-o", "{report}"],
    # As where the engine is elsewhere: by scouts and sidecars.
    "gdb elsewhere": [sys.executable, "-c", ELSEWHERE, "gdb", "{}", "--", "-batch", "-ex", "bt"],
    "ps elsewhere": [sys.executable, "-c", ELSEWHERE, "ps", "{}"],
    "memory elsewhere": [sys.executable, "-c", ELSEWHERE, "memory", "{}"],
}
WHOLE = 45  # requests that are looked at: those of `doctor --report` repeat themselves


@pytest.fixture
def copied(debugrun: Callable[..., Completed], tmp_path: Path) -> Iterator[None]:
    """The toolbox's volume as somebody else's: each `gc` here would remove it, each verb copy it."""
    other = {"DEBUGRUN_STATE": str(tmp_path / "other")}
    debugrun("run", "strace", "debugrun-test/static", "--", "/subject", "exit", "7", status=7, **other)
    yield
    debugrun("gc", status=0, **other)


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize(
    "verb", ["gdb", *(pytest.param(each, marks=pytest.mark.slow) for each in LINES if each != "gdb")]
)
def test_a_verb_that_is_killed_at_any_step_leaves_nothing_that_gc_does_not_know(
    engine: docker.APIClient, debugrun: Callable[..., Completed], victim: Victim, tmp_path: Path, verb: str
) -> None:
    before = {each["Id"] for each in engine.containers(all=True)}
    words = [word.format(victim.name, report=tmp_path / "report.json") for word in LINES[verb]]
    with faulty(tmp_path / "s") as proxy:
        seen = killed(proxy, words, WHOLE, Fault.KILL)
        assert settled(engine, debugrun, before) == []
        steps = [at for at, line in enumerate(seen) if line.startswith(("POST", "DELETE"))]
        made = [at for at in steps if seen[at].endswith(("/containers/create", "/start"))]
        for at in steps:
            killed(proxy, words, at, Fault.KILL if STREAM.search(seen[at]) else Fault.KILL_LATE)
            assert settled(engine, debugrun, before) == [], f"killed after {seen[at]}"
        for at in made[:4]:
            killed(proxy, words, at, Fault.LOST)
            assert settled(engine, debugrun, before) == [], f"no answer to {seen[at]}"
    assert victim.state() in "SR"
    assert victim.tracer() == 0


@pytest.mark.slow
def test_a_recreation_that_is_killed_at_any_step_is_undone_by_restore(
    engine: docker.APIClient, debugrun: Callable[..., Completed], victim: Victim, tmp_path: Path
) -> None:
    """`restore` brings the original back under its name, and `gc` finds nothing more."""
    before = {each["Id"] for each in engine.containers(all=True)}
    words = ["gdb", victim.name, "--via", "recreate", "--yes", "--max-grant", "caps", "--", "-batch", "-ex", "bt"]
    with faulty(tmp_path / "s") as proxy:
        seen = killed(proxy, words, 1000, Fault.KILL)
        debugrun("restore", victim.name, status=0)
        for at, line in enumerate(seen):
            if not line.startswith(("POST", "DELETE")):
                continue
            killed(proxy, words, at, Fault.KILL if STREAM.search(line) else Fault.KILL_LATE)
            debugrun("restore", victim.name, status=None)
            told = engine.inspect_container(victim.name)
            assert told["Id"] == victim.id, f"killed after {line}"
            assert told["State"]["Running"], f"killed after {line}"
            assert settled(engine, debugrun, before) == [], f"killed after {line}"
        assert len(seen) > 10


def test_a_copy_that_is_killed_is_found(
    engine: docker.APIClient, debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    with connect() as connection:
        image = str(connection.inspect_image(TOOLBOX)["Id"])
        if volume.exists(connection, volume.name_of(image)):  # another test's, of another secret
            engine.remove_volume(volume.name_of(image))
    before = {each["Id"] for each in engine.containers(all=True)}
    code = "import sys; from debugrun.engine.engine import connect; from debugrun.toolbox import volume\n"
    code += "with connect() as engine: volume.fill(engine, sys.argv[1])"
    with faulty(tmp_path / "s") as proxy:
        for at, fault in (
            (1, Fault.KILL_LATE), (2, Fault.KILL_LATE), (2, Fault.LOST), (3, Fault.KILL_LATE), (4, Fault.KILL)
        ):  # fmt: skip
            killed(proxy, [sys.executable, "-c", code, image], at, fault)
            assert settled(engine, debugrun, before) == [], f"{fault} at {proxy.seen}"
            debugrun("gc", status=0)  # Podman lets go of a volume some time after its container
            assert volume.name_of(image) not in {each["Name"] for each in engine.volumes()["Volumes"] or []}


def killed(proxy: Faulty, words: list[str], at: int, fault: Fault) -> list[str]:
    """What was asked of the engine before that happened to request `at`."""
    proxy.arm(at, fault)
    environment = {**os.environ, "DOCKER_HOST": f"unix://{proxy.path}"}
    program = [] if words[0] == sys.executable else [PROGRAM]
    done = subprocess.run(
        [*program, *words], stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=120, check=False
    )
    if fault in {Fault.KILL, Fault.KILL_LATE} and len(proxy.seen) > at and not STREAM.search(proxy.seen[at]):
        assert done.returncode == -signal.SIGKILL, (proxy.seen[at], done)
    assert b"this is a bug" not in done.stderr, done.stderr
    return proxy.seen


def settled(engine: docker.APIClient, debugrun: Callable[..., Completed], before: set[str]) -> list[str]:
    """Names of containers that are new and stay although gc has run, and no lease can hold them any more."""
    deadline = time.monotonic() + SETTLED
    while True:
        debugrun("gc", status=0)
        new = [each for each in engine.containers(all=True) if each["Id"] not in before]
        lasting = [each for each in new if each["Labels"].get("debugrun.kind") == "lasting" and is_over(each)]
        for each in lasting:  # what the user wanted to keep
            engine.remove_container(each["Id"], force=True)
        left = [str(each["Names"]) for each in new if each not in lasting]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


def is_over(listed: dict[str, str]) -> bool:
    return listed["State"] != "created"


def test_what_a_killed_recreate_leaves_is_restored_and_never_collected(
    engine: docker.APIClient, debugrun: Callable[..., Completed], victim: Victim
) -> None:
    done = debugrun(
        "gdb", victim.name, "--via", "recreate", "--yes", "--max-grant", "caps", "--", "-batch", status=None
    )
    assert "is recreated" in done.stderr, done.stderr
    stand_in = engine.inspect_container(victim.name)["Id"]
    assert stand_in != victim.id
    assert engine.inspect_container(victim.id)["Name"] == f"/{victim.name}.debugrun-original"
    said = debugrun("gc", "--all", status=0)
    assert f"debugrun restore {victim.name}" in said.stderr
    assert engine.inspect_container(victim.name)["Id"] == stand_in
    debugrun("restore", victim.name, status=0)
    assert engine.inspect_container(victim.name)["Id"] == victim.id


def test_a_recreated_container_of_another_machine_is_named_and_left(
    engine: docker.APIClient, debugrun: Callable[..., Completed], victim: Victim, tmp_path: Path
) -> None:
    debugrun("gdb", victim.name, "--via", "recreate", "--yes", "--max-grant", "caps", "--", "-batch")
    stand_in = engine.inspect_container(victim.name)["Id"]
    elsewhere = {"DEBUGRUN_STATE": str(tmp_path / "elsewhere")}
    done = debugrun("restore", victim.name, status=125, **elsewhere)
    assert "not of this machine's secret" in done.stderr
    assert f"docker rename {victim.name}.debugrun-original {victim.name}" in done.stderr
    assert engine.inspect_container(victim.name)["Id"] == stand_in
    debugrun("restore", victim.name, status=0)
    assert engine.inspect_container(victim.name)["Id"] == victim.id
