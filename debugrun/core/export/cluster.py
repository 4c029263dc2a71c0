"""Marathon, Nomad and ECS: the task's own container is given the grant, none of them joins another's. Pure.

mesosphere/marathon docs/docs/native-docker.md; hashicorp/nomad drivers/docker/config.go and driver.go; the ECS API's
LinuxParameters, KernelCapabilities and ContainerDefinition.dockerSecurityOptions.
"""

from __future__ import annotations

import json

from debugrun.core.export.ask import Ask, Export, Privileges
from debugrun.core.export.words import as_json, limited, profile_files, security_opts

MESOS = "/etc/mesos/"
NOMAD = "/etc/nomad.d/"
# hashicorp/nomad drivers/shared/capabilities/defaults.go NomadDefaults(): Docker's own without NET_RAW.
NOMAD_DEFAULT = (
    "audit_write", "chown", "dac_override", "fowner", "fsetid", "kill", "mknod", "net_bind_service", "setfcap",
    "setgid", "setpcap", "setuid", "sys_chroot",
)  # fmt: skip
ECS_CAPABILITIES = frozenset(
    "ALL AUDIT_CONTROL AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER "  # noqa: SIM905 - words read better
    "KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP "
    "SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG SYSLOG WAKE_ALARM".split()
)


def marathon(ask: Ask) -> Export:
    """An app: `parameters` are long options of docker run."""
    notes: tuple[str, ...] = (
        "`parameters` count for the Docker containerizer only, not for UCR, and an operator may have switched them off",
    )
    if ask.profile is not None:
        notes += (f"put {ask.privileges.seccomp} at {MESOS}{ask.privileges.seccomp} on every agent: it is read there",)
    docker = {"image": ask.image, "privileged": ask.privileges.privileged, "parameters": parameters(ask.privileges)}
    app = {"id": f"/{ask.target.strip('/')}", "container": {"type": "DOCKER", "docker": docker}}
    return Export(
        text=as_json(app),
        files=profile_files(ask),
        notes=notes,
        usage=f"curl -X PUT -H 'Content-Type: application/json' -d @FILE MARATHON/v2/apps/{ask.target.strip('/')}",
    )


def parameters(given: Privileges) -> list[dict[str, str]]:
    """Marathon's `parameters`."""
    opts = security_opts(given, folder=MESOS)
    return [{"key": "cap-add", "value": name} for name in given.cap_add] + [
        {"key": "security-opt", "value": opt} for opt in opts
    ]


def nomad(ask: Ask) -> Export:
    """A job, and the client's configuration where it would refuse the job."""
    given = ask.privileges
    config = [f"        image = {_hcl(ask.image)}"]
    config += ["        privileged = true"] if given.privileged else []
    if given.cap_add:
        config.append(f"        cap_add = [{', '.join(_hcl(name.lower()) for name in given.cap_add)}]")
    if opts := security_opts(given, folder=NOMAD):
        config.append(f"        security_opt = [{', '.join(_hcl(opt) for opt in opts)}]")
    name, body = _hcl(ask.target), "\n".join(config)
    text = (
        f"job {name} {{\n  group {name} {{\n    task {name} {{\n"
        f'      driver = "docker"\n\n      config {{\n{body}\n      }}\n    }}\n  }}\n}}\n'
    )
    files, notes = profile_files(ask), list[str]()
    if given.cap_add or given.privileged:
        files["debugrun-client.hcl"] = _client(given)
        notes.append("add debugrun-client.hcl to the client's configuration and restart it: it refuses the job without")
    if ask.profile is not None:
        notes.append(f"put {given.seccomp} at {NOMAD}{given.seccomp} on every client: it is read there")
    return Export(text=text, files=files, notes=tuple(notes), usage="nomad job validate FILE; nomad job run FILE")


def _client(given: Privileges) -> str:
    allowed = ", ".join(_hcl(name) for name in (*NOMAD_DEFAULT, *(each.lower() for each in given.cap_add)))
    lines = [f"    allow_caps = [{allowed}]"] + (["    allow_privileged = true"] if given.privileged else [])
    return 'plugin "docker" {\n  config {\n' + "\n".join(lines) + "\n  }\n}\n"


def _hcl(text: str) -> str:
    """A string of HCL2, in which nothing is filled in: hcl/hclsyntax/spec.md, Template Literals."""
    return json.dumps(text).replace("${", "$${").replace("%{", "%%{")


def ecs_missing(given: Privileges) -> tuple[str, ...]:
    """ECS has no words for seccomp."""
    said = limited(given.cap_add, ECS_CAPABILITIES, "ECS")
    return said + (() if given.seccomp == "default" else ("ECS has no seccomp option, a profile or unconfined",))


def ecs(ask: Ask) -> Export:
    """A task definition's container."""
    given = ask.privileges
    container: dict[str, object] = {"name": ask.target, "image": ask.image, "essential": True}
    container |= {"privileged": True} if given.privileged else {}
    container |= {"linuxParameters": {"capabilities": {"add": list(given.cap_add)}}} if given.cap_add else {}
    opts = [opt.replace("=", ":", 1) for opt in security_opts(given)]
    container |= {"dockerSecurityOptions": opts} if opts else {}
    notes = ["ECS has no seccomp profile to name"]
    if given.privileged or opts or set(given.cap_add) - {"SYS_PTRACE"}:
        notes.append("Fargate takes SYS_PTRACE only: this task runs on EC2")
    if not given.cap_add and not given.privileged and not opts:
        notes.append("nothing more is needed; for a container beside it the task has `pidMode: task`")
    return Export(
        text=as_json({"family": ask.target, "containerDefinitions": [container]}),
        notes=tuple(notes),
        usage="aws ecs register-task-definition --cli-input-json file://FILE",
    )
