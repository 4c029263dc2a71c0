"""The container of `debugrun run`, asked of the engine: docker's options as typed, and what is ours."""

from __future__ import annotations

from collections.abc import Mapping

from debugrun.engine.engine import Engine
from debugrun.launch import options as runoptions
from debugrun.launch.options import RunOptions
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """A container to make. `entrypoint` None: the image's; `command` (): the image's too.

    `mounts` are as HostConfig.Mounts has them. `attached`: its input is ours, and ends with us.
    """

    image: str
    options: RunOptions
    labels: Mapping[str, str]
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] = ()
    mounts: tuple[Mapping[str, object], ...] = ()
    cap_add: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    privileged: bool = False
    tty: bool = False
    attached: bool = False


def create(engine: Engine, made: Making) -> str:
    """POST /containers/create; the id. Removes itself when it has ended, if it was attached to and shall not stay.

    Raises UsageError for an option that makes no sense, EngineError when the engine refuses.
    """
    client, options = engine.client, made.options
    bindings = runoptions.ports(options)
    environment = runoptions.environment(options)
    mounts = [*(runoptions.mount(each) for each in options.mount), *made.mounts]
    with engine.asking("create a container of", made.image):
        host = client.create_host_config(
            auto_remove=made.attached and options.remove,
            binds=runoptions.binds(options),
            cap_add=[*options.cap_add, *made.cap_add],
            cap_drop=list(options.cap_drop),
            mem_limit=options.memory,
            nano_cpus=None if options.cpus is None else int(options.cpus * 10**9),
            network_mode=options.network,
            port_bindings=bindings or None,
            privileged=made.privileged,
            read_only=options.read_only,
            security_opt=list(made.security_opt),
            tmpfs=dict(each.partition(":")[::2] for each in options.tmpfs),
        )
        host["Mounts"] = mounts
        created = client.create_container(
            made.image,
            command=list(made.command) or None,
            entrypoint=None if made.entrypoint is None else list(made.entrypoint),
            environment=environment or None,
            host_config=host,
            labels=dict(made.labels),
            name=options.name,
            platform=options.platform,
            ports=[_port(str(each)) for each in bindings],
            stdin_open=made.attached,
            tty=made.tty,
            use_config_proxy=False,
            user=options.user,
            volumes=[each for each in options.volume if ":" not in each],
            working_dir=options.workdir,
        )
        return engine.created(created)


def _port(word: str) -> tuple[str, str] | str:
    """A port as docker-py takes it: "53/udp" as (53, udp)."""
    number, slash, protocol = word.partition("/")
    return (number, protocol) if slash else word
