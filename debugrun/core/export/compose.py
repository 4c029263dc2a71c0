"""A Compose file for a second `-f`: a service of its own in the profile `debug`, or more for the service itself. Pure.

Compose specification, 05-services.md; a path after `seccomp:` is the project folder's (compose-go).
"""

from __future__ import annotations

from debugrun.core.export.ask import Ask, Export
from debugrun.core.export.words import as_yaml, capabilities, profile_files, profile_note, security_opts
from debugrun.core.say.command import SCRATCH

FILE = "compose.debug.yaml"


def render(ask: Ask) -> Export:
    """The override."""
    service = _beside(ask) if ask.beside else privileges(ask)
    notes = profile_note(ask, "beside the project's compose.yaml: the path in it is relative to that folder")
    notes += ("`docker stack deploy` ignores security_opt, privileged and pid: export --to swarm instead",)
    verb = f"run --rm {ask.name}" if ask.beside else f"up --detach {ask.target}"
    return Export(
        text=as_yaml({"services": {ask.name: service}}),
        files=profile_files(ask),
        notes=notes,
        usage=f"docker compose -f compose.yaml -f {FILE} {verb}",
    )


def _beside(ask: Ask) -> dict[str, object]:
    given = ask.privileges
    network = given.network if given.network in {"none", "host"} else f"service:{given.network}"
    service: dict[str, object] = {
        "image": ask.image,
        "entrypoint": [],
        "command": [_literal(word) for word in ask.argv],
    }
    service |= {"pid": f"service:{given.pid}"} if given.pid else {}
    service |= {"network_mode": network, **privileges(ask)}
    service |= {"read_only": True, "tmpfs": [SCRATCH], "stdin_open": True}
    service |= {"tty": True} if ask.terminal else {}
    return {**service, "profiles": ["debug"]}


def privileges(ask: Ask) -> dict[str, object]:
    """The keys that give the privileges."""
    given = ask.privileges
    service: dict[str, object] = {"user": given.user} if given.user else {}
    service |= {"privileged": True} if given.privileged else {}
    drop, add = capabilities(given)
    service |= {"cap_drop": list(drop)} if drop else {}
    service |= {"cap_add": list(add)} if add else {}
    opts = security_opts(given, colon=True)
    service |= {"security_opt": [_literal(opt) for opt in opts]} if opts else {}
    mounts = [{"type": "bind", "source": path, "target": path, "read_only": True} for path in given.mounts]
    return {**service, **({"volumes": mounts} if mounts else {})}


def _literal(word: str) -> str:
    """A word in which Compose fills nothing in."""
    return word.replace("$", "$$")
