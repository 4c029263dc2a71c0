"""Who manages a container is told by its marks, and what is said instead can be typed."""

from __future__ import annotations

from typing import Any

import pytest

from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.rebuild.orchestrated import compose_override, refusal


def container(labels: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - the engine's JSON
    return {
        "Id": "c" * 64,
        "Name": "/web",
        "Image": "sha256:" + "d" * 64,
        "State": {"Status": "running"},
        "Config": {"Labels": labels or {}, "Image": "app:1", "Env": []},
        **more,
    }


@pytest.mark.parametrize(
    ("labels", "by", "words"),
    [
        (
            {
                "io.kubernetes.pod.name": "web-0",
                "io.kubernetes.pod.namespace": "shop",
                "io.kubernetes.container.name": "app",
            },
            "kubernetes",
            "kubectl debug -n shop web-0 -it --target app",
        ),
        (
            {"com.docker.swarm.task": "", "com.docker.swarm.service.name": "shop_web"},
            "swarm",
            "docker service update --cap-add SYS_PTRACE shop_web",
        ),
        ({"com.hashicorp.nomad.alloc_id": "x"}, "nomad", 'cap_add = ["sys_ptrace"]'),
        (
            {"com.amazonaws.ecs.task-arn": "x", "com.amazonaws.ecs.task-definition-family": "shop"},
            "ecs",
            "task definition shop: linuxParameters.capabilities.add SYS_PTRACE",
        ),
        (
            {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"},
            "compose",
            "override file for the service web",
        ),
        ({"PODMAN_SYSTEMD_UNIT": "web.service"}, "systemd", "web.service: AddCapability=SYS_PTRACE"),
    ],
)
def test_a_managed_container_is_refused(labels: dict[str, str], by: str, words: str) -> None:
    found = refusal(container(labels), image={})
    assert found is not None
    assert (found.by, found.code, found.forcible) == (by, f"managed-by-{by}", by == "compose")
    assert words in found.hint


def test_a_task_of_mesos_is_known_by_its_environment() -> None:
    config = {"Labels": {}, "Env": ["MESOS_TASK_ID=secret"]}
    found = refusal(container(Config=config), image={})
    assert found is not None
    assert found.by == "marathon"
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (container({"debugrun.kind": "sidecar"}, Name="/debugrun-gdb-0123456789"), "own-sidecar"),
        (container({"io.x-k8s.kind.cluster": "kind"}), "engine-system"),
        (container({"com.docker.desktop.extension": "true", "com.docker.compose.project": "x"}), "engine-system"),
        (container(Name="/buildx_buildkit_default0"), "engine-system"),
        (container(IsInfra=True), "engine-system"),
        (container(Pod="abc"), "engine-system"),
        (container(State={"Status": "dead"}), "not-there"),
    ],
)
def test_what_must_not_stop_is_refused(given: dict[str, Any], code: str) -> None:
    found = refusal(given, image={})
    assert found is not None
    assert (found.code, found.forcible) == (code, False)
    assert found.hint


def test_itself_and_what_has_no_image_are_refused() -> None:
    itself = refusal(container(), image={}, own="c" * 64)
    gone = refusal(container(), image=None)
    assert itself is not None
    assert gone is not None
    assert (itself.code, gone.code) == ("own-container", "image-gone")


def test_any_other_container_may_be_recreated() -> None:
    assert refusal(container({"a": "b"}), image={}, own="e" * 64) is None
    assert refusal(container(), image={}, own="") is None


def test_an_override_file_says_how_it_is_used() -> None:
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "we b",
        "com.docker.compose.project.config_files": "/srv/my shop/compose.yaml,/srv/more.yaml",
    }
    granted = Option(
        placement=Placement.RECREATE, grant=Grant.SECCOMP, user="0:0", verdict=Verdict.OPEN, gates=(),
        cap_add=("SYS_PTRACE",), opened_calls=("bpf",), apparmor="unconfined",
    )  # fmt: skip
    text = compose_override(container(labels), granted, profile="/tmp/p.json")  # noqa: S108 - only named
    files = "-f '/srv/my shop/compose.yaml' -f /srv/more.yaml"
    assert text == (
        "# Grants for debugging. Save as debugrun.override.yaml, then:\n"
        f"#   docker compose -p shop {files} -f debugrun.override.yaml up -d --no-deps 'we b'\n"
        "# And back to what it was:\n"
        f"#   docker compose -p shop {files} up -d --no-deps 'we b'\n"
        "services:\n"
        '  "we b":\n'
        '    cap_add: ["SYS_PTRACE"]\n'
        '    security_opt: ["apparmor=unconfined", "seccomp=/tmp/p.json"]\n'
    )
