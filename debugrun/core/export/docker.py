"""`docker run`, `docker exec` and `podman run`: docker/cli cli/command/container/opts.go, podman-run(1). Pure."""

from __future__ import annotations

import shlex

from debugrun.core.export.ask import Ask, Export
from debugrun.core.export.words import capabilities, profile_files, profile_note, security_opts
from debugrun.core.say.command import SCRATCH


def run(ask: Ask) -> Export:
    """A container beside the target, or the target's own options."""
    return _run("docker", ask)


def podman(ask: Ask) -> Export:
    """The same for Podman, which reads the profile itself, where it runs."""
    return _run("podman", ask)


def _run(client: str, ask: Ask) -> Export:
    words = [client, "run", "--rm", "-it" if ask.terminal else "-i"]
    if ask.beside:
        words += _joined(client, ask)
    words += _options(client, ask)
    if ask.beside:
        words += ["--read-only", "--tmpfs", SCRATCH]
    notes = profile_note(ask, "in the folder where you run the line")
    if not ask.beside:
        notes += ("add your own options: the line has only those that the tool needs",)
    return Export(
        text=shlex.join([*words, ask.image, *ask.argv]) + "\n",
        files=profile_files(ask),
        notes=notes,
        usage="run the line in a shell",
    )


def _joined(client: str, ask: Ask) -> list[str]:
    network = ask.privileges.network
    words = ["--pid", f"container:{ask.privileges.pid}"] if ask.privileges.pid else []
    words += ["--network", network if network in {"none", "host"} else f"container:{network}"]
    if ask.userns:
        words += ["--userns", f"container:{ask.target}" if client == "podman" else ask.userns]
    return words


def _options(client: str, ask: Ask) -> list[str]:
    """The options that give the privileges."""
    given = ask.privileges
    words = ["--user", given.user] if given.user else []
    words += ["--privileged"] if given.privileged else []
    drop, add = capabilities(given) if client == "docker" else (given.cap_drop, given.cap_add)
    words += [word for name in drop for word in ("--cap-drop", name)]
    words += [word for name in add for word in ("--cap-add", name)]
    words += [word for opt in security_opts(given) for word in ("--security-opt", opt)]
    return words + [word for path in given.mounts for word in ("--mount", f"type=bind,src={path},dst={path},readonly")]


def execute(ask: Ask) -> Export:
    """A process in the target itself, with the container's capabilities and filter: no option of exec widens them."""
    words = ["docker", "exec", "-it" if ask.terminal else "-i", "--user", ask.privileges.user]
    words += ["--privileged"] if ask.privileges.privileged else []
    return Export(text=shlex.join([*words, ask.target, *ask.argv]) + "\n", usage="run the line in a shell")
