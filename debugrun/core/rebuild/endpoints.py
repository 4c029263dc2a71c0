"""Networks and published ports of an inspected container, as a request asks for them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from debugrun.core.know.json_access import Json, items, mapping, text
from debugrun.values import dataclass

# moby docs/api/version-history.md: create takes several endpoints, and each its MAC address.
SEVERAL_AT_CREATE = (1, 44)
ASKED = ("IPAMConfig", "Links", "Aliases", "DriverOpts", "MacAddress", "GwPriority")  # the rest is the engine's answer
NETWORKLESS = re.compile(r"none\Z|host\Z|container:|ns:|slirp4netns|pasta")


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoints:
    """The networks of a request: HostConfig.NetworkMode, endpoints at create and those to connect before the start.

    `has_macs`: MAC addresses stand in the endpoints, not in Config.
    """

    mode: str
    at_create: tuple[tuple[str, Json], ...] = ()
    afterwards: tuple[tuple[str, Json], ...] = ()
    has_macs: bool = False
    lost: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def endpoints(container: Json, *, api: tuple[int, int]) -> Endpoints:
    """The networks that `container` is connected to, the one of its NetworkMode first."""
    mode = text(mapping(container, "HostConfig"), "NetworkMode")
    several = api >= SEVERAL_AT_CREATE
    if NETWORKLESS.match(mode) or mapping(container, "Config").get("NetworkDisabled") is True:
        return Endpoints(mode=mode, has_macs=several)
    connected = {name: found for name, found in networks(container).items() if not NETWORKLESS.match(name)}
    first = _first(mode, connected)
    warnings = []
    if first is None:  # disconnected from it since
        new = next(iter(connected), "none")
        warnings.append(f"its network mode becomes {new}: it was disconnected from {mode or 'the default network'}")
        mode, first = new, new if connected else None
    wanted = [
        (name, _asked(container, connected[name], primary=name == first, several=several))
        for name in sorted(connected, key=lambda name: name != first)
    ]
    # The default bridge with nothing asked of it is what a request without endpoints gets.
    plain = len(wanted) == 1 and not any(wanted[0][1].values()) and mode in {"", "default", "bridge"}
    at_create = () if plain else tuple(wanted if several else wanted[:1])
    return Endpoints(
        mode=mode,
        at_create=at_create,
        afterwards=() if several else tuple(wanted[1:]),
        has_macs=several,
        lost=tuple(_addresses(connected)),
        warnings=tuple(warnings),
    )


def networks(container: Json) -> dict[str, Json]:
    """The endpoints of an inspected container by the networks' names."""
    found = mapping(mapping(container, "NetworkSettings"), "Networks")
    return {name: mapping(found, name) for name in found}


def _first(mode: str, connected: Mapping[str, Json]) -> str | None:
    """The network that NetworkMode means: by name, by id or a prefix of it, or the default."""
    if mode in connected:
        return mode
    if mode in {"", "default"}:
        return next((name for name in ("bridge", "podman") if name in connected), None)
    return next((name for name, found in connected.items() if text(found, "NetworkID").startswith(mode)), None)


def _asked(container: Json, endpoint: Json, *, primary: bool, several: bool) -> dict[str, object]:
    """What of an endpoint is asked for, without what the engine added to it."""
    asked = {key: endpoint[key] for key in ASKED if endpoint.get(key) is not None}
    if "Aliases" in asked:
        asked["Aliases"] = [alias for alias in items(endpoint, "Aliases") if alias not in own_names(container)]
    asked.pop("MacAddress", None)
    if several and (mac := _mac(container, endpoint, primary=primary)):
        asked["MacAddress"] = mac
    return asked


def own_names(container: Json) -> set[str]:
    """The names that the engine adds to the aliases (up to API 1.44) and DNS names of a container's endpoints."""
    return {text(container, "Id")[:12], text(mapping(container, "Config"), "Hostname")} - {""}


def mac_asked(container: Json, network: str) -> str:
    """The MAC address that was asked for on a network, or may have been; "" where the engine made it."""
    connected = networks(container)
    first = _first(text(mapping(container, "HostConfig"), "NetworkMode"), connected)
    return _mac(container, connected[network], primary=network == first)


def _mac(container: Json, endpoint: Json, *, primary: bool) -> str:
    """The MAC address that was asked for, or may have been; "" where the engine made it.

    Engines say what was asked for the first network only, in Config. For another one: up to 27 they made it from the
    IPv4 address, and such a one is left to them, as its owner may be another by now; 28 makes random ones.
    """
    if primary:
        return text(mapping(container, "Config"), "MacAddress")
    found = text(endpoint, "MacAddress")
    parts = text(endpoint, "IPAddress").split(".")
    made = ":".join(["02", "42", *(f"{int(part):02x}" for part in parts)]) if len(parts) == 4 else ""  # noqa: PLR2004
    return "" if found.lower() == made else found


def _addresses(connected: Mapping[str, Json]) -> list[str]:
    """What is said of addresses that the engine chose: as after any restart, it may choose another one."""
    lost = []
    for name, found in connected.items():
        asked = mapping(found, "IPAMConfig")
        for given, key in (("IPAddress", "IPv4Address"), ("GlobalIPv6Address", "IPv6Address")):
            if (address := text(found, given)) and not text(asked, key):
                lost.append(f"the address {address} on {name}, which the engine chose: it may choose another")
    return lost


def pinned_ports(container: Json) -> Json:
    """HostConfig.PortBindings with the numbers in use for those that the engine chose (random, or of a range)."""
    asked = mapping(mapping(container, "HostConfig"), "PortBindings")
    given = mapping(mapping(container, "NetworkSettings"), "Ports")
    pinned = dict(asked)
    for port in given:
        wanted = [binding for binding in items(asked, port) if isinstance(binding, Mapping)]
        found = [binding for binding in items(given, port) if isinstance(binding, Mapping)]
        if found and not (wanted and all(_fixed(binding) for binding in wanted)):
            pinned[port] = _together(found, anywhere=not wanted or any(not text(each, "HostIp") for each in wanted))
    return pinned


def _fixed(binding: Json) -> bool:
    number = text(binding, "HostPort")
    return number.isdigit() and int(number) > 0


def _together(found: list[Json], *, anywhere: bool) -> list[Json]:
    """The bindings in use; those of one number on all of IPv4 and IPv6 become one without an address.

    20.10 may choose two numbers for the two: then each is asked for.
    """
    numbers: dict[str, list[str]] = {}
    for binding in found:
        numbers.setdefault(text(binding, "HostPort"), []).append(text(binding, "HostIp"))
    lone = len(numbers) == 1 or all(len(hosts) > 1 for hosts in numbers.values())
    bindings: list[Json] = []
    for number, hosts in numbers.items():
        everywhere = anywhere and lone and "0.0.0.0" in hosts  # noqa: S104 - as the engine shows it
        if everywhere:
            bindings.append({"HostIp": "", "HostPort": number})
        bindings += [
            {"HostIp": host, "HostPort": number}
            for host in dict.fromkeys(hosts)
            if not (everywhere and host in {"0.0.0.0", "::", ""})  # noqa: S104 - the same
        ]
    return bindings
