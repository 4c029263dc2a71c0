"""What differs between two containers, or between two requests: nothing secret is in what is said. Pure."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from debugrun.core.know.inspection import security_options
from debugrun.core.know.json_access import Json, items, mapping, maps, text
from debugrun.core.rebuild import endpoints, storage
from debugrun.core.rebuild.blueprint import Blueprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One field that differs: its path with dots, and both values as text that may be shown; None: not there.

    Environment, labels and driver options by name only; command lines by their length; seccomp profiles by their size.
    What is only in one of two lists is a change of its own, whose path is the list's.
    """

    path: str
    before: str | None
    after: str | None


# What may differ between a container and the one made from its blueprint, and why.
EXPECTED = {
    "Id": "the engine's own, with the paths below that hold it",
    "Created": "now",
    "State.*": "its processes are new ones",
    "ExecIDs": "the commands ended with the old one",
    "RestartCount": "begins anew",
    "GraphDriver.Data.*": "a writable layer of its own",
    "Config.Image": "the id of the same image, which Image has too",
    "MountLabel": "SELinux categories are drawn for each container",
    "ProcessLabel": "the same",
    "NetworkSettings.SandboxID": "a network namespace of its own",
    "NetworkSettings.SandboxKey": "the same",
    "NetworkSettings.EndpointID": "20.10 to 28 repeat the default bridge's endpoint here",
    "NetworkSettings.IPAddress": "the same",
    "NetworkSettings.GlobalIPv6Address": "the same",
    "NetworkSettings.MacAddress": "the same",
    "NetworkSettings.Networks.*.EndpointID": "an endpoint of its own",
}

# Their values stay out of what is shown: people put passwords there.
SECRET = (
    "Config.Env.*",
    "Config.Labels.*",
    "HostConfig.Annotations.*",
    "HostConfig.LogConfig.Config.*",
    "HostConfig.StorageOpt.*",
    "*.DriverOpts.*",
)
COMMANDS = (
    "Args",
    "Path",
    "Config.Cmd",
    "Config.Entrypoint",
    "Config.Healthcheck.Test",
    "Config.OnBuild",
    "Config.Shell",
)
HIDDEN = "(hidden)"


def added(before: Blueprint, after: Blueprint) -> tuple[Change, ...]:
    """What differs between two requests: the diff that a person is asked about. In the order of the paths."""
    return tuple(_changes(_by_name(before.body), _by_name(after.body)))


def differences(before: Json, after: Json) -> tuple[Change, ...]:
    """What differs between two inspected containers, beyond what a new one must differ in; (): it is faithful.

    Both are compared as what they ask for: anonymous volumes by name, chosen ports by number, addresses that the
    engine chose left out; whether what they got is the same, ports and mounts say.
    """
    found = _changes(_canonical(before), _canonical(after))
    return tuple(change for change in found if not _expected(change.path, after))


def _expected(path: str, after: Json) -> bool:
    if path == "Config.Image":
        return text(mapping(after, "Config"), "Image") == text(after, "Image")
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in EXPECTED)


def _canonical(container: Json) -> Json:
    """An inspected container without its own id, and with its options as a blueprint asks for them."""
    identity = text(container, "Id")
    told: Json = json.loads(json.dumps(container).replace(identity, "ID")) if identity else container
    told = {**told, "Id": identity}
    host, settings = mapping(told, "HostConfig"), mapping(told, "NetworkSettings")
    host = {**host, **storage.stored(told, (), docker=True).host, "PortBindings": endpoints.pinned_ports(told)}
    # In an order: the engine mounts by depth, and shows links as they come.
    host["Links"] = sorted(items(host, "Links"), key=str)
    host["Mounts"] = sorted(maps(host, "Mounts"), key=lambda mount: text(mount, "Target"))
    config = dict(mapping(told, "Config"))
    if text(host, "UTSMode") == "host" and text(config, "Hostname") == identity[:12]:
        config["Hostname"] = "ID"  # filled in by the engine, seen by nobody
    if text(host, "NetworkMode").startswith("container:"):
        config |= {"Hostname": "", "Domainname": ""}  # the other container's, once it has been started
    networks = {name: _endpoint(told, name, found) for name, found in endpoints.networks(told).items()}
    mounts = sorted((_mount(mount) for mount in maps(told, "Mounts")), key=lambda mount: text(mount, "Destination"))
    settings = {**settings, "Networks": networks, "Ports": _ports(mapping(settings, "Ports"))}
    return _by_name({**told, "Config": config, "HostConfig": host, "NetworkSettings": settings, "Mounts": mounts})


def _endpoint(container: Json, name: str, found: Json) -> Json:
    """An endpoint without addresses that the engine chose, and without the short id among its names."""
    asked = mapping(found, "IPAMConfig")
    plain = {**found, "MacAddress": endpoints.mac_asked(container, name), "IPAMConfig": dict(asked)}
    for given, key in (("IPAddress", "IPv4Address"), ("GlobalIPv6Address", "IPv6Address")):
        if not text(asked, key):
            plain.pop(given, None)
    for key in ("Aliases", "DNSNames"):
        plain[key] = [alias for alias in items(found, key) if alias not in endpoints.own_names(container)]
    if not text(found, "NetworkID"):
        # Not in use yet. Every start makes the DNS names anew, from the name and the aliases; until then a network
        # connected to after create shows those of that moment, and one of the create none (updateNetworkConfig() in
        # moby daemon/container_operations.go, measured on 28.5).
        plain.pop("DNSNames")
    return plain


def _ports(ports: Json) -> Json:
    """Published ports in an order: the engine's is by chance."""
    return {port: sorted(maps(ports, port), key=str) if ports[port] else ports[port] for port in ports}


def _mount(mount: Json) -> Json:
    """A mount as mounted: with or without nocopy, and relabelled as the engine does by itself (z), it is the same."""
    if text(mount, "Type") == "image":
        return {**mount, "Source": ""}  # a layer of the container's own
    if text(mount, "Type") != "volume":
        return mount
    options = [option for option in text(mount, "Mode").split(",") if option not in {"", "z", "nocopy"}]
    return {**mount, "Mode": ",".join(options)}


def _by_name(told: Json) -> Json:
    """The same with the environment as an object, so that its changes have names."""
    config = mapping(told, "Config") if "Config" in told else told
    named: dict[str, object] = {}
    for entry in items(config, "Env"):
        name, equals, value = str(entry).partition("=")
        named[name] = equals + value
    if "Config" in told:
        return {**told, "Config": {**config, "Env": named}}
    nested = ("HostConfig", "NetworkingConfig")
    top = {key: value for key, value in told.items() if key not in nested}
    return {"Config": {**top, "Env": named}, **{key: told[key] for key in nested if key in told}}


def _changes(before: object, after: object, path: str = "") -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        whole, other = (value if isinstance(value, Mapping) else {} for value in (before, after))
        for key in sorted({*whole, *other}):
            yield from _changes(whole.get(key), other.get(key), f"{path}.{key}" if path else key)
        if not whole and not other:
            yield Change(path=path, before=_shown(path, before), after=_shown(path, after))
    elif _unordered(path, first := _items(before), second := _items(after)):
        for item in first:
            if item not in second:
                yield Change(path=path, before=_shown(path, item), after=None)
        for item in second:
            if item not in first:
                yield Change(path=path, before=None, after=_shown(path, item))
    else:
        yield Change(path=path, before=_shown(path, before), after=_shown(path, after))


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _unordered(path: str, before: Sequence[object], after: Sequence[object]) -> bool:
    """Whether the items that only one list has tell the difference: not in a command, nor where the order changed."""
    if path in COMMANDS:
        return False
    return any(item not in after for item in before) or any(item not in before for item in after)


def _shown(path: str, value: object) -> str | None:
    """A value as text that may be shown."""
    if value is None:
        return None
    if path in COMMANDS:
        return f"({len(value)} words)" if isinstance(value, list) else HIDDEN
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in SECRET):
        return HIDDEN
    if isinstance(value, str):
        profile = security_options([value]).get("seccomp", "") if path.endswith(".SecurityOpt") else ""
        return f"seccomp=(a profile of {len(profile)} bytes)" if profile.startswith("{") else value
    return json.dumps(_without_options(value), ensure_ascii=False)


def _without_options(value: object) -> object:
    """A nested value without the options of drivers in it."""
    if isinstance(value, Mapping):
        hidden = {"DriverConfig", "Labels", "DriverOpts"}
        return {key: HIDDEN if key in hidden and each else _without_options(each) for key, each in value.items()}
    return [_without_options(each) for each in value] if isinstance(value, list) else value
