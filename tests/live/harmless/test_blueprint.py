"""Containers made again from their blueprints, on real engines: the same by inspect, and the same inside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.rebuild.blueprint import Blueprint, with_grant, with_image, with_labels
from debugrun.core.rebuild.comparison import added
from debugrun.core.rebuild.dependents import dependents
from debugrun.core.rebuild.orchestrated import compose_override, refusal
from tests.configurations import IMAGES, requests
from tests.daemon import Daemon, RefusedError, TakenError
from tests.faithful import differences
from tests.host import compose, engines, images
from tests.host.state import HostError
from tests.live.containers import ALONE, PROFILE, TOGETHER, Case, host, joined, volume
from tests.live.recreated import EngineRefusal, World, busybox_of, commit, worlds

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def busybox(engine: docker.APIClient) -> bytes:
    images.build(engine)
    return busybox_of(engine)


@pytest.fixture(scope="module", params=["", pytest.param("docker-28.5", marks=pytest.mark.slow)], ids=["here", "28.5"])
def world(request: pytest.FixtureRequest, engine: docker.APIClient, busybox: bytes) -> Iterator[World]:
    """On the engine in reach, and on the newest."""
    if not request.param:
        with worlds(engine, busybox, os.environ.get("DOCKER_HOST", "")) as made:
            yield made
        return
    try:
        address = engines.up(request.param)
    except HostError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    client = docker.APIClient(address, version="auto", timeout=120)
    with contextlib.closing(client), worlds(client, busybox, address) as made:
        yield made


def made_again(world: World, case: Case) -> tuple[dict[str, Any], dict[str, Any], Blueprint]:
    """The container of a case, with a file in each volume; the one made from its blueprint; that blueprint.

    Asserts that both look the same inside. That no volume came or went, the mounts of inspect say.
    """
    name = f"{world.prefix}-web"
    try:
        world.create(name, world.told({"Image": "@plain", **case.body}), world.told(case.networks))
        if case.running:
            world.start(name)
    except EngineRefusal as error:
        world.remove(name)
        if case.refusable:
            pytest.skip(f"this engine refuses it: {error}")
        raise
    try:
        before = world.inspect(name)
        if case.running:
            fill(world, before)
            inside = world.look(before)
        plan = world.plan(before)
        world.replace(name, plan, running=case.running)
        after = world.inspect(name)
        if case.running:
            assert world.look(after) == inside
        return before, after, plan
    finally:
        world.remove(name, f"{name}-new", f"{name}-old")


def fill(world: World, container: dict[str, Any]) -> None:
    """A file in each volume that can be written to, and nothing else: what the image had there is removed."""
    for mount in container["Mounts"]:
        if mount["Type"] == "volume" and mount["RW"]:
            world.run(
                container["Id"],
                ["sh", "-c", 'rm -rf "$0"/*; [ "$0" = /data ] || echo "$0" >"$0/kept"', mount["Destination"]],
            )


def assert_the_same(world: World, case: Case) -> None:
    before, after, plan = made_again(world, case)
    assert differences(before, after) == ()
    # The engine says of the new one what its blueprint asks for; once more, and nothing changes any more.
    assert world.plan(after).body == plan.body


@pytest.mark.parametrize("case", TOGETHER, ids=str)
def test_a_container_made_again_is_the_same(world: World, case: Case) -> None:
    if not case.since <= world.api < case.until:
        pytest.skip(f"API {world.api[0]}.{world.api[1]} cannot make it")
    assert_the_same(world, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALONE, ids=str)
def test_each_option_is_kept(world: World, case: Case) -> None:
    if not case.since <= world.api < case.until:
        pytest.skip(f"API {world.api[0]}.{world.api[1]} cannot make it")
    assert_the_same(world, case)


def test_it_serves_as_before(world: World) -> None:
    """The same ports, address and names, and healthy."""
    name, asker, neighbour = (f"{world.prefix}-{each}" for each in ("web", "asker", "neighbour"))
    body = {
        "Image": "@plain",
        "Cmd": ["httpd", "-f", "-p", "80", "-h", "/srv"],
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "wget", "-qO-", "http://localhost"], "Interval": 500_000_000},
        "HostConfig": {
            "NetworkMode": "@front",
            "PublishAllPorts": True,
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]},
        },
        "NetworkingConfig": {
            "EndpointsConfig": {"@front": {"Aliases": ["site"], "IPAMConfig": {"IPv4Address": "@net.70"}}}
        },
    }
    try:
        world.create(asker, world.told({"Image": "@plain", **host(NetworkMode="host")}))
        world.create(neighbour, world.told({"Image": "@plain", **host(NetworkMode="@front")}))
        world.create(name, world.told(body))
        for each in (asker, neighbour, name):
            world.start(each)
        before = world.inspect(name)
        address, number = world.told("@net.70"), before["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]

        def served() -> list[str]:
            healthy = world.until_healthy(name)
            places = {f"127.0.0.1:{number}": asker, address: neighbour, "site": neighbour, name: neighbour}
            answers = [world.run(by, ["wget", "-qO-", "-T", "5", f"http://{at}/"]) for at, by in places.items()]
            return [healthy, *answers, world.run(name, ["ip", "-o", "-4", "addr", "show", "eth0"]).split()[3]]

        first = served()
        assert first == ["healthy", *["hello\n"] * 4, f"{address}/24"]
        world.replace(name, world.plan(before), running=True)
        assert served() == first
        assert differences(before, world.inspect(name)) == ()
    finally:
        world.remove(name, f"{name}-new", f"{name}-old", asker, neighbour)


def test_with_a_grant_only_the_grant_is_new(world: World) -> None:
    """What is said to be added is what inspect and the kernel then show, and nothing else changes."""
    name = f"{world.prefix}-web"
    option = Option(
        placement=Placement.RECREATE, grant=Grant.SECCOMP, user="0:0", verdict=Verdict.OPEN, gates=(),
        cap_add=("CHOWN", "SYS_PTRACE"), opened_calls=("perf_event_open",),
    )  # fmt: skip
    try:
        world.create(name, world.told({"Image": "@rich", **host(CapDrop=["MKNOD"], SecurityOpt=["label=disable"])}))
        world.start(name)
        before = world.inspect(name)
        plain = world.plan(before)
        granted = with_labels(with_grant(plain, option, profile_json=PROFILE), {"debugrun.original": before["Id"]})
        said = added(plain, granted)
        assert [(each.path, each.before, each.after) for each in said] == [
            ("Config.Labels.debugrun.original", None, "(hidden)"),
            ("HostConfig.CapAdd", None, "SYS_PTRACE"),
            ("HostConfig.SecurityOpt", None, f"seccomp=(a profile of {len(PROFILE)} bytes)"),
        ]
        world.replace(name, granted, running=True)
        found = differences(before, world.inspect(name))
        assert {each.path for each in found} == {each.path for each in said}
        status = world.run(name, ["grep", "CapBnd", "/proc/self/status"]).split()[1]
        assert int(status, 16) & (1 << 19)  # SYS_PTRACE
        assert not int(status, 16) & (1 << 27)  # MKNOD
    finally:
        world.remove(name, f"{name}-new", f"{name}-old")


def test_the_writable_layer_comes_with_a_committed_image(world: World) -> None:
    """Cleared entrypoint, no health check: the image that it is committed to says the same."""
    name, kept = f"{world.prefix}-web", f"{world.prefix}:kept"
    body = {"Image": "@rich", "Entrypoint": [""], "Cmd": ["/bin/pause"], "Healthcheck": {"Test": ["NONE"]}}
    try:
        world.create(name, world.told({**body, "Env": ["A=3"], "ExposedPorts": {"82/tcp": {}}}))
        world.start(name)
        world.run(name, ["sh", "-c", "echo kept >/written; rm /srv/index.html"])
        before = world.inspect(name)
        repository, tag = kept.split(":")
        image = world.client.commit(name, repository, tag)["Id"]
        world.replace(name, with_image(world.plan(before), image), running=True)
        after = world.inspect(name)
        assert [each.path for each in differences(before, after)] == ["Image"]
        assert world.run(name, ["sh", "-c", "cat /written; ls /srv"]) == "kept\n"
    finally:
        world.remove(name, f"{name}-new", f"{name}-old")
        world.client.remove_image(kept, force=True)


def test_a_network_that_it_was_disconnected_from_stays_away(world: World) -> None:
    name = f"{world.prefix}-web"
    try:
        world.create(name, world.told({"Image": "@plain"}))
        world.client.disconnect_container_from_network(name, "bridge")
        world.client.connect_container_to_network(name, world.names["back"])
        world.start(name)
        before = world.inspect(name)
        plan = world.plan(before)
        world.replace(name, plan, running=True)
        after = world.inspect(name)
        assert list(after["NetworkSettings"]["Networks"]) == [world.names["back"]]
        assert any("disconnected" in each for each in plan.warnings)
        changed = {each.path for each in differences(before, after)}
        assert changed - {f"NetworkSettings.Networks.{world.names['back']}.MacAddress"} == {"HostConfig.NetworkMode"}
    finally:
        world.remove(name, f"{name}-new", f"{name}-old")


def test_one_that_was_never_started_gets_its_names_when_it_is(world: World) -> None:
    """What inspect says of them before tells nothing: it is not the same of the two."""
    name, back = f"{world.prefix}-web", world.names["back"]
    body = {**host(NetworkMode="@front"), **joined("@front", Aliases=["z"])}
    try:
        world.create(name, world.told({"Image": "@plain", **body}), ((back, {"Aliases": ["y"]}),))
        plan = world.plan(world.inspect(name))
        world.start(name)
        before = world.inspect(name)
        world.replace(name, plan, running=True)
        after = world.inspect(name)
        changed = {each.path for each in differences(before, after)}
        assert changed <= {f"NetworkSettings.Networks.{back}.MacAddress"}  # made at the start, so not in the plan
        for network, alias in ((world.names["front"], "z"), (back, "y")):
            found = after["NetworkSettings"]["Networks"][network]
            assert alias in (found.get("DNSNames") or found["Aliases"])  # DNSNames since API 1.44
    finally:
        world.remove(name, f"{name}-new", f"{name}-old")


def test_a_volume_in_memory_is_said_to_be_lost(world: World) -> None:
    name = f"{world.prefix}-web"
    options = {"DriverConfig": {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}}
    try:
        body = host(Mounts=[volume("/v", "@made", VolumeOptions=options)], Tmpfs={"/t": ""})
        world.create(name, world.told({"Image": "@plain", **body}))
        world.start(name)
        world.run(name, ["sh", "-c", "echo gone >/v/kept"])
        plan = world.plan(world.inspect(name))
        world.replace(name, plan, running=True)
        assert world.run(name, ["ls", "/v"]) == ""
        assert f"what is in the volume {world.names['made']} at /v: it is in memory" in plan.lost
        assert "what is in the tmpfs at /t" in plan.lost
    finally:
        world.remove(name, f"{name}-new", f"{name}-old")


def test_who_refers_to_a_container_is_found(world: World) -> None:
    modes = host(NetworkMode="container:@store", PidMode="container:@store", IpcMode="container:@store")
    wanted = {
        "joins": (modes, ("network", "pid", "ipc"), "recreate"),
        "links": (host(Links=["@store:db"]), ("link",), "recreate"),
        "mounts": (host(VolumesFrom=["@store"]), ("volumes-from",), "nothing"),
        "none": (host(Binds=["@named:/n"]), (), ""),
    }
    names = {each: f"{world.prefix}-{each}" for each in wanted}
    try:
        for each, (body, _, _) in wanted.items():
            world.create(names[each], world.told({"Image": "@plain", **body}))
        world.start(names["joins"])
        store = world.inspect(world.names["store"])
        found = dependents(store, [store, *(world.inspect(name) for name in names.values())])
        assert [(each.name, each.relations, each.remedy, each.running) for each in found] == [
            (names[each], relations, remedy, each == "joins")
            for each, (_, relations, remedy) in sorted(wanted.items())
            if relations
        ]
    finally:
        world.remove(*names.values())


def test_compose_takes_the_override_file(world: World, tmp_path: Path) -> None:
    """The service gets the grant by what is printed, and loses it by what is printed."""
    project = f"{world.prefix}-compose"
    (tmp_path / "compose.yaml").write_text(
        f"services:\n  web:\n    image: {world.names['plain']}\n    pull_policy: never\n    cap_drop: [MKNOD]\n"
        "    network_mode: none\n    stop_grace_period: 0s\n"
    )
    (tmp_path / "gdb.json").write_text(PROFILE)
    words = compose.command()

    def composed(line: list[str]) -> dict[str, Any]:
        done = subprocess.run(
            [*words, *line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, **({"DOCKER_HOST": world.address} if world.address else {})},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return world.inspect(f"{project}-web-1") if "up" in line else {}

    option = Option(
        placement=Placement.RECREATE, grant=Grant.SECCOMP, user="0:0", verdict=Verdict.OPEN, gates=(),
        cap_add=("SYS_PTRACE",), opened_calls=("perf_event_open",),
    )  # fmt: skip
    try:
        before = composed(["-p", project, "up", "-d"])
        refused = refusal(before, image={})
        assert refused is not None
        assert (refused.by, refused.forcible) == ("compose", True)
        text = compose_override(before, option, profile="gdb.json")
        (tmp_path / "debugrun.override.yaml").write_text(text)
        there, back = (line[3:].split()[2:] for line in text.splitlines() if line.startswith("#   "))
        host_config = composed(there)["HostConfig"]
        assert [cap.removeprefix("CAP_") for cap in host_config["CapAdd"]] == ["SYS_PTRACE"]
        assert json.loads(host_config["SecurityOpt"][0].partition("seccomp")[2][1:]) == json.loads(PROFILE)
        assert composed(back)["HostConfig"]["CapAdd"] is None
    finally:
        composed(["-p", project, "down", "-t", "0"])


@pytest.mark.slow
@given(data=st.data())
@settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_random_containers_are_the_same(world: World, data: st.DataObject) -> None:
    """And the model of the engine, which the fast tests rely on, says what this engine says."""
    name, reference = f"{world.prefix}-web", f"{world.prefix}:random"
    config = data.draw(IMAGES)
    request = data.draw(requests(world.api))
    body = localized(world, request)
    try:
        commit(world.client, world.names["plain"], config, reference)
        image = world.image(reference)
        daemon = Daemon(api=world.api, images={"": {"Id": image["Id"], "Config": image["Config"]}})
        daemon.containers.append(world.inspect(world.names["store"]))
        try:
            world.create(name, {**body, "Image": reference})
        except EngineRefusal:
            with pytest.raises(RefusedError):
                daemon.run(name, {**body, "Image": image["Id"]})
            return
        before = world.inspect(name)
        try:
            model = daemon.run(name, {**body, "Image": image["Id"]})
        except TakenError:
            return
        assert summary(model) == summary(before)
        world.replace(name, world.plan(before), running=False)
        assert differences(before, world.inspect(name)) == ()
    finally:
        world.remove(name, f"{name}-old")


def localized(world: World, request: dict[str, Any]) -> dict[str, Any]:
    """A random request with the names of this world."""
    names = {"store": "store", "front": "front", "back": "back", "third": "back", "named": "named", "other": "other"}
    text = json.dumps(request).replace("10.9.0.7", world.told("@net.71")).replace("fd00::7", world.told("@net6::71"))
    text = text.replace("container:ID", f"container:{world.inspect(world.names['store'])['Id']}")
    for each, ours in names.items():
        text = text.replace(f'"{each}"', f'"{world.names[ours]}"').replace(f'"{each}:', f'"{world.names[ours]}:')
    return dict(json.loads(text))


def summary(container: dict[str, Any]) -> dict[str, Any]:
    """What the model knows of a container; of one that was never started, inspect says less."""
    joins = container["HostConfig"]["NetworkMode"].startswith("container:")
    unlike = {"Image", "Hostname", *(["Domainname"] if joins else [])}
    config = {key: value for key, value in container["Config"].items() if value and key not in unlike}
    mounts = {each["Destination"]: (each["Type"], each["RW"]) for each in container["Mounts"]}
    return {
        "config": config,
        "own name": joins or container["Config"]["Hostname"] == container["Id"][:12],
        "mounts": {place: found for place, found in mounts.items() if found[0] != "tmpfs"},
        "networks": sorted({*container["NetworkSettings"]["Networks"]} - {"host", "none"}),
    }
