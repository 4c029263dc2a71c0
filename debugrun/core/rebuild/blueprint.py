"""A container as the request that would create it again: every option kept, what can't be kept named.

Pure: GET /containers/ID/json and GET /images/ID/json in, the body of POST /containers/create out. Bodies hold the
values of environment variables and command lines, as the engine asks for them: they are sent, never shown nor stored
(`comparison` shows what may be seen).

An inspected container is almost its own request: Config and HostConfig come back as the engine merged them with the
image and its defaults, and merging them again changes nothing (moby daemon/commit.go merge()). Here are the exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from debugrun.core.grants import Option
from debugrun.core.know.inspection import DOCKER_DEFAULT, security_options
from debugrun.core.know.json_access import Json, items, mapping, text
from debugrun.core.rebuild import endpoints, storage
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Blueprint:
    """What creates a container like another one: create, connect to `networks` in that order, start.

    `name` is the other one's, `body` that of POST /containers/create, `platform` its query parameter ("": leave it
    out), `networks` the endpoints that create does not take (name, EndpointSettings). `lost` says what no request
    brings back, `warnings` what is kept in another way than it was; both are sentences without a full stop.
    """

    name: str
    body: Json
    networks: tuple[tuple[str, Json], ...] = ()
    platform: str = ""
    lost: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def blueprint(  # noqa: PLR0913 - what the engine says of it
    container: Json,
    image: Json,
    *,
    api: tuple[int, int],
    engine: str = "docker",
    others: Sequence[Json] = (),
    volumes: Sequence[Json] = (),
) -> Blueprint:
    """The request that creates `container` again, from its image by id.

    `container` is inspected while it runs: its published ports are kept by number. `api` is the version that the
    client speaks, `engine` "docker" or "podman", `others` the inspected containers that it takes volumes from, and
    `volumes` the inspected volumes: some are in memory.
    """
    stored = storage.stored(container, others, docker=engine == "docker", volumes=volumes)
    linked = endpoints.endpoints(container, api=api)
    host = {
        **mapping(container, "HostConfig"),
        **stored.host,
        "NetworkMode": linked.mode,
        "PortBindings": endpoints.pinned_ports(container),
    }
    if links := items(host, "Links"):
        host["Links"] = sorted(links, key=str)  # a map in moby (daemon/links.go), told in another order each time
    body = {**_config(container, image, linked), "HostConfig": host}
    if linked.at_create:
        body["NetworkingConfig"] = {"EndpointsConfig": dict(linked.at_create)}
    return Blueprint(
        name=text(container, "Name").removeprefix("/"),
        body=body,
        networks=linked.afterwards,
        platform=_platform(container),
        lost=(*_lost(container), *stored.lost, *linked.lost),
        warnings=(*_warnings(container), *stored.warnings, *linked.warnings),
    )


def with_image(blueprint: Blueprint, image: str) -> Blueprint:
    """The same from another image: the one that its writable layer was committed to (an id)."""
    return replace(blueprint, body={**blueprint.body, "Image": image})


def with_labels(blueprint: Blueprint, labels: Mapping[str, str]) -> Blueprint:
    """The same with more labels."""
    return replace(blueprint, body={**blueprint.body, "Labels": {**mapping(blueprint.body, "Labels"), **labels}})


def with_grant(
    blueprint: Blueprint, option: Option, *, profile_json: str | None = None, mounts: Sequence[Json] = ()
) -> Blueprint:
    """The same with what the option grants, and nothing else; `mounts` are further entries of HostConfig.Mounts.

    `profile_json` is the seccomp profile to send, where the option opens calls or brings its own. Nothing is taken
    away but a CapDrop of a granted capability, and what privileged would not have.
    """
    host = dict(mapping(blueprint.body, "HostConfig"))
    if mounts:
        host["Mounts"] = [*items(host, "Mounts"), *mounts]
    options = {}
    if option.privileged:
        # MaskedPaths of null are those of a privileged container; the lists that inspect shows would stay masked.
        host |= {"Privileged": True, "MaskedPaths": None, "ReadonlyPaths": None}
        options = {"seccomp": "unconfined"}
    else:
        host |= _capabilities(host, option.cap_add)
        if profile_json is not None or option.seccomp == "unconfined":
            options["seccomp"] = profile_json or "unconfined"
        if option.apparmor:
            options["apparmor"] = option.apparmor
    if options:
        kept = [each for each in items(host, "SecurityOpt") if not set(security_options([each])) & set(options)]
        host["SecurityOpt"] = [*kept, *(f"{name}={value}" for name, value in options.items())]
    return replace(blueprint, body={**blueprint.body, "HostConfig": host})


def _capabilities(host: Json, names: Sequence[str]) -> dict[str, object]:
    """CapAdd and CapDrop with these capabilities; unchanged where the container has them."""
    add, drop = items(host, "CapAdd"), items(host, "CapDrop")
    added, dropped = ({str(each).upper().removeprefix("CAP_") for each in each_list} for each_list in (add, drop))
    base = added if "ALL" in dropped else added | DOCKER_DEFAULT
    has = {name for name in names if name not in dropped and (name in base or "ALL" in added)}
    missing = [name for name in names if name not in has and not host.get("Privileged")]
    if not missing:
        return {}
    kept = [each for each in drop if str(each).upper().removeprefix("CAP_") not in missing]
    given = [name for name in missing if name not in added]
    return {"CapAdd": [*add, *given], "CapDrop": kept if drop else host.get("CapDrop")}


def _config(container: Json, image: Json, linked: endpoints.Endpoints) -> dict[str, object]:
    """Config, so that merging it with the image's gives it again."""
    config = dict(mapping(container, "Config"))
    config["Image"] = text(container, "Image")  # the tag may have moved on
    if config.get("Entrypoint") is None and mapping(image, "Config").get("Entrypoint") is not None:
        config["Entrypoint"] = [""]  # as --entrypoint "" has it, which the engine makes null: that would inherit
    host = mapping(container, "HostConfig")
    if text(host, "UTSMode") == "host":
        config["Hostname"] = ""  # refused otherwise; the engine fills the short id in, which nobody sees
    if linked.mode.startswith("container:"):
        # Copied from the other container, or merged from the image, where a request may not have them
        # (moby daemon/pkg/opts or runconfig/hostconfig_unix.go validateNetContainerMode()).
        config |= {"Hostname": "", "Domainname": "", "ExposedPorts": None}
    if linked.has_macs or linked.mode.startswith("container:"):
        config.pop("MacAddress", None)
    return config


def _platform(container: Json) -> str:
    """os/arch[/variant] where an image id names an index of several (containerd's image store), else ""."""
    found = mapping(mapping(container, "ImageManifestDescriptor"), "platform")
    return "/".join(filter(None, (text(found, "os"), text(found, "architecture"), text(found, "variant"))))


def _lost(container: Json) -> tuple[str, ...]:
    config, host, state = (mapping(container, key) for key in ("Config", "HostConfig", "State"))
    if state.get("Running") is not True:
        return ()
    lost = ["the memory of its processes, their open files and connections"]
    if commands := len(items(container, "ExecIDs")):
        lost.append(f"{commands} command{'s' if commands > 1 else ''} started in it by exec")
    if config.get("AttachStdin") is True or (config.get("OpenStdin") is True and config.get("Tty") is True):
        lost.append("the input and terminal of whoever is attached to it")
    if text(host, "IpcMode") in {"", "private", "shareable"}:
        lost.append("its shared memory, and what is in /dev/shm")
    lost.append("what was edited by hand in /etc/hosts, /etc/hostname and /etc/resolv.conf")
    return tuple(lost)


def _warnings(container: Json) -> tuple[str, ...]:
    config, identity = mapping(container, "Config"), text(container, "Id")
    warnings = [f"its id changes: what refers to {identity[:12]} finds the old container"]
    if text(config, "Hostname") == identity[:12] and text(mapping(container, "HostConfig"), "UTSMode") != "host":
        # Node names of databases and queues are made from it, and stand in their volumes (RabbitMQ's, for one).
        warnings.append(f"its host name stays {identity[:12]}, though that is not the new container's short id")
    if not text(config, "Image").startswith("sha256:"):
        warnings.append(f"its image is shown by id, not as {text(config, 'Image')}: the tag may have moved on")
    if text(mapping(mapping(container, "HostConfig"), "LogConfig"), "Type") != "none":
        warnings.append("its log begins anew, the old container keeps the old one")
    return tuple(warnings)
