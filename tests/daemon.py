"""A model of Docker: what inspect says of a container that was created by a request and started.

Only what recreating has to get right: what is merged with the image, chosen or renamed by the engine, or refused.
tests/live/harmless/test_blueprint.py holds it against real engines.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Inspected = dict[str, Any]
NETWORKLESS = ("none", "host", "container:")


class RefusedError(Exception):
    """The engine would answer 400."""


class TakenError(RefusedError):
    """It would create the container, and not start it: a port is in use."""


@dataclass(kw_only=True)
class Daemon:
    """One engine: its API version, and what it has."""

    api: tuple[int, int]
    images: dict[str, Inspected] = field(default_factory=dict)
    volumes: dict[str, list[str]] = field(default_factory=dict)  # name: files
    containers: list[Inspected] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def run(self, name: str, body: Mapping[str, Any], networks: tuple[tuple[str, Any], ...] = ()) -> Inspected:
        """Create, connect, start and inspect. Raises RefusedError."""
        config = copy.deepcopy({key: body[key] for key in body if key not in {"HostConfig", "NetworkingConfig"}})
        host = copy.deepcopy(dict(body.get("HostConfig") or {}))
        endpoints = dict((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
        identity = f"{next(self.numbers):064x}"[::-1]
        host["NetworkMode"] = mode = host.get("NetworkMode") or ("default" if self.api < (1, 45) else "bridge")
        self._validate(config, host, endpoints, mode)
        image = self._image(str(config["Image"]))
        _merge(config, image.get("Config") or {})
        if not config.get("Entrypoint") and not config.get("Cmd"):
            raise RefusedError("no command specified")
        self._name_host(config, mode, identity)
        mounts = self._mount(config, host)
        self._check_networks(mode, {**endpoints, **dict(networks)})
        inspected: Inspected = {
            "Id": identity,
            "Name": f"/{name}",
            "Image": image["Id"],
            "State": {"Running": True, "Pid": next(self.numbers)},
            "Config": config,
            "HostConfig": host,
            "Mounts": mounts,
            "NetworkSettings": {"Ports": {}, "Networks": {}},
        }
        if not config.get("NetworkDisabled"):
            found = {} if mode.startswith(NETWORKLESS) else self._connect(config, mode, endpoints, dict(networks))
            for each in found.values():
                self._name(each, identity, config, mode, name)
            inspected["NetworkSettings"] = {"Networks": found, "Ports": self._publish(config, host) if found else {}}
        for key in ("ExposedPorts", "MacAddress", "Healthcheck"):  # omitempty in moby's Config
            if not config.get(key):
                config.pop(key, None)
        self.containers.append(inspected)
        return copy.deepcopy(inspected)

    def _image(self, ref: str) -> Inspected:
        return next(each for name, each in self.images.items() if ref in {name, each["Id"]})

    def _validate(self, config: Inspected, host: Inspected, endpoints: Inspected, mode: str) -> None:
        if mode.startswith("container:"):
            for key, where in (("Hostname", config), ("ExposedPorts", config), ("MacAddress", config),
                               ("PortBindings", host), ("PublishAllPorts", host)):  # fmt: skip
                if where.get(key):
                    raise RefusedError(f"conflicting options: {key} and the network mode")
        if mode == "host" and config.get("MacAddress"):
            raise RefusedError("conflicting options: mac-address and the network mode")
        if host.get("UTSMode") == "host" and config.get("Hostname"):
            raise RefusedError("conflicting options: hostname and the UTS mode")
        targets = [bind.split(":")[1] for bind in host.get("Binds") or []]
        targets += [mount["Target"] for mount in host.get("Mounts") or []]
        if len(targets) != len(set(targets)):
            raise RefusedError("Duplicate mount point")
        self._validate_endpoints(config, endpoints)

    def _validate_endpoints(self, config: Inspected, endpoints: Inspected) -> None:
        if self.api < (1, 44):
            if len(endpoints) > 1:
                raise RefusedError("Container cannot be connected to network endpoints")
            if any(each.get("MacAddress") for each in endpoints.values()):
                raise RefusedError("not a refusal, but the address is ignored: ask for it in Config")
        elif config.get("MacAddress"):
            raise RefusedError("not a refusal, but deprecated: ask for it in the endpoint")

    def _name_host(self, config: Inspected, mode: str, identity: str) -> None:
        if mode.startswith("container:"):
            other = next(each for each in self.containers if each["Id"] == mode.partition(":")[2])
            config |= {key: other["Config"].get(key, "") for key in ("Hostname", "Domainname")}
        elif not config.get("Hostname"):
            config["Hostname"] = "machine" if mode == "host" else identity[:12]

    def _volume(self, name: str, image_files: list[str], *, copied: bool) -> str:
        """The volume, made if need be, and filled from the image when it is empty."""
        name = name or f"{next(self.numbers):064x}"
        files = self.volumes.setdefault(name, [])
        if not files and copied:
            files += image_files
        return name

    def _mount(self, config: Inspected, host: Inspected) -> list[Inspected]:
        mounts: dict[str, Inspected] = {}
        for entry in host.get("VolumesFrom") or []:
            other = next((each for each in self.containers if each["Name"] == f"/{entry.partition(':')[0]}"), None)
            if other is None:
                raise RefusedError("No such container")
            writable = not entry.endswith(":ro")
            mounts |= {
                each["Destination"]: {**each, "Mode": "", "RW": each["RW"] and writable} for each in other["Mounts"]
            }
        for bind in host.get("Binds") or []:
            source, target, *rest = bind.split(":")
            options = rest[0].split(",") if rest else []
            writable = "ro" not in options
            if source.startswith("/"):
                propagation = next((option for option in options if option.endswith("slave")), "rprivate")
                found = {"Type": "bind", "Source": source, "RW": writable, "Mode": ",".join(options),
                         "Propagation": propagation}  # fmt: skip
            else:
                self._volume(source, ["seed"], copied="nocopy" not in options)
                found = {"Type": "volume", "Name": source, "Driver": "local", "RW": writable, "Propagation": "",
                         "Mode": ",".join(options) or "z", "Source": f"/volumes/{source}"}  # fmt: skip
            mounts[target] = {**found, "Destination": target}
        for mount in host.get("Mounts") or []:
            writable = not mount.get("ReadOnly")
            if mount["Type"] == "volume":
                if not mount.get("Source") and not writable:
                    raise RefusedError("must not set ReadOnly mode when using anonymous volumes")
                copied = not (mount.get("VolumeOptions") or {}).get("NoCopy")
                name = self._volume(mount.get("Source", ""), ["seed"], copied=copied)
                found = {"Type": "volume", "Name": name, "Driver": "local", "RW": writable, "Mode": "z",
                         "Propagation": "", "Source": f"/volumes/{name}"}  # fmt: skip
            else:
                propagation = (mount.get("BindOptions") or {}).get("Propagation", "rprivate")
                found = {"Type": mount["Type"], "Source": mount.get("Source", ""), "RW": writable, "Mode": "",
                         "Propagation": propagation if mount["Type"] == "bind" else ""}  # fmt: skip
            mounts[mount["Target"]] = {**found, "Destination": mount["Target"]}
        for target in config.get("Volumes") or {}:
            if target not in mounts and target not in (host.get("Tmpfs") or {}):
                name = self._volume("", ["seed"], copied=True)
                mounts[target] = {"Type": "volume", "Name": name, "Driver": "local", "RW": True, "Mode": "",
                                  "Propagation": "", "Source": f"/volumes/{name}", "Destination": target}  # fmt: skip
        return list(mounts.values())

    def _check_networks(self, mode: str, asked: Mapping[str, Any]) -> None:
        if mode.startswith(NETWORKLESS) and asked:
            raise RefusedError("cannot be connected to further networks")
        for name, each in asked.items():
            addresses = [address for address in (each.get("IPAMConfig") or {}).values() if address]
            if name == "bridge" and (each.get("Aliases") or addresses):
                raise RefusedError("supported on user defined networks only")
            if addresses and not name.endswith("front"):
                raise RefusedError("supported only when connecting to networks with user configured subnets")

    def _connect(self, config: Inspected, mode: str, at_create: Inspected, later: Inspected) -> Inspected:
        first = "bridge" if mode in {"default", "bridge"} else mode
        connected: Inspected = {}
        for name, asked in {first: {}, **at_create, **later}.items():
            static = asked.get("IPAMConfig") or {}
            number = next(self.numbers)
            address = static.get("IPv4Address") or f"172.18.{number // 256}.{number % 256}"
            if self.api < (1, 44):
                mac = config.get("MacAddress") if name == first else ""
            else:
                mac = asked.get("MacAddress") if name in at_create or name == first else ""
                if name == first and mac:
                    config["MacAddress"] = mac
            if not mac:
                digits = address.split(".") if self.api < (1, 48) else ["9", *str(number + 1000)[:3]]
                prefix = "02:42" if self.api < (1, 48) else "e6:11"
                mac = ":".join([prefix, *(f"{int(each):02x}" for each in digits)])
            connected[name] = {
                **copy.deepcopy(asked),
                "Aliases": list(asked.get("Aliases") or []),
                "IPAMConfig": static or None,
                "IPAddress": address,
                "MacAddress": mac,
                "NetworkID": f"id-of-{name}",
                "EndpointID": str(next(self.numbers)),
            }
        return connected

    def _name(self, endpoint: Inspected, identity: str, config: Inspected, mode: str, name: str) -> None:
        """Names that the engine adds: to the aliases up to API 1.44, then beside them."""
        if endpoint["NetworkID"] == "id-of-bridge":
            return
        added = list(dict.fromkeys([identity[:12], config["Hostname"]]))
        if self.api < (1, 45):
            endpoint["Aliases"] += added
        else:
            endpoint["DNSNames"] = [name, *endpoint["Aliases"], *added]
        assert not mode.startswith(NETWORKLESS)

    def _publish(self, config: Inspected, host: Inspected) -> Inspected:
        bindings = host.get("PortBindings") or {}
        published: Inspected = {}
        used: set[tuple[str, str, int]] = set()
        for port in {**(config.get("ExposedPorts") or {}), **bindings}:
            asked = bindings.get(port) or ([{"HostIp": "", "HostPort": ""}] if host.get("PublishAllPorts") else [])
            found = [each for binding in asked for each in self._bind(binding, port.partition("/")[2], used)]
            published[port] = found or None
        return published

    def _bind(self, binding: Inspected, protocol: str, used: set[tuple[str, str, int]]) -> list[Inspected]:
        """The host's ports of one binding; 20.10 numbers IPv4 and IPv6 one by one."""
        asked = binding.get("HostPort") or "0"
        first, _, last = asked.partition("-")
        numbers = range(30000, 40000) if asked == "0" else range(int(first), int(last or first) + 1)
        hosts = [binding["HostIp"]] if binding.get("HostIp") else ["0.0.0.0", "::"]  # noqa: S104
        together = [hosts] if asked != "0" or self.api >= (1, 42) else [[host] for host in hosts]
        found = []
        for each in together:
            number = next((n for n in numbers if not {(protocol, host, n) for host in each} & used), None)
            if number is None:
                raise TakenError("port is already allocated")
            used |= {(protocol, host, number) for host in each}
            found += [{"HostIp": host, "HostPort": str(number)} for host in each]
            numbers = range(number + next(self.numbers) % 2, 40000)
        return found


def _merge(config: Inspected, image: Mapping[str, Any]) -> None:
    """Fill in what the request leaves to the image: moby daemon/commit.go merge()."""
    for key in ("User", "WorkingDir", "StopSignal"):
        config[key] = config.get(key) or image.get(key, "")
    for key in ("ExposedPorts", "Volumes"):
        if merged := {**(config.get(key) or {}), **(image.get(key) or {})}:
            config[key] = merged
    own = list(config.get("Env") or [])
    names = {entry.partition("=")[0] for entry in own}
    config["Env"] = [*own, *(entry for entry in image.get("Env") or [] if entry.partition("=")[0] not in names)]
    config["Labels"] = {**(image.get("Labels") or {}), **(config.get("Labels") or {})}
    if not config.get("Entrypoint"):
        if not config.get("Cmd"):
            config["Cmd"] = image.get("Cmd")
        if config.get("Entrypoint") is None:
            config["Entrypoint"] = image.get("Entrypoint")
    if config["Entrypoint"] == [""]:
        config["Entrypoint"] = None
    if health := image.get("Healthcheck"):
        own_health = config.get("Healthcheck") or {}
        config["Healthcheck"] = {key: own_health.get(key) or health.get(key) for key in {*own_health, *health}}
    if config.get("Healthcheck"):
        config["Healthcheck"] = {key: value for key, value in config["Healthcheck"].items() if value}
