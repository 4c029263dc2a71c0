"""Profiles that are files on the engine's host: Podman's default is read, and what Podman is given is one."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from debugrun.core.decide import judge
from debugrun.core.know import inspection
from debugrun.core.rules.seccomp import dump_profile, evaluate, parse_profile
from debugrun.core.rules.seccomp.calls import calls
from debugrun.engine import engine as engines
from debugrun.errors import EngineError
from debugrun.observe import hostproc, observe, profiles
from tests.host import engines as host_engines
from tests.seccomp import lab as labs
from tests.seccomp import probe
from tests.seccomp.lab import Lab

pytestmark = pytest.mark.live

PODMAN = "podman-5.8"
PAUSE = ["/prober", "in-container", *["x86_64:34"] * 200]
REBOOT = "x86_64:169"


@pytest.fixture(scope="module")
def podman(engine: docker.APIClient) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield labs.set_up(labs.beside(PODMAN, stack), probe.binary(engine), stack)


@pytest.fixture
def connection(podman: Lab) -> Iterator[engines.Engine]:
    assert podman.name.startswith("podman")
    with engines.connect(host_engines.up(PODMAN)) as found:
        yield found


def test_podman_is_handed_a_file_that_is_gone_when_the_container_starts(
    podman: Lab, connection: engines.Engine
) -> None:
    """A profile that refuses reboot(2) with an errno that no kernel has: it is in force, and nothing of it is left."""
    rules = [
        replace(rule, names=tuple(name for name in rule.names if name != "reboot")) for rule in podman.default.rules
    ]
    profile = replace(podman.default, default_errno=probe.MARK, rules=tuple(rules))
    with profiles.handed_over(connection, dump_profile(profile), local=True) as path:
        assert path is not None
        assert Path(path).stat().st_mode & 0o777 == 0o600
        config = podman.client.create_host_config(network_mode="none", security_opt=[f"seccomp={path}"])
        made = podman.client.create_container(podman.image, ["/prober", "in-container", REBOOT], host_config=config)[
            "Id"
        ]
    try:
        assert not Path(path).exists()
        podman.client.start(made)
        podman.client.wait(made, timeout=60)
        assert podman.client.logs(made).decode().split()[-1] == str(-probe.MARK)
    finally:
        podman.client.remove_container(made, force=True)


def test_podman_elsewhere_can_not_be_handed_one(connection: engines.Engine) -> None:
    with pytest.raises(EngineError) as caught, profiles.handed_over(connection, "{}", local=False):
        pass
    assert caught.value.code == "profile-elsewhere"
    assert "podman run --security-opt seccomp=FILE" in caught.value.hint


def test_docker_is_handed_the_text(engine: docker.APIClient) -> None:
    if inspection.engine_facts(engine.version(), {}).name == "podman":
        pytest.skip("takes a file: run it with DOCKER_HOST at a Docker engine")
    with engines.connect() as connection, profiles.handed_over(connection, "{}", local=None) as given:
        assert given == "{}"


def test_podmans_default_is_read_where_it_can_be(podman: Lab, connection: engines.Engine) -> None:
    """The file that a distribution packs says the same as the table of the release that it is packed with."""
    config = podman.client.create_host_config(network_mode="none")
    made = podman.client.create_container(podman.image, PAUSE, host_config=config)["Id"]
    try:
        podman.client.start(made)
        main = hostproc.read(podman.client.inspect_container(made)["State"]["Pid"])
    finally:
        conmon = 0 if main is None else main.status.ppid
        told = inspection.engine_facts(connection.version(), connection.info())
        found = profiles.of_engine(connection, told, conmon)
        podman.client.remove_container(made, force=True)
    assert found.seccomp == "default"
    assert found.seccomp_profile is not None
    read = parse_profile(found.seccomp_profile)
    for call in calls():
        ours, theirs = (
            evaluate(each, call, caps=podman.default_caps, kernel=podman.kernel, runtime=podman.runtime)
            for each in (podman.default, read)
        )
        assert (ours.action, ours.errno, ours.certain) == (theirs.action, theirs.errno, theirs.certain), call


def test_a_default_that_cannot_be_read_is_that_of_the_release(podman: Lab, connection: engines.Engine) -> None:
    told = inspection.engine_facts(connection.version(), connection.info())
    found = profiles.of_engine(connection, told, 0)
    assert (found.seccomp, found.seccomp_profile) == ("default", None)
    assert judge.engine_profile(found)[1] == podman.default


@pytest.fixture
def overridden(podman: Lab) -> Iterator[str]:
    """A default profile of the operator's own, where Podman looks for one; its path there."""
    path = "/etc/containers/seccomp.json"
    file = Path(f"/proc/{service(host_engines.up(PODMAN))}/root{path}")
    assert not file.exists()
    refusing = [replace(rule, names=tuple(n for n in rule.names if n != "reboot")) for rule in podman.default.rules]
    try:
        file.write_text(dump_profile(replace(podman.default, default_errno=probe.MARK, rules=tuple(refusing))))
        yield path
    finally:
        file.unlink()


def service(host: str) -> int:
    """The process that listens on an engine's socket."""
    with socket.socket(socket.AF_UNIX) as probing:
        probing.connect(host.removeprefix("unix://"))
        pid, _, _ = struct.unpack("3i", probing.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def test_an_operators_own_default_is_recognised_and_read(
    podman: Lab, connection: engines.Engine, overridden: str
) -> None:
    told = inspection.engine_facts(connection.version(), connection.info())
    assert told.seccomp == "default", "Podman says so of any profile"
    pid = service(host_engines.up(PODMAN))
    found = profiles.of_engine(connection, told, pid)
    assert found.seccomp == overridden
    name, profile = judge.engine_profile(found)
    assert name == f"the daemon's own profile {overridden}"
    assert profile is not None
    config = podman.client.create_host_config(network_mode="none")
    made = podman.client.create_container(podman.image, ["/prober", "in-container", REBOOT], host_config=config)["Id"]
    try:
        podman.client.start(made)
        podman.client.wait(made, timeout=60)
        seen = podman.client.logs(made).decode().split()[-1]
    finally:
        podman.client.remove_container(made, force=True)
    assert seen == str(-probe.MARK)
    outcome = evaluate(profile, "reboot", caps=podman.default_caps, kernel=podman.kernel, runtime=podman.runtime)
    assert (outcome.action, outcome.errno) == ("errno", probe.MARK)
    unreadable = profiles.of_engine(connection, told, 0)
    assert judge.engine_profile(unreadable) == (name, None)


def test_a_daemons_own_default_is_read_as_the_daemon_finds_it(engine: docker.APIClient, tmp_path: Path) -> None:
    """Docker says its path: `docker info`, SecurityOptions."""
    path = tmp_path / "own,profile.json"
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    info = {**engine.info(), "SecurityOptions": [f"name=seccomp,profile={path}"]}
    told = inspection.engine_facts({"Version": "28.5.2"}, info)
    assert told.seccomp == str(path)
    with engines.connect() as connection:
        found = profiles.of_engine(connection, told, os.getpid())
        assert found.seccomp_profile == path.read_text()
        path.unlink()
        assert profiles.of_engine(connection, told, os.getpid()).seccomp_profile is None


def test_the_profile_that_a_container_was_given_as_a_file_is_read(
    podman: Lab, connection: engines.Engine, tmp_path: Path
) -> None:
    path = tmp_path / "own.json"
    path.write_text(dump_profile(podman.default))
    config = podman.client.create_host_config(network_mode="none", security_opt=[f"seccomp={path}"])
    made = podman.client.create_container(podman.image, PAUSE, host_config=config)["Id"]
    try:
        podman.client.start(made)
        facts = observe.observe(connection, made)
    finally:
        podman.client.kill(made)
        podman.client.remove_container(made, force=True)
    assert (facts.container.seccomp, facts.container.seccomp_profile) == ("custom", path.read_text())
    assert facts.engine.seccomp_profile is not None
