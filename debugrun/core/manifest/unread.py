"""What a manifest leaves to another file, or to whoever fills it in: what is granted there is not known. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from debugrun.core.manifest.document import Node, parse
from debugrun.core.manifest.holding import each
from debugrun.core.manifest.read import format_of
from debugrun.values import dataclass

# Where each format writes grants as one value or as a list of them.
_GRANTS = {
    "compose": ("privileged", "cap_add", "security_opt", "pid", "userns_mode"),
    "devcontainer": ("privileged", "capAdd", "securityOpt", "runArgs"),
    "nomad": ("privileged", "cap_add", "security_opt", "pid_mode"),
}
# docs.docker.com compose/interpolation: $NAME, ${NAME}, and $$ for a dollar; ${localEnv:NAME} of dev containers is
# filled in by their tools, the folders' names are not grants.
_FILLED = {
    "compose": re.compile(r"(?<!\$)(?:\$\$)*\$(?:\{[^}]*\}|[A-Za-z_]\w*)"),
    "devcontainer": re.compile(r"\$\{(?:localEnv|containerEnv):[^}]*\}"),
    "nomad": re.compile(r"\$\{[^}]*\}|^(?:var|local)\."),
}
_VERSIONS = {
    **dict.fromkeys(("Pod", "ReplicationController", "PodTemplate", "List", "PodList"), ("v1",)),
    **dict.fromkeys(("Deployment", "DaemonSet", "ReplicaSet", "StatefulSet"), ("apps/v1",)),
    **dict.fromkeys(("Job", "CronJob"), ("batch/v1",)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """A place in a file, what is not known there, and what makes it known. `grant` says that it is itself a grant."""

    line: int
    column: int
    what: str
    hint: str
    grant: bool


def unread(text: str, where: str, form: str = "") -> list[Unread]:
    """In the order in which they stand; each place once. Raises UsageError as reading does."""
    found = [each_one for root in parse(text, where) for each_one in _of(root, form or format_of(root, where))]
    return sorted(dict.fromkeys(found), key=lambda one: (one.line, one.column))


def _of(root: Node, form: str) -> Iterator[Unread]:
    if form == "compose":
        yield from _compose(root)
    elif form == "devcontainer":
        yield from _filled(root, form, "debugrun import asks again what the tools have filled in")
        if (named := root.get("dockerComposeFile")) is not None:
            yield _note(
                named,
                "its container is a service of a Compose file, which holds its grants",
                "debugrun import that file too",
            )
    elif form == "nomad":
        for node in _below(root):
            yield from _filled(node, form, "nomad job run -output FILE | debugrun import: its variables filled in")
    elif form == "kubernetes" and (kind := root.string("kind")) in _VERSIONS:
        version = root.get("apiVersion")
        if version is not None and version.text not in _VERSIONS[kind]:
            known = _VERSIONS[kind][0]
            yield _note(
                version, f"{version.text} of {kind} is not known here and was read as {known}", f"apiVersion: {known}"
            )


def _compose(root: Node) -> Iterator[Unread]:
    hint = "docker compose config | debugrun import --from compose -"
    if (named := root.get("include")) is not None:
        yield _note(named, "what it includes is not read", hint)
    services = root.get("services")
    for _, service in services.children() if services is not None else ():
        yield from _filled(service, "compose", hint)
        if (named := service.get("extends")) is not None:
            yield _note(named, "what it extends may grant more, and is not read", hint)


def _filled(node: Node, form: str, hint: str) -> Iterator[Unread]:
    for key in _GRANTS[form]:
        for way in each(node, key):
            value = way[-1].value
            if value.is_scalar and _FILLED[form].search(value.text):
                what = f"{key} is {value.text}, and what that will be is not known"
                yield Unread(line=value.line, column=value.column, what=what, hint=hint, grant=True)


def _note(node: Node, what: str, hint: str) -> Unread:
    return Unread(line=node.line, column=node.column, what=what, hint=hint, grant=False)


def _below(node: Node) -> Iterator[Node]:
    yield node
    for _, value in node.children():
        yield from _below(value)
