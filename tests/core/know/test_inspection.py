from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from debugrun.core.know import inspection
from debugrun.core.know.facts import ContainerFacts, EngineFacts
from debugrun.core.know.procfs import CAPABILITIES
from tests import TESTS

RECORDED = TESTS / "facts"
DEFAULT = tuple(sorted(inspection.DOCKER_DEFAULT))
PODMANS = tuple(sorted(inspection.PODMAN_DEFAULT))
# The bounding set of the machine that the containers were recorded on.
HELD = tuple(sorted(set(CAPABILITIES) - {"SYS_RESOURCE"}))


def recorded(engine: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / engine / f"{name}.json").read_text())
    return found


def engine_of(name: str, *, held: tuple[str, ...] | None = HELD, **info: object) -> EngineFacts:
    facts = inspection.engine_facts(recorded(name, "version"), {**recorded(name, "info"), **info})
    return replace(facts, capabilities=held)


def container_of(engine: str, name: str, held: tuple[str, ...] | None = HELD) -> ContainerFacts:
    return inspection.container_facts(recorded(engine, name), engine_of(engine, held=held), recorded(engine, "image"))


def varied(host: Mapping[str, object], *, engine: str = "docker-28.5", **top: object) -> ContainerFacts:
    data = recorded(engine, "root")
    data["HostConfig"].update(host)
    return inspection.container_facts({**data, **top}, engine_of(engine))


@pytest.mark.parametrize(
    ("recording", "name", "version", "api"),
    [
        ("docker-20.10", "docker", "20.10.24+dfsg1", "1.41"),
        ("docker-28.5", "docker", "28.5.2+dfsg4", "1.51"),
        ("podman-5.8", "podman", "5.8.6", "1.44"),
    ],
)
def test_recorded_engines_are_told_apart(recording: str, name: str, version: str, api: str) -> None:
    facts = engine_of(recording)
    assert (facts.name, facts.version, facts.api_version) == (name, version, api)
    assert (facts.architecture, facts.seccomp) == ("x86_64", "default")
    assert (facts.apparmor, facts.selinux, facts.rootless, facts.userns_remap) == (False,) * 4
    assert facts.default_runtime == ("crun" if name == "podman" else "runc")
    assert facts.default_runtime in facts.runtimes
    assert facts.local is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"seccomp": None}),
        (None, {"seccomp": None}),
        (["name=seccomp,profile=builtin"], {"seccomp": "default"}),
        (["name=seccomp,profile=unconfined"], {"seccomp": "unconfined"}),
        (["name=seccomp,profile=/etc/docker/a,b=c.json"], {"seccomp": "/etc/docker/a,b=c.json"}),
        (["seccomp"], {"seccomp": "default"}),
        (["name=apparmor", "name=cgroupns"], {"apparmor": True}),
        (["name=selinux"], {"selinux": True}),
        (["name=userns"], {"userns_remap": True, "rootless": False}),
        (["name=rootless"], {"rootless": True}),
        (["name=no-new-privileges"], {"no_new_privileges": True}),
    ],
)
def test_security_options_of_an_engine(options: list[str] | None, expected: Mapping[str, object]) -> None:
    facts = engine_of("docker-28.5", SecurityOptions=options)
    assert {key: getattr(facts, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("said", "means"), [("arm64", "aarch64"), ("aarch64", "aarch64"), ("amd64", "x86_64"), ("s390x", "s390x")]
)
def test_architectures_are_named_as_uname_does(said: str, means: str) -> None:
    assert engine_of("podman-5.8", Architecture=said).architecture == means


@pytest.mark.parametrize(
    ("engine", "name", "expected"),
    [
        ("docker-20.10", "tgt", {"capabilities": DEFAULT, "user": "", "seccomp": "default", "architecture": "x86_64"}),
        ("docker-20.10", "usr", {"capabilities": DEFAULT, "user": "1000:1000"}),
        ("docker-20.10", "hard", {"capabilities": (), "no_new_privileges": True, "read_only": True}),
        ("docker-20.10", "admin", {"capabilities": tuple(sorted({*DEFAULT, "SYS_ADMIN"}))}),
        ("docker-20.10", "ownseccomp", {"seccomp": "custom", "seccomp_profile": '{"defaultAction":"SCMP_ACT_ALLOW"}'}),
        ("docker-20.10", "unconfined", {"seccomp": "unconfined", "memory_limit": 200 << 20, "orchestrator": "compose"}),
        ("docker-28.5", "root", {"capabilities": DEFAULT, "runtime": "runc", "pid_mode": "", "apparmor": None}),
        ("docker-28.5", "priv", {"capabilities": HELD, "privileged": True, "seccomp": "unconfined"}),
        ("docker-28.5", "all", {"capabilities": HELD, "seccomp": "default"}),
        ("docker-28.5", "perf", {"capabilities": tuple(sorted({*DEFAULT, "PERFMON"}))}),
        ("docker-28.5", "hostpid", {"pid_mode": "host"}),
        ("podman-5.8", "root", {"capabilities": PODMANS, "runtime": "crun", "pid_mode": "", "seccomp": "default"}),
        ("podman-5.8", "netadm", {"capabilities": tuple(sorted({*PODMANS, "NET_ADMIN"} - {"CHOWN"}))}),
        ("podman-5.8", "priv", {"capabilities": HELD, "privileged": True, "seccomp": "unconfined"}),
        ("podman-5.8", "all", {"capabilities": HELD, "seccomp": "default"}),
        ("podman-5.8", "hostpid", {"pid_mode": "host"}),
    ],
)
def test_recorded_containers(engine: str, name: str, expected: Mapping[str, object]) -> None:
    facts = container_of(engine, name)
    assert facts.name == name
    assert facts.state == "running"
    assert facts.pid > 1
    assert {key: getattr(facts, key) for key in expected} == expected


def test_what_privileged_gives_is_unknown_until_the_engines_own_set_is() -> None:
    assert container_of("docker-28.5", "priv", held=None).capabilities is None
    assert container_of("docker-28.5", "all", held=None).capabilities is None
    assert container_of("docker-28.5", "root", held=None).capabilities == DEFAULT


def test_old_docker_knows_no_capability_beyond_audit_read() -> None:
    data = recorded("docker-20.10", "tgt")
    data["HostConfig"]["Privileged"] = True
    facts = inspection.container_facts(data, engine_of("docker-20.10"))
    assert facts.capabilities is not None
    assert "AUDIT_READ" in facts.capabilities
    assert not {"PERFMON", "BPF", "CHECKPOINT_RESTORE", "SYS_RESOURCE"} & set(facts.capabilities)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (["cap_sys_ptrace"], None, {*DEFAULT, "SYS_PTRACE"}),
        (["CAP_NET_ADMIN"], ["ALL"], {"NET_ADMIN"}),
        (["ALL"], ["CAP_SYS_ADMIN"], {*HELD} - {"SYS_ADMIN"}),
        (["ALL"], ["ALL"], {*HELD}),
        (None, ["all"], set()),
        (["CHOWN"], ["KILL", "chown"], {*DEFAULT} - {"KILL", "CHOWN"}),
    ],
)
def test_capabilities_added_and_dropped(add: list[str] | None, drop: list[str] | None, expected: set[str]) -> None:
    facts = varied({"CapAdd": add, "CapDrop": drop})
    assert facts.capabilities == tuple(sorted(expected))


def test_podman_4_lists_the_difference_to_dockers_defaults() -> None:
    data = recorded("podman-5.8", "root")
    data["HostConfig"]["CapDrop"] = ["AUDIT_WRITE", "MKNOD"]
    engine = replace(engine_of("podman-5.8"), version="4.3.1")
    facts = inspection.container_facts(data, engine)
    assert facts.capabilities == tuple(sorted({*PODMANS, "NET_RAW"}))


def test_podmans_own_inspection_names_the_capabilities() -> None:
    facts = varied({}, engine="podman-5.8", BoundingCaps=["CAP_KILL", "CAP_CHOWN"])
    assert facts.capabilities == ("CHOWN", "KILL")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, ("default", None, False)),
        (["seccomp=unconfined"], ("unconfined", None, False)),
        (["seccomp:unconfined"], ("unconfined", None, False)),
        (["seccomp=builtin"], ("default", None, False)),
        (['seccomp={"a":1}'], ("custom", '{"a":1}', False)),
        (['seccomp:\n{"a":\n1}'], ("custom", '\n{"a":\n1}', False)),
        (["seccomp=/etc/p.json"], ("custom", None, False)),
        (["no-new-privileges"], ("default", None, True)),
        (["no-new-privileges:true"], ("default", None, True)),
        (["no-new-privileges=false"], ("default", None, False)),
        (["label=disable", "apparmor=unconfined"], ("default", None, False)),
    ],
)
def test_security_options_of_a_container(options: list[str] | None, expected: tuple[str, str | None, bool]) -> None:
    facts = varied({"SecurityOpt": options})
    assert (facts.seccomp, facts.seccomp_profile, facts.no_new_privileges) == expected


@pytest.mark.parametrize(
    ("version", "options", "expected"),
    [
        ("26.1.5", ['seccomp={"a":1}'], "unconfined"),
        ("28.5.2", ['seccomp={"a":1}'], "custom"),
        ("28.5.2", None, "unconfined"),
    ],
)
def test_privileged_has_no_filter_unless_a_late_docker_was_given_one(
    version: str, options: list[str] | None, expected: str
) -> None:
    data = recorded("docker-28.5", "priv")
    data["HostConfig"]["SecurityOpt"] = options
    engine = replace(engine_of("docker-28.5"), version=version)
    assert inspection.container_facts(data, engine).seccomp == expected


def test_the_daemons_no_new_privileges_holds_unless_the_container_says_otherwise() -> None:
    engine = replace(engine_of("docker-28.5"), no_new_privileges=True)
    data = recorded("docker-28.5", "root")
    assert inspection.container_facts(data, engine).no_new_privileges
    data["HostConfig"]["SecurityOpt"] = ["no-new-privileges=false"]
    assert not inspection.container_facts(data, engine).no_new_privileges


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, None),
        ({"com.docker.compose.project": "p"}, "compose"),
        ({"com.docker.swarm.task": "", "com.docker.swarm.task.id": "x"}, "swarm"),
        ({"io.kubernetes.pod.name": "p"}, "kubernetes"),
        ({"com.hashicorp.nomad.alloc_id": "p"}, "nomad"),
        ({"com.amazonaws.ecs.task-arn": "p"}, "ecs"),
    ],
)
def test_orchestrators_leave_labels(labels: Mapping[str, object], expected: str | None) -> None:
    assert inspection.orchestrator(labels) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Status": "configured"}, "created"),
        ({"Status": "stopped"}, "exited"),
        ({"Status": "paused", "Running": True}, "paused"),
        ({"Running": True}, "running"),
        ({}, "exited"),
    ],
)
def test_states_are_dockers(state: Mapping[str, object], expected: str) -> None:
    assert varied({}, State=state).state == expected


def test_an_engine_that_answers_nothing_known_is_no_crash() -> None:
    engine = inspection.engine_facts({}, {})
    container = inspection.container_facts({"Config": None, "HostConfig": [], "State": "x"}, engine)
    assert (engine.version, container.id, container.state) == ("", "", "exited")


@pytest.mark.parametrize(
    ("image", "inspected", "expected"),
    [
        ({"Architecture": "arm64", "Variant": "v8"}, {}, "aarch64"),
        (None, {"ImageManifestDescriptor": {"platform": {"architecture": "arm64", "os": "linux"}}}, "aarch64"),
        (None, {}, None),
    ],
)
def test_the_images_architecture(
    image: Mapping[str, object] | None, inspected: Mapping[str, object], expected: str | None
) -> None:
    assert inspection.image_architecture(inspected, image) == expected


@pytest.mark.parametrize(
    ("env", "first"), [(["PATH=/opt/x/bin:relative:/bin", "PATHS=/no"], "/opt/x/bin"), ([], "/usr/local/sbin")]
)
def test_programs_are_looked_for_on_the_containers_path(env: list[str], first: str) -> None:
    folders = inspection.search_path({"Config": {"Env": env}})
    assert folders[0] == first
    assert {"/usr/bin", "/bin", "/sbin"} <= set(folders)
    assert not {"relative", "/no"} & set(folders)


@pytest.mark.parametrize(
    ("number", "components", "expected"),
    [
        ("20.10.24+dfsg1", [], True),
        ("24.0.7", [], True),
        ("24.0.8", [], False),
        ("28.5.2", [], False),
        ("5.8.6", [{"Name": "Podman Engine"}], False),
        ("", [], False),
    ],
)
def test_engines_that_remove_what_runs(number: str, components: list[object], expected: bool) -> None:  # noqa: FBT001
    assert inspection.removes_running({"Version": number, "Components": components}) is expected
