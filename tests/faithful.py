"""Whether a recreated container is the original's like: the oracle of the tests, not a part of what is recreated."""

from __future__ import annotations

import fnmatch
import json

from debugrun.core.know.json_access import Json, items, mapping, maps, text
from debugrun.core.rebuild import comparison, endpoints, storage

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


def differences(before: Json, after: Json) -> tuple[comparison.Change, ...]:
    """What differs between two inspected containers, beyond what a new one must differ in; (): it is faithful.

    Both are compared as what they ask for: anonymous volumes by name, chosen ports by number, addresses that the
    engine chose left out; whether what they got is the same, ports and mounts say.
    """
    found = comparison.between(_canonical(before), _canonical(after))
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
    return {**told, "Config": config, "HostConfig": host, "NetworkSettings": settings, "Mounts": mounts}


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
