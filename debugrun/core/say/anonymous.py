"""Facts that may go into a public bug report: what is on the list, and nothing else. Pure.

A text stays where it is one that many machines have (a pattern says which); else a word takes its place, which is
the same for all. Numbers and switches stay, but for those that tell a machine's own. A new fact is left out until
somebody writes it in here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from debugrun.core.know import versions
from debugrun.core.know.facts import Facts
from debugrun.core.know.procfs import CAPABILITIES

Part = TypeVar("Part")

_RUNTIME = "runc|crun|runsc|kata"
_LABEL = r"unconfined|(docker-default|containers-default-[0-9.]{1,12})( \((enforce|complain)\))?"
_PLAIN_NETWORK = "|none|host|bridge|default|private"
# (pattern, what stands for any other text), by the part of the facts and its field.
TEXTS: Mapping[str, Mapping[str, tuple[str, str | None]]] = {
    "engine": {
        "name": ("docker|podman", "docker"),
        "version": (r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", "0.0.0"),
        "api_version": (r"[0-9]{1,2}\.[0-9]{1,3}", "0.0"),
        "architecture": (r"x86_64|aarch64|armv7l|i686|ppc64le|s390x|riscv64", "other"),
        "kernel": (r"[0-9]{1,3}(\.[0-9]{1,4}){1,2}", "0.0"),
        "seccomp": ("default|unconfined", "/own.json"),
        "default_runtime": (_RUNTIME, "other"),
    },
    "container": {
        "user": (r"[0-9]{1,5}(:[0-9]{1,5})?|", ""),
        "state": ("running|paused|created|exited", "running"),
        "architecture": (r"x86_64|aarch64|armv7l|i686|ppc64le|s390x|riscv64", "other"),
        "seccomp": ("default|unconfined|custom", "custom"),
        "apparmor": (_LABEL, "own-profile"),
        "selinux": (r"system_u:system_r:(container_t|spc_t):s0", "system_u:system_r:container_t:s0"),
        "pid_mode": (_PLAIN_NETWORK, "container:other"),
        "network_mode": (_PLAIN_NETWORK, "own"),
        "userns_mode": ("|host|private|keep-id|auto|nomap", "private"),
        "runtime": (_RUNTIME, "other"),
        "shell": ("/bin/sh|/bin/bash|/bin/ash", "/bin/sh"),
    },
    "process": {
        "comm": ("busybox|tail", "program"),
        "state": ("[A-Za-z]", "S"),
        "label": (_LABEL, "own-profile"),
    },
    "images": {"toolbox": ("debugrun-toolbox:latest", "debugrun-toolbox:latest")},
    "host": {
        "lockdown": ("none|integrity|confidentiality", "none"),
        "proc_mem_override": ("always|ptrace|never", "always"),
        "gpu_counters": ("everybody|admin", "admin"),
        "gpu_driver": (r"[0-9]{3}(\.[0-9]{1,4}){1,2}", "0.0"),
    },
}
FIXED: Mapping[str, Mapping[str, object]] = {
    "engine": {"operating_system": "", "seccomp_profile": None, "runtimes": ()},
    "container": {
        "id": "c" * 64, "image": "image", "image_id": "sha256:" + "d" * 64, "name": "target", "pid": 0,
        "seccomp_profile": None, "memory_used": None, "tools": (), "orchestrator": None,
    },
    "process": {"host_pid": None, "start_time": None, "exe": None},
    "images": {},
    "host": {},
}  # fmt: skip
LISTS = {
    "capabilities": "|".join(CAPABILITIES), "permitted": "|".join(CAPABILITIES), "effective": "|".join(CAPABILITIES),
    "bounding": "|".join(CAPABILITIES), "ambient": "|".join(CAPABILITIES), "toolbox_binaries": "[a-z][a-z0-9-]{1,12}",
}  # fmt: skip


def anonymous(facts: Facts, kind: str) -> Facts:
    """The facts without what tells whose they are; the container is called by the kind of target that it is."""
    shortened = dataclasses.replace(
        facts.engine, version=versions.digits(facts.engine.version), kernel=versions.digits(facts.engine.kernel)
    )
    told: dict[str, Any] = {
        name: _listed(shortened if name == "engine" else getattr(facts, name), name) for name in TEXTS
    }
    told["container"] = dataclasses.replace(told["container"], name=kind, image=kind)
    return dataclasses.replace(facts, **told)


def label(text: str | None) -> str | None:
    """A security module's label of an option: an own one is called the same as in the facts."""
    return text if text is None or re.fullmatch(_LABEL, text) else "own-profile"


def _listed(part: Part, name: str) -> Part:
    given: Any = part
    kept: dict[str, object] = {}
    for each in dataclasses.fields(given):
        value = getattr(given, each.name)
        if each.name in FIXED[name]:
            value = FIXED[name][each.name]
        elif isinstance(value, str):
            pattern, other = TEXTS[name].get(each.name, ("(?!)", ""))
            value = value if re.fullmatch(pattern, value) else other
        elif isinstance(value, tuple) and not all(isinstance(item, int) for item in value):
            value = tuple(item for item in value if re.fullmatch(LISTS.get(each.name, "(?!)"), str(item)))
        kept[each.name] = value
    made: Part = dataclasses.replace(given, **kept)
    return made
