"""A Swarm service: `docker service update`, or the API's body where no flag says it. Pure.

Flags: docker/cli cli/command/service/opts.go. Body: moby api/types/swarm/container.go, ContainerSpec.Privileges.
"""

from __future__ import annotations

import base64
import shlex

from debugrun.core.export.ask import Ask, Export, Privileges
from debugrun.core.export.words import as_json
from debugrun.core.know import versions
from debugrun.core.know.facts import Facts

_SINCE = (1, 46)  # moby api/swagger.yaml v1.46: ContainerSpec.Privileges.Seccomp, AppArmor, NoNewPrivileges


def missing(given: Privileges) -> tuple[str, ...]:
    """Swarm has no --privileged (moby#24862), and no AppArmor label but the default one and none."""
    said = ["Swarm has no privileged service"] if given.privileged else []
    if given.apparmor not in {"", "unconfined"}:
        said.append(f"Swarm can't name the AppArmor profile {given.apparmor}")
    return tuple(said)


def too_old(given: Privileges, facts: Facts) -> tuple[str, ...]:
    """Engines before API 1.46 take the body and drop what they do not know of it, without a word (measured)."""
    found = versions.numbers(facts.engine.api_version)
    if not found or found >= _SINCE or not (given.seccomp != "default" or given.apparmor):
        return ()
    return (f"Docker {facts.engine.version} ignores a service's seccomp and AppArmor profile: it takes Docker 27",)


def render(ask: Ask) -> Export:
    """The line, or the body of POST /services/ID/update with the part of the specification that changes."""
    given = ask.privileges
    notes: tuple[str, ...] = ("a service can't join another container's PID namespace: the grant is its own",)
    if given.seccomp == "default" and not given.apparmor and not given.no_labels:
        if not given.cap_add:
            return Export(text=f"# nothing to change: {ask.tool} needs nothing more in {ask.target}\n", notes=notes)
        flags = [word for name in given.cap_add for word in ("--cap-add", f"CAP_{name}")]
        line = shlex.join(["docker", "service", "update", *flags, ask.target])
        return Export(text=line + "\n", notes=notes, usage="run the line on a manager: it restarts the service's tasks")
    notes += (
        "no flag of docker service says this: the body goes to the API, merged into the service's whole Spec",
        "`docker stack deploy` ignores security_opt, privileged and pid",
        "every node needs Docker 27: older ones ignore the profile without a word",
    )
    address = f"/services/{ask.target}/update?version=N"
    return Export(
        text=as_json({"TaskTemplate": {"ContainerSpec": container_spec(ask)}}),
        notes=notes,
        usage=f"merge it into the Spec of `docker service inspect {ask.target}` and send that: POST {address}",
    )


def container_spec(ask: Ask) -> dict[str, object]:
    """The part of TaskTemplate.ContainerSpec that gives the privileges."""
    given = ask.privileges
    privileges: dict[str, object] = {}
    if given.seccomp == "unconfined":
        privileges["Seccomp"] = {"Mode": "unconfined"}
    elif ask.profile is not None:
        encoded = base64.b64encode(ask.profile.encode()).decode("ascii")  # Go's []byte in JSON
        privileges["Seccomp"] = {"Mode": "custom", "Profile": encoded}
    if given.apparmor == "unconfined":
        privileges["AppArmor"] = {"Mode": "disabled"}
    if given.no_labels:
        privileges["SELinuxContext"] = {"Disable": True}
    caps = {"CapabilityAdd": [f"CAP_{name}" for name in given.cap_add]} if given.cap_add else {}
    return {**caps, **({"Privileges": privileges} if privileges else {})}
