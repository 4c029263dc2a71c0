"""The grant of a plan in the words of an orchestrator: one function for each format. Pure."""

from __future__ import annotations

from debugrun.core.export import cluster, compose, docker, host, kubernetes, resolved, swarm
from debugrun.core.export.ask import Ask, Export, Format, Privileges
from debugrun.core.grants import Placement

_BESIDE, _OWN = Placement.SIDECAR, Placement.RECREATE
_EITHER = (_BESIDE, _OWN)

FORMATS: dict[str, Format] = {
    "docker-run": Format(summary="a `docker run` line", placements=_EITHER, render=docker.run, suffix=".sh"),
    "docker-exec": Format(
        summary="a `docker exec` line", placements=(Placement.HERE,), render=docker.execute, suffix=".sh"
    ),
    "compose": Format(
        summary="a Compose file for a second -f", placements=_EITHER, render=compose.render, suffix=".yaml"
    ),
    "swarm": Format(
        summary="`docker service update`, or the API's body where no flag says it",
        placements=(_OWN,),
        render=swarm.render,
        missing=swarm.missing,
        too_old=swarm.too_old,
    ),
    "kubernetes": Format(
        summary="an ephemeral container, as a patch", placements=(_BESIDE,), render=kubernetes.patch, suffix=".json"
    ),
    "kubernetes-pod": Format(summary="a whole pod", placements=_EITHER, render=kubernetes.pod, suffix=".yaml"),
    "kubernetes-custom": Format(
        summary="a part of a container for `kubectl debug --custom`",
        placements=(_BESIDE,),
        render=kubernetes.custom,
        suffix=".json",
    ),
    "marathon": Format(
        summary="an app with Docker parameters", placements=(_OWN,), render=cluster.marathon, suffix=".json"
    ),
    "nomad": Format(summary="a job in HCL", placements=(_OWN,), render=cluster.nomad, suffix=".hcl"),
    "ecs": Format(
        summary="a task definition",
        placements=(_OWN,),
        render=cluster.ecs,
        missing=cluster.ecs_missing,
        suffix=".json",
    ),
    "devcontainer": Format(
        summary="properties of devcontainer.json", placements=(_OWN,), render=host.devcontainer, suffix=".json"
    ),
    "quadlet": Format(
        summary="a .container unit of Podman's", placements=_EITHER, render=host.quadlet, suffix=".container"
    ),
    "podman": Format(summary="a `podman run` line", placements=_EITHER, render=docker.podman, suffix=".sh"),
    "systemd": Format(
        summary="a unit that runs the tool on the host", placements=(_BESIDE,), render=host.systemd, suffix=".service"
    ),
    "beats": Format(
        summary="the seccomp policy of an Elastic Beat", placements=(_OWN,), render=resolved.beats, suffix=".yaml"
    ),
}

__all__ = ["FORMATS", "Ask", "Export", "Format", "Privileges"]
