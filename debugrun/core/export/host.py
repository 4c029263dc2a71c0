"""devcontainer.json, Quadlet, and units of systemd. Pure.

devcontainers/spec docs/specs/devcontainerjson-reference.md; podman-systemd.unit(5); systemd.exec(5).
"""

from __future__ import annotations

import posixpath

from debugrun.core.export.ask import Ask, Export, Privileges
from debugrun.core.export.resolved import allowed
from debugrun.core.export.words import as_json, profile_files, security_opts

DEVCONTAINER = "${localWorkspaceFolder}/.devcontainer/"
CONTAINERS = "/etc/containers/"
# Calls whose arguments systemd filters by settings of their own: these, as container profiles have it. It answers
# ENOSYS to clone3 itself, whose flags no filter sees (systemd.exec(5)).
_ARGUMENTS = ("RestrictNamespaces=yes", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET")
_LIMITED = frozenset({"clone", "clone3", "socket"})


def devcontainer(ask: Ask) -> Export:
    """Properties of devcontainer.json: they count when the container is made, so it has to be rebuilt."""
    given = ask.privileges
    properties: dict[str, object] = {"name": ask.target, "image": ask.image}
    properties |= {"privileged": True} if given.privileged else {}
    properties |= {"capAdd": list(given.cap_add)} if given.cap_add else {}
    opts = security_opts(given, folder=DEVCONTAINER)
    properties |= {"securityOpt": opts} if opts else {}
    notes: tuple[str, ...] = ("the container has to be rebuilt for it",)
    if ask.profile is not None:
        notes = (f"put {given.seccomp} into .devcontainer/, beside devcontainer.json", *notes)
    return Export(text=as_json(properties), files=profile_files(ask), notes=notes, usage="Dev Containers: Rebuild")


def quadlet(ask: Ask) -> Export:
    """A .container unit. Without a terminal: for tools that need none."""
    given = ask.privileges
    lines = ["[Container]", f"Image={ask.image}"]
    if ask.beside:
        lines += [f"PodmanArgs=--pid=container:{given.pid}"] if given.pid else []
        network = given.network if given.network in {"none", "host"} else f"container:{given.network}"
        lines += [f"Network={network}"]
        lines += [f"PodmanArgs=--userns=container:{ask.target}"] if ask.userns else []
    if given.user:
        uid, _, gid = given.user.partition(":")
        lines += [f"User={uid}", *([f"Group={gid}"] if gid else [])]
    lines += _quadlet_privileges(given)
    if ask.beside:
        lines += ["ReadOnly=true", "Tmpfs=/tmp:mode=1777"]
    if ask.argv:
        # --entrypoint '' is not in the keys of Podman before 5: a toolbox has none, and other images may.
        lines.append("Exec=" + " ".join(map(unit_word, ask.argv)))
    notes = []
    if ask.profile is not None:
        notes.append(f"put {given.seccomp} at {CONTAINERS}{given.seccomp}")
    if ask.terminal:
        notes.append(
            f"a unit has no terminal: {ask.tool} reads no commands there, so add them to Exec= (gdb -batch -ex)"
        )
    return Export(
        text="\n".join(lines) + "\n",
        files=profile_files(ask),
        notes=tuple(notes),
        usage=f"copy it to ~/.config/containers/systemd/{ask.name}.container; systemctl --user daemon-reload",
    )


def _quadlet_privileges(given: Privileges) -> list[str]:
    lines = [f"DropCapability={name.lower() if name == 'ALL' else name}" for name in given.cap_drop]
    lines += [f"AddCapability={name}" for name in given.cap_add]
    lines += ["PodmanArgs=--privileged"] if given.privileged else []
    if given.seccomp != "default":
        lines.append(f"SeccompProfile={given.seccomp if given.seccomp == 'unconfined' else CONTAINERS + given.seccomp}")
    lines += ["SecurityLabelDisable=true"] if given.no_labels else []
    lines += ["NoNewPrivileges=true"] if given.no_new_privileges else []
    lines += [f"PodmanArgs=--security-opt=apparmor={given.apparmor}"] if given.apparmor else []
    return lines + [f"Volume={path}:{path}:ro" for path in given.mounts]


def unit_word(word: str) -> str:
    """A word of a command line in a unit, as it is: systemd.service(5) COMMAND LINES, systemd.unit(5) SPECIFIERS."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if not word or set(word) & set(" \t\n'\";") else word


def systemd(ask: Ask) -> Export:
    """A unit that runs the tool on the host, by the process's PID there, bounded to what it needs."""
    given = ask.privileges
    names = " ".join(f"CAP_{name}" for name in given.cap_add)
    calls, notes = allowed(ask, limited_elsewhere=_LIMITED)
    process = str(ask.host_process or "HOST_PID")
    typed = (posixpath.basename(ask.argv[0]), *ask.argv[1:]) if ask.argv else (ask.tool,)  # ambient, not a file's
    argv = [word.replace(str(ask.process), process) if str(ask.process) in _numbers(word) else word for word in typed]
    lines = ["[Unit]", f"Description={ask.tool} on {ask.target}, by debugrun", "", "[Service]", "Type=exec"]
    if given.user and not given.user.startswith("0:"):
        uid, _, gid = given.user.partition(":")
        lines += [f"User={uid}", f"Group={gid}"]
    lines += ["ExecStart=" + " ".join(map(unit_word, argv))]
    if not given.privileged:
        lines += [f"CapabilityBoundingSet={names}", f"AmbientCapabilities={names}"]
        lines += [f"NoNewPrivileges={'yes' if given.no_new_privileges else 'no'}"]
    if calls:
        lines += ["SystemCallArchitectures=native", "SystemCallErrorNumber=EPERM", *_ARGUMENTS]
        lines += [f"SystemCallFilter={' '.join(calls[at : at + 12])}" for at in range(0, len(calls), 12)]
    if ask.host_process is None:
        notes += ("put the process's PID on the host for HOST_PID: docker inspect -f '{{.State.Pid}}' CONTAINER",)
    if given.privileged or given.seccomp == "unconfined":
        notes += ("no SystemCallFilter: this grant is without a filter",)
    return Export(
        text="\n".join(lines) + "\n",
        notes=notes,
        usage=f"put it at /etc/systemd/system/debugrun-{ask.tool}.service; systemctl start debugrun-{ask.tool}",
    )


def _numbers(word: str) -> list[str]:
    return [part for part in word.replace("=", " ").replace("/", " ").split() if part.isdigit()]
