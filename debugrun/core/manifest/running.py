"""A running container as a holding: what its inspection says it was given. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from debugrun.core.export.ask import Privileges
from debugrun.core.know.inspection import security_options
from debugrun.core.know.json_access import items, mapping, maps, text
from debugrun.core.manifest.holding import Part, gathered
from debugrun.core.manifest.options import capability, socket

Json = Mapping[str, object]
# What sessions of ours leave their grants on, by the label: attach/apply and core/rebuild/transaction set them.
LEFT_OVER = {
    "debugrun.recreated": "recreated with more than it had: `debugrun restore NAME` puts the original back",
    "debugrun.session": "a debug session's own container: `debugrun gc` ends what nobody uses",
}


def parts(inspected: Json) -> tuple[Part, ...]:
    """What GET /containers/ID/json says; a custom profile is the operator's own."""
    return tuple(_parts(mapping(inspected, "HostConfig"), inspected))


def _parts(host: Json, inspected: Json) -> Iterator[Part]:
    if host.get("Privileged") is True:
        yield Part(kind="privileged", value="true")
    for kind, key in (("drop", "CapDrop"), ("capability", "CapAdd")):
        for name in items(host, key):
            yield Part(kind=kind, value=capability(str(name)))
    yield from _options(host)
    if pid := text(host, "PidMode").removeprefix("container:"):
        yield Part(kind="pid", value=pid)
    for mount in maps(inspected, "Mounts"):
        yield from socket(text(mount, "Source"), ())
    if re.fullmatch(r"\d+(:\d+)?|root", user := text(mapping(inspected, "Config"), "User")):
        yield Part(kind="user", value=user)


def _options(host: Json) -> Iterator[Part]:
    """HostConfig.SecurityOpt; the engine itself adds label=disable to a container with the host's processes."""
    options = security_options(items(host, "SecurityOpt"))
    seccomp = options.get("seccomp", "")
    if seccomp not in {"", "default", "builtin"}:
        yield Part(kind="seccomp", value=seccomp if seccomp == "unconfined" else "its own profile")
    if options.get("apparmor"):
        yield Part(kind="apparmor", value=options["apparmor"])
    if options.get("label") == "disable" and text(host, "PidMode") != "host":
        yield Part(kind="label", value="disable")
    if options.get("no-new-privileges") in {"", "true"}:
        yield Part(kind="no-new-privileges", value="true")


def privileges(inspected: Json) -> Privileges:
    """The same as one value."""
    return gathered(parts(inspected))


def left_over(labels: Json) -> str:
    """What a container of ours that still has its grant is, and what ends that; "" of any other."""
    return next((said for label, said in LEFT_OVER.items() if label in labels), "")
