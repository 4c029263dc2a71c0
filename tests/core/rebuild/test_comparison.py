"""A difference that matters is seen, one that must be is not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.faithful import EXPECTED, differences

IMAGE = {"Id": "sha256:app", "Config": {"Cmd": ["x"], "Volumes": {"/data": {}}}}


@pytest.fixture
def container() -> dict[str, Any]:
    """A container with something of everything, as 28.5 describes it."""
    daemon = Daemon(api=(1, 51), images={"app:1": IMAGE})
    inspected = daemon.run(
        "web",
        {
            "Image": "app:1",
            "Env": ["A=1"],
            "Labels": {"a": "b"},
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {
                "NetworkMode": "front",
                "Binds": ["/opt:/b:ro,rslave"],
                "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
                "CapAdd": ["NET_ADMIN"],
                "CapDrop": None,
                "MaskedPaths": ["/proc/kcore"],
                "Memory": 64,
                "Dns": ["1.1.1.1", "2.2.2.2"],
            },
            "NetworkingConfig": {"EndpointsConfig": {"front": {"IPAMConfig": {"IPv4Address": "10.9.0.7"}}}},
        },
    )
    inspected["ResolvConfPath"] = f"/var/lib/docker/containers/{inspected['Id']}/resolv.conf"
    return inspected


def replaced(container: dict[str, Any], path: tuple[Any, ...], value: object) -> dict[str, Any]:
    made = copy.deepcopy(container)
    inner: Any = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("Image",), "sha256:other", "Image"),
        (("Name",), "/other", "Name"),
        (("Config", "Env"), ["A=2"], "Config.Env.A"),
        (("Config", "Cmd"), ["y"], "Config.Cmd"),
        (("Config", "Hostname"), "x", "Config.Hostname"),
        (("Config", "Labels", "a"), "c", "Config.Labels.a"),
        (("Config", "User"), "1", "Config.User"),
        (("HostConfig", "CapAdd"), ["NET_ADMIN", "SYS_PTRACE"], "HostConfig.CapAdd"),
        (("HostConfig", "CapDrop"), [], "HostConfig.CapDrop"),
        (("HostConfig", "MaskedPaths"), None, "HostConfig.MaskedPaths"),
        (("HostConfig", "MaskedPaths"), [], "HostConfig.MaskedPaths"),
        (("HostConfig", "Memory"), 65, "HostConfig.Memory"),
        (("HostConfig", "Privileged"), True, "HostConfig.Privileged"),
        (("HostConfig", "Dns"), ["2.2.2.2", "1.1.1.1"], "HostConfig.Dns"),
        (("HostConfig", "Binds"), ["/opt:/b:ro"], "HostConfig.Binds"),
        (("HostConfig", "PortBindings", "80/tcp", 0, "HostPort"), "8081", "HostConfig.PortBindings.80/tcp"),
        (("Mounts", 0, "RW"), True, "Mounts"),
        (("Mounts", 0, "Propagation"), "rprivate", "Mounts"),
        (("Mounts", 1, "Name"), "another", "Mounts"),
        (("NetworkSettings", "Ports", "80/tcp"), [], "NetworkSettings.Ports.80/tcp"),
        (("NetworkSettings", "Networks", "front", "Aliases"), ["x"], "NetworkSettings.Networks.front.Aliases"),
        (("NetworkSettings", "Networks", "front", "DNSNames"), ["x"], "NetworkSettings.Networks.front.DNSNames"),
        (("NetworkSettings", "Networks", "front", "IPAddress"), "10.9.0.8", "NetworkSettings.Networks.front.IPAddress"),
        (("NetworkSettings", "Networks", "back"), {"NetworkID": "x"}, "NetworkSettings.Networks.back.NetworkID"),
        (("ResolvConfPath",), "/elsewhere", "ResolvConfPath"),
        (("SomethingNew",), 1, "SomethingNew"),
    ],
)
def test_a_difference_is_seen(container: dict[str, Any], path: tuple[Any, ...], value: object, said: str) -> None:
    assert said in {each.path for each in differences(container, replaced(container, path, value))}


def test_what_must_differ_is_not_said(container: dict[str, Any]) -> None:
    other = {**copy.deepcopy(container), "Id": "b" * 64, "Created": "later", "ExecIDs": ["x"], "RestartCount": 4}
    other["State"] = {"Running": False, "Pid": 0}
    other["GraphDriver"] = {"Data": {"UpperDir": "/other"}}
    other["Config"]["Image"] = other["Image"]
    other["NetworkSettings"] |= {"SandboxID": "x", "SandboxKey": "y"}
    other["ResolvConfPath"] = f"/var/lib/docker/containers/{other['Id']}/resolv.conf"
    front = other["NetworkSettings"]["Networks"]["front"]
    front |= {"EndpointID": "z", "DNSNames": ["web", "b" * 12, other["Config"]["Hostname"]]}
    assert differences(container, other) == ()
    assert differences(container, {**other, "Config": {**other["Config"], "Image": "sha256:another"}}) != ()


def test_names_that_a_start_makes_anew_are_not_compared_before_it(container: dict[str, Any]) -> None:
    """28.5 shows them where a network was connected to after create, and not where create had it."""
    before, after = copy.deepcopy(container), copy.deepcopy(container)
    for each, names in ((before, ["web", "y"]), (after, None)):
        each["NetworkSettings"]["Networks"]["front"] |= {"NetworkID": "", "Aliases": ["y"], "DNSNames": names}
    assert differences(before, after) == ()
    after["NetworkSettings"]["Networks"]["front"]["Aliases"] = None  # which they are made from
    assert [each.path for each in differences(before, after)] == ["NetworkSettings.Networks.front.Aliases"]


def test_every_exception_has_its_reason() -> None:
    assert len(EXPECTED) < 20
    assert all(EXPECTED.values())
