"""What a container is asked for again is what it was, whatever it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.rebuild.blueprint import Blueprint, blueprint, with_grant, with_image, with_labels
from debugrun.core.rebuild.comparison import added
from tests.configurations import APIS, ENDPOINTS, IMAGES, requests
from tests.daemon import Daemon, RefusedError
from tests.faithful import differences


@st.composite
def daemons(draw: st.DrawFn) -> tuple[Daemon, dict[str, Any]]:
    """An engine with a container that others may join and take volumes from, and a container that it made."""
    api = draw(st.sampled_from(APIS))
    daemon = Daemon(api=api)
    daemon.images = {"app:1": {"Id": "sha256:app", "Config": draw(IMAGES)}, "keep": {"Id": "sha256:k", "Config": {}}}
    store = daemon.run("store", {"Image": "keep", "Cmd": ["x"], "Volumes": {"/v": {}}, "Hostname": "store"})
    request = draw(requests(api))
    mode = request["HostConfig"]["NetworkMode"].replace("ID", store["Id"])
    request |= {"Image": "app:1", "HostConfig": {**request["HostConfig"], "NetworkMode": mode}}
    later = {"late": draw(ENDPOINTS)} if mode == "front" and draw(st.booleans()) else {}
    for each in later.values():
        each.pop("MacAddress", None)
        each.pop("IPAMConfig", None)
    try:
        return daemon, daemon.run("web", request, tuple(later.items()))
    except RefusedError:
        return daemon, {}


def again(daemon: Daemon, container: dict[str, Any]) -> tuple[Blueprint, dict[str, Any]]:
    """What the container is asked for, and the one that this makes."""
    made = blueprint(container, daemon.images["app:1"], api=daemon.api, others=daemon.containers)
    return made, daemon.run("web", json.loads(json.dumps(made.body)), made.networks)


@given(daemons())
@settings(max_examples=200, deadline=None)
def test_a_container_made_again_is_the_same(made: tuple[Daemon, dict[str, Any]]) -> None:
    daemon, container = made
    if not container:
        event("refused by the engine")
        return
    event(f"mode {container['HostConfig']['NetworkMode'][:9]}")
    kept = json.dumps(daemon.volumes)
    plan, anew = again(daemon, container)
    assert differences(container, anew) == ()
    assert json.dumps(daemon.volumes) == kept  # no volume more, and no file more in any
    names = {each["Destination"]: each.get("Name") for each in container["Mounts"]}
    assert {each["Destination"]: each.get("Name") for each in anew["Mounts"]} == names
    # Once more, and for good: what was pinned stays so.
    assert again(daemon, anew)[0].body == plan.body


def option(**given: Any) -> Option:  # noqa: ANN401 - the fields of Option
    return Option(
        placement=Placement.RECREATE, grant=Grant.CAPS, user="0:0", verdict=Verdict.OPEN, gates=(), **given
    )  # fmt: skip


def plan_of(**host: Any) -> Blueprint:  # noqa: ANN401 - the engine's JSON
    return Blueprint(
        name="web", body={"Image": "sha256:app", "Entrypoint": ["serve"], "Cmd": ["x"], "HostConfig": host}
    )


def host_of(made: Blueprint) -> dict[str, Any]:
    host = made.body["HostConfig"]
    assert isinstance(host, dict)
    return host


@pytest.mark.parametrize(
    ("before", "granted", "add", "drop"),
    [
        ({}, ("SYS_PTRACE",), ["SYS_PTRACE"], None),
        ({"CapAdd": ["CAP_SYS_PTRACE"]}, ("SYS_PTRACE",), ["CAP_SYS_PTRACE"], None),
        ({"CapAdd": ["NET_RAW"]}, ("CHOWN", "SYS_PTRACE"), ["NET_RAW", "SYS_PTRACE"], None),  # CHOWN is a default one
        ({"CapDrop": ["ALL"]}, ("CHOWN", "SYS_PTRACE"), ["CHOWN", "SYS_PTRACE"], ["ALL"]),
        ({"CapDrop": ["CHOWN", "KILL"]}, ("CHOWN",), ["CHOWN"], ["KILL"]),
        ({"CapAdd": ["ALL"], "CapDrop": ["SYS_PTRACE"]}, ("SYS_PTRACE",), ["ALL", "SYS_PTRACE"], []),
        ({"CapAdd": ["ALL"]}, ("SYS_PTRACE",), ["ALL"], None),
        ({"Privileged": True}, ("SYS_PTRACE",), None, None),
    ],
)
def test_only_missing_capabilities_are_added(
    before: dict[str, Any], granted: tuple[str, ...], add: list[str] | None, drop: list[str] | None
) -> None:
    made = host_of(with_grant(plan_of(**before), option(cap_add=granted)))
    assert (made.get("CapAdd"), made.get("CapDrop")) == (add, drop)
    assert {key: made[key] for key in before if key not in {"CapAdd", "CapDrop"}} == {
        key: before[key] for key in before if key not in {"CapAdd", "CapDrop"}
    }


def test_a_profile_takes_the_place_of_one_and_of_nothing_else() -> None:
    before = plan_of(SecurityOpt=["no-new-privileges", "seccomp={}", "label:disable"])
    made = with_grant(before, option(opened_calls=("bpf",)), profile_json="{1}")
    assert host_of(made)["SecurityOpt"] == ["no-new-privileges", "label:disable", "seccomp={1}"]
    assert host_of(with_grant(before, option()))["SecurityOpt"] == host_of(before)["SecurityOpt"]
    unconfined = with_grant(before, option(seccomp="unconfined", apparmor="web"))
    assert host_of(unconfined)["SecurityOpt"] == [
        "no-new-privileges", "label:disable", "seccomp=unconfined", "apparmor=web",
    ]  # fmt: skip


def test_privileged_unmasks_what_inspect_showed_as_masked() -> None:
    before = plan_of(
        MaskedPaths=["/proc/kcore"], ReadonlyPaths=["/proc/sys"], SecurityOpt=["seccomp={}"], CapDrop=["KILL"]
    )
    made = host_of(with_grant(before, option(privileged=True)))
    assert (made["Privileged"], made["MaskedPaths"], made["ReadonlyPaths"]) == (True, None, None)
    assert made["SecurityOpt"] == ["seccomp=unconfined"]
    assert made["CapDrop"] == ["KILL"]


def test_nothing_granted_is_nothing_changed() -> None:
    plain = plan_of(CapDrop=["ALL"], SecurityOpt=["seccomp={}"], Mounts=None)
    assert with_grant(plain, option()) == plain
    assert added(plain, with_grant(plain, option())) == ()


def test_what_is_added_shows_no_secret() -> None:
    secret = "hunter2"  # noqa: S105 - it is to be looked for
    before = Blueprint(name="web", body={"Image": "a", "Env": ["A=1"], "Cmd": ["serve"], "HostConfig": {}})
    after = Blueprint(
        name="web",
        body={
            "Image": "a",
            "Env": [f"A={secret}", f"B={secret}"],
            "Cmd": ["serve", f"--password={secret}"],
            "Entrypoint": [secret],
            "Labels": {"auth": secret},
            "Healthcheck": {"Test": ["CMD", secret]},
            "HostConfig": {
                "LogConfig": {"Type": "splunk", "Config": {"splunk-token": secret}},
                "Annotations": {"a": secret},
                "StorageOpt": {"a": secret},
                "Mounts": [
                    {
                        "Type": "volume",
                        "Target": "/v",
                        "VolumeOptions": {
                            "DriverConfig": {"Options": {"o": f"password={secret}"}},
                            "Labels": {"a": secret},
                        },
                    }
                ],
                "CapAdd": ["SYS_PTRACE"],
                "SecurityOpt": ["seccomp={}", "label=disable"],
            },
            "NetworkingConfig": {"EndpointsConfig": {"front": {"DriverOpts": {"key": secret}}}},
        },
    )
    found = {each.path: (each.before, each.after) for each in added(before, after)}
    assert secret not in repr(found)
    assert found["Config.Env.B"] == (None, "(hidden)")
    assert found["Config.Cmd"] == ("(1 words)", "(2 words)")
    assert found["HostConfig.CapAdd"] == (None, "SYS_PTRACE")
    assert found["HostConfig.LogConfig.Type"] == (None, "splunk")


def test_the_blueprint_says_what_is_lost() -> None:
    container = {
        "Id": "a" * 64,
        "Name": "/web",
        "Image": "sha256:app",
        "State": {"Running": True},
        "ExecIDs": ["x", "y"],
        "Config": {"Hostname": "a" * 12, "Image": "app:1", "AttachStdin": True},
        "HostConfig": {
            "IpcMode": "private",
            "NetworkMode": "bridge",
            "Tmpfs": {"/t": ""},
            "LogConfig": {"Type": "none"},
        },
        "Mounts": [{"Type": "volume", "Name": "n" * 64, "Destination": "/data", "Driver": "local", "RW": True}],
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
    }
    made = blueprint(container, {"Config": {}}, api=(1, 51))
    for part in (
        "memory",
        "2 commands",
        "input and terminal",
        "shared memory",
        "/etc/hosts",
        "tmpfs at /t",
        "172.17.0.2",
    ):
        assert any(part in each for each in made.lost), part
    for part in ("/data is kept by its name", "host name stays aaaaaaaaaaaa", "not as app:1"):
        assert any(part in each for each in made.warnings), part
    assert not any("log" in each for each in made.warnings)
    assert "NetworkingConfig" not in made.body


@pytest.mark.parametrize("links", [["/store:/web/a", "/store:/web/b"], ["/store:/web/b", "/store:/web/a"], [], None])
def test_links_are_asked_for_in_one_order(links: list[str] | None) -> None:
    """Inspect tells them in any."""
    made = blueprint({"HostConfig": {"Links": links, "NetworkMode": "bridge"}}, {}, api=(1, 51))
    assert host_of(made)["Links"] == (sorted(links) if links else links)


@pytest.mark.parametrize("api", [(1, 41), (1, 51)])
def test_labels_and_image_are_all_that_changes(api: tuple[int, int]) -> None:
    daemon = Daemon(api=api, images={"app:1": {"Id": "sha256:app", "Config": {"Cmd": ["x"], "Labels": {"a": "b"}}}})
    container = daemon.run("web", {"Image": "app:1"})
    plain = blueprint(container, daemon.images["app:1"], api=api)
    made = with_image(with_labels(plain, {"debugrun.session": "1"}), "sha256:other")
    assert [each.path for each in added(plain, made)] == ["Config.Image", "Config.Labels.debugrun.session"]
