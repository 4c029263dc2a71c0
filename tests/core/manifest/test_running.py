"""Running containers: what their inspections say that they were given."""

from __future__ import annotations

from typing import Any

import pytest

from debugrun.core.export import Privileges
from debugrun.core.manifest import running
from debugrun.core.manifest.review import instead_of, review
from tests import reviewed

HOST: dict[str, Any] = {"Privileged": False, "CapAdd": None, "CapDrop": None, "SecurityOpt": None, "PidMode": ""}


def inspected(**host: Any) -> dict[str, Any]:  # noqa: ANN401 - the engine's JSON
    config = {"User": host.pop("User", "")}
    return {"HostConfig": {**HOST, **host}, "Config": config, "Mounts": host.pop("Mounts", [])}


@pytest.mark.parametrize(
    ("host", "given"),
    [
        ({}, Privileges()),
        ({"CapAdd": ["CAP_SYS_PTRACE"], "CapDrop": ["ALL"]}, Privileges(cap_add=("SYS_PTRACE",), cap_drop=("ALL",))),
        ({"SecurityOpt": ["seccomp=unconfined"]}, Privileges(seccomp="unconfined")),
        ({"SecurityOpt": ["seccomp:unconfined", "no-new-privileges:true"]},
         Privileges(seccomp="unconfined", no_new_privileges=True)),
        ({"SecurityOpt": ['seccomp={"defaultAction": "SCMP_ACT_ALLOW"}']}, Privileges(seccomp="its own profile")),
        ({"SecurityOpt": ["label=disable"], "PidMode": "host"}, Privileges(pid="host")),
        ({"SecurityOpt": ["apparmor=unconfined", "label=disable"]}, Privileges(apparmor="unconfined", no_labels=True)),
        ({"Privileged": True, "User": "1000:1000"}, Privileges(privileged=True, user="1000:1000")),
        ({"User": "somebody"}, Privileges()),
    ],
)  # fmt: skip
def test_an_inspection_says_what_was_given(host: dict[str, Any], given: Privileges) -> None:
    assert running.privileges(inspected(**host)) == given


def test_a_socket_of_an_engine_is_found_in_the_mounts() -> None:
    found = inspected() | {"Mounts": [{"Source": "/run/docker.sock"}, {"Source": "/srv"}]}
    assert [part.value for part in running.parts(found)] == ["/run/docker.sock"]


@pytest.mark.parametrize(
    "junk", [{}, {"HostConfig": None}, {"HostConfig": {"CapAdd": {"a": 1}, "SecurityOpt": [None]}}]
)
def test_answers_of_another_shape_grant_nothing(junk: dict[str, Any]) -> None:
    assert running.privileges(junk) == Privileges()


@pytest.mark.parametrize(
    ("host", "instead"),
    [
        ({"Privileged": True}, "--cap-add SYS_PTRACE --cap-add PERFMON"),
        ({"SecurityOpt": ["seccomp=unconfined"], "User": "1000:1000"},
         "--cap-add SYS_PTRACE --security-opt seccomp=debugrun.json"),
        ({"PidMode": "host", "CapAdd": ["SYS_PTRACE", "PERFMON", "NET_ADMIN"]},
         "--cap-add SYS_PTRACE --cap-add PERFMON --cap-add NET_ADMIN"),
    ],
)  # fmt: skip
def test_the_narrowest_is_said_in_docker_words(host: dict[str, Any], instead: str) -> None:
    found = inspected(**host)
    verdict = review(running.parts(found), running.privileges(found), reviewed.ASKED, reviewed.HOST)
    assert instead_of(verdict) == instead


def test_what_sessions_left_is_known_by_its_label() -> None:
    assert "debugrun restore" in running.left_over({"debugrun.recreated": "{}"})
    assert running.left_over({"com.example": "x"}) == ""
