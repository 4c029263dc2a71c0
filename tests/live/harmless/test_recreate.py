"""Recreating a container loses nothing, and whatever happens on the way, the original comes back."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from debugrun.engine.engine import Engine, connect
from debugrun.errors import DebugrunError
from debugrun.recreate import recreate, restore
from tests.live.faults import Fault, Faulty, faulty
from tests.live.transacting import TIMEOUT, change_of, put_back

pytestmark = pytest.mark.live

IMAGE = "debugrun-test/full"
SERVE = "trap 'exit 0' TERM; while :; do busybox sleep 0.05; done"
TOKEN = "written before"  # noqa: S105 - no password


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A container with state everywhere: a named and an anonymous volume, and (when it `writes`) its own layer."""

    client: docker.APIClient
    id: str
    name: str
    volume: str
    writes: bool

    def assert_original(self) -> None:
        """It is the very same container, runs, has its data, and nothing of ours is left."""
        told = self.client.inspect_container(self.name)
        assert told["Id"] == self.id
        assert told["State"]["Running"]
        assert told["HostConfig"]["RestartPolicy"] == {"Name": "always", "MaximumRetryCount": 0}
        assert self.read("/named/token") == self.read("/anonymous/token") == TOKEN
        if self.writes:
            assert self.read("/own/token") == TOKEN
        assert self.remains() == []

    def remains(self) -> list[str]:
        """What is there of a transaction: containers beside the original, images with its layer."""
        listed = self.client.containers(all=True, filters={"name": self.name})
        images = self.client.images(filters={"label": f"debugrun.layer={self.id}"})
        kept = [
            tag for each in self.client.images(name="debugrun-kept") for tag in each["RepoTags"] if self.name in tag
        ]
        return [*(str(each["Names"]) for each in listed if each["Id"] != self.id), *(i["Id"] for i in images), *kept]

    def read(self, path: str) -> str:
        chunks, _ = self.client.get_archive(self.name, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            content = tar.extractfile(tar.getmembers()[0])
            assert content is not None
            return content.read().decode().strip()


@contextmanager
def service(client: docker.APIClient, network: str, *, writes: bool) -> Iterator[Service]:
    name = f"debugrun-recreate-{uuid.uuid4().hex[:8]}"
    script = f"echo {TOKEN} > /named/token; echo {TOKEN} > /anonymous/token; "
    if writes:
        script += f"busybox mkdir -p /own; echo {TOKEN} > /own/token; "
    made = client.create_container(
        IMAGE, ["sh", "-c", script + SERVE], name=name, volumes=["/named", "/anonymous"], ports=[80], stop_timeout=1,
        host_config=client.create_host_config(
            binds=[f"{name}:/named"], port_bindings={80: ("127.0.0.1", None)}, restart_policy={"Name": "always"},
        ),
    )["Id"]  # fmt: skip
    try:
        client.connect_container_to_network(made, network, aliases=["db"])
        client.start(made)
        yield Service(client=client, id=made, name=name, volume=name, writes=writes)
    finally:
        for each in client.containers(all=True, filters={"name": name}):
            client.remove_container(each["Id"], force=True, v=True)
        client.remove_volume(name)


@pytest.fixture(scope="module", autouse=True)
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A journal of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("state") / "recreated"
        patch.setenv("DEBUGRUN_STATE", str(folder))
        yield folder
        assert {path.name for path in folder.glob("*")} <= {"secret"}


@pytest.fixture(scope="module")
def network(engine: docker.APIClient, targets: Mapping[str, str]) -> Iterator[str]:
    assert targets  # their images are there
    name = f"debugrun-recreate-{uuid.uuid4().hex[:8]}"
    engine.create_network(name)
    yield name
    engine.remove_network(name)


@pytest.fixture
def web(engine: docker.APIClient, network: str) -> Iterator[Service]:
    with service(engine, network, writes=True) as made:
        yield made


@pytest.fixture
def directly(engine: docker.APIClient) -> Iterator[Engine]:
    assert engine.base_url
    with connect() as connection:
        yield connection


@pytest.fixture
def proxy(tmp_path: Path, engine: docker.APIClient) -> Iterator[Faulty]:
    assert engine.base_url
    with faulty(tmp_path / "s") as made:
        yield made


def in_a_process(proxy: Faulty, what: str, name: str) -> int:
    """The exit status of doing it in a process of its own, which may be killed."""
    upstream = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    environment = {**os.environ, "DOCKER_HOST": f"unix://{proxy.path}", "DIRECTLY": upstream}
    words = [sys.executable, "-m", "tests.live.transacting", what, name]
    return subprocess.run(words, env=environment, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode


def calls(proxy: Faulty, directly: Engine, web: Service) -> tuple[list[str], list[str]]:
    """The requests of a recreate and of a restore that nothing happens to."""
    seen = []
    for what in ("recreate", "restore"):
        assert attempt(proxy, directly, web, what, None)
        seen.append(list(proxy.seen))
    web.assert_original()
    return seen[0], seen[1]


def changing(seen: list[str]) -> list[int]:
    return [index for index, each in enumerate(seen) if not each.startswith(("GET", "HEAD"))]


def attempt(proxy: Faulty, directly: Engine, web: Service, what: str, fault: tuple[int, Fault] | None) -> bool:
    """Let one request of it fail; whether it came to its end all the same. Going back is left to be done."""
    change = change_of(directly, web.name) if what == "recreate" else None
    proxy.arm(*fault or (None, Fault.ERROR))
    if fault and fault[1] in {Fault.KILL, Fault.KILL_LATE}:
        status = in_a_process(proxy, what, web.name)
        assert status in {0, -signal.SIGKILL}
        return status == 0
    try:
        with connect(f"unix://{proxy.path}", timeout=TIMEOUT) as engine:
            if change is not None:
                recreate.recreate(engine, change)
            else:
                put_back(engine, web.name)
    except DebugrunError:
        return False
    return True


def injure(proxy: Faulty, directly: Engine, web: Service, faults: Iterable[tuple[str, int, Fault]]) -> str:
    """Each (recreate or restore, index of a request, what happens to it), and then a restore. Returns the counts."""
    tried = survived = 0
    for what, at, fault in faults:
        if what == "restore":
            recreate.recreate(directly, change_of(directly, web.name))
        done = attempt(proxy, directly, web, what, (at, fault))
        killed = fault in {Fault.KILL, Fault.KILL_LATE}
        assert done or killed or what == "restore" or restore.scenes(directly) == (), f"{fault} at {at}: not undone"
        put_back(directly, web.name)
        web.assert_original()
        tried, survived = tried + 1, survived + done
    return f"{tried} faults, {survived} without consequence, {tried} times the original was back with its data"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print even when all goes well."""

    def print_it(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return print_it


def test_every_change_of_a_recreate_may_be_the_last(
    web: Service, directly: Engine, proxy: Faulty, say: Callable[[str], None]
) -> None:
    seen, _ = calls(proxy, directly, web)
    say(injure(proxy, directly, web, [("recreate", at, Fault.KILL_LATE) for at in changing(seen)]))


@pytest.mark.slow
@pytest.mark.parametrize("fault", Fault, ids=lambda each: each.name.lower())
def test_every_call_of_recreate_and_restore_may_fail(
    fault: Fault, web: Service, directly: Engine, proxy: Faulty, say: Callable[[str], None]
) -> None:
    """Those that change something in all six ways, those that only ask in one: they take turns."""
    asking = [Fault.ERROR, Fault.DROP, Fault.SILENT, Fault.KILL]
    faults = []
    for what, seen in zip(("recreate", "restore"), calls(proxy, directly, web), strict=True):
        places = set(changing(seen))
        others = [at for at in range(len(seen)) if at not in places]
        places |= {at for turn, at in enumerate(others) if asking[turn % len(asking)] is fault}
        faults += [(what, at, fault) for at in sorted(places)]
    say(f"{fault.value}: {injure(proxy, directly, web, faults)}")
