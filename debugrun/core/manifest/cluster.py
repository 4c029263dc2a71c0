"""Kubernetes, Marathon, Nomad and ECS: which containers a manifest has, and what each holds. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from debugrun.core.manifest.document import Node
from debugrun.core.manifest.holding import Holding, Part, down, each
from debugrun.core.manifest.options import capabilities, option, security, socket

_KINDS = ("containers", "initContainers", "ephemeralContainers")


def kubernetes(root: Node) -> Iterator[Holding]:
    """Every container below it: pods, whatever holds a pod template, lists of them, and parts for kubectl debug."""
    if root.entries is not None and {key for key, _ in root.children()} == {"securityContext"}:
        yield Holding(name="the container", format="kubernetes", node=root, parts=tuple(_context(root)))
        return
    for spec in _specs(root, 0):
        sockets = {
            volume.string("name"): volume.string("hostPath", "path")
            for volume in spec.listed("volumes")
            if volume.string("hostPath", "path")
        }
        for kind in _KINDS:
            for container in spec.listed(kind):
                parts = [*_context(container), *_pod(spec, container)]
                for way in each(container, "volumeMounts"):
                    parts += socket(sockets.get(way[-1].value.string("name"), ""), way)
                name = container.string("name") or "container"
                yield Holding(
                    name=name,
                    format="kubernetes",
                    node=container,
                    parts=tuple(parts),
                    joins=container.string("targetContainerName"),
                )


_DEEPEST = 6  # List, CronJob, jobTemplate, spec, template, spec


def _specs(node: Node, depth: int) -> Iterator[Node]:
    """The pod specifications below a node."""
    if any(node.get(kind) is not None for kind in _KINDS):
        yield node
        return
    if depth < _DEEPEST:
        for key in ("spec", "template", "jobTemplate", "podTemplate"):
            found = node.get(key)
            if found is not None:
                yield from _specs(found, depth + 1)
        for item in node.listed("items"):
            yield from _specs(item, depth + 1)


def _context(container: Node) -> Iterator[Part]:
    base = "securityContext"
    context = container.get(base)
    if context is None:
        return
    if context.true("privileged"):
        yield Part(kind="privileged", value="true", way=down(container, base, "privileged"))
    for kind, key in (("drop", "drop"), ("capability", "add")):
        yield from capabilities(kind, each(container, base, "capabilities", key))
    profile = context.string("seccompProfile", "type")
    if profile in {"Unconfined", "Localhost"}:
        file = posixpath.basename(context.string("seccompProfile", "localhostProfile"))
        value = "unconfined" if profile == "Unconfined" else file
        yield Part(kind="seccomp", value=value, way=down(container, base, "seccompProfile"))
    armor = context.string("appArmorProfile", "type")
    if armor in {"Unconfined", "Localhost"}:
        value = "unconfined" if armor == "Unconfined" else context.string("appArmorProfile", "localhostProfile")
        yield Part(kind="apparmor", value=value, way=down(container, base, "appArmorProfile"))
    if context.string("seLinuxOptions", "type") == "spc_t":
        yield Part(kind="label", value="disable", way=down(container, base, "seLinuxOptions"))
    if context.string("allowPrivilegeEscalation") == "false":
        yield Part(kind="no-new-privileges", value="true", way=down(container, base, "allowPrivilegeEscalation"))
    if uid := context.string("runAsUser"):
        gid = context.string("runAsGroup")
        value = f"{uid}:{gid}" if gid else uid
        yield Part(kind="user", value=value, way=down(container, base, "runAsUser"))


def _pod(spec: Node, container: Node) -> Iterator[Part]:
    """What the pod says for all its containers."""
    if spec.true("hostPID"):
        yield Part(kind="pid", value="host", way=down(spec, "hostPID"))
    if spec.true("hostNetwork"):
        yield Part(kind="network", value="host", way=down(spec, "hostNetwork"))
    if target := container.string("targetContainerName"):
        yield Part(kind="pid", value=target, way=down(container, "targetContainerName"))


def marathon(root: Node) -> Iterator[Holding]:
    """Apps, also of groups; mesosphere/marathon docs/docs/native-docker.md."""
    for app in _apps(root, 0):
        parts: list[Part] = []
        docker = app.get("container", "docker")
        if docker is None:
            continue
        if docker.true("privileged"):
            parts.append(Part(kind="privileged", value="true", way=down(app, "container", "docker", "privileged")))
        for way in each(app, "container", "docker", "parameters"):
            parameter = way[-1].value
            parts += option(f"--{parameter.string('key')}", parameter.string("value"), way)
        for way in each(app, "container", "volumes"):
            parts += socket(way[-1].value.string("hostPath"), way)
        yield Holding(name=app.string("id") or "the app", format="marathon", node=app, parts=tuple(parts))


def _apps(root: Node, depth: int) -> Iterator[Node]:
    if root.get("container") is not None:
        yield root
    if root.items is not None:
        for item in root.items:
            yield from _apps(item, depth + 1)
    for key in ("apps", "groups"):
        for item in root.listed(key) if depth < _DEEPEST else ():
            yield from _apps(item, depth + 1)


def nomad(root: Node) -> Iterator[Holding]:
    """Tasks of the docker and podman drivers; hashicorp/nomad drivers/docker/config.go."""
    for task in _blocks(root, "task", 0):
        config = task.get("config")
        if task.string("driver") not in {"docker", "podman"} or config is None:
            continue
        parts: list[Part] = []
        if config.true("privileged"):
            parts.append(Part(kind="privileged", value="true", way=down(task, "config", "privileged")))
        for kind, key in (("drop", "cap_drop"), ("capability", "cap_add")):
            parts += capabilities(kind, each(task, "config", key))
        for way in each(task, "config", "security_opt"):
            parts += security(way[-1].value.text, way)
        if config.string("pid_mode"):
            parts.append(Part(kind="pid", value=config.string("pid_mode"), way=down(task, "config", "pid_mode")))
        for way in each(task, "config", "volumes"):
            parts += socket(way[-1].value.text.partition(":")[0], way)
        if task.string("user"):
            parts.append(Part(kind="user", value=task.string("user"), way=down(task, "user")))
        yield Holding(name=task.label or "task", format="nomad", node=task, parts=tuple(parts))


def _blocks(node: Node, kind: str, depth: int) -> Iterator[Node]:
    for key, value in node.children():
        if key == kind:
            yield value
        elif value.entries is not None and depth < _DEEPEST:
            yield from _blocks(value, kind, depth + 1)


def ecs(root: Node) -> Iterator[Holding]:
    """A task definition; the ECS API's ContainerDefinition."""
    for container in root.listed("containerDefinitions"):
        parts: list[Part] = []
        if container.true("privileged"):
            parts.append(Part(kind="privileged", value="true", way=down(container, "privileged")))
        for kind, key in (("drop", "drop"), ("capability", "add")):
            parts += capabilities(kind, each(container, "linuxParameters", "capabilities", key))
        for way in each(container, "dockerSecurityOptions"):
            parts += security(way[-1].value.text, way)
        if container.string("user"):
            parts.append(Part(kind="user", value=container.string("user"), way=down(container, "user")))
        if root.string("pidMode") == "host":
            parts.append(Part(kind="pid", value="host", way=down(root, "pidMode")))
        yield Holding(name=container.string("name") or "container", format="ecs", node=container, parts=tuple(parts))
