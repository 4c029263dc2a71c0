"""Random requests for containers, as people make them: what the strategies of several tests draw from."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

APIS = [(1, 41), (1, 43), (1, 44), (1, 45), (1, 48), (1, 51)]
PATHS = ["/data", "/srv/x", "/v", "/w", "/with space"]
PAUSE = "/bin/pause"  # ignores its arguments
ENTRYPOINTS = st.sampled_from([None, [], [""], [PAUSE], [PAUSE, "-x"]])
COMMANDS = st.sampled_from([None, [], [PAUSE], [PAUSE, "", "é"]])
NAMES = st.sampled_from(["A", "B", "PATH", "http_proxy"])
ENV = st.lists(st.one_of(NAMES, st.builds("{}={}".format, NAMES, st.sampled_from(["", "1", "a=b"]))), max_size=4)
PORTS = st.sampled_from(["80/tcp", "81/udp", "443/tcp"])
LABELS = st.dictionaries(st.sampled_from(["a", "b.c", "com.example/d"]), st.text(max_size=3), max_size=3)
HEALTH = st.fixed_dictionaries(
    {},
    optional={
        "Test": st.sampled_from([["CMD", "true"], ["NONE"], ["CMD-SHELL", "x"]]),
        "Interval": st.sampled_from([0, 5_000_000_000]),
        "Retries": st.sampled_from([0, 3]),
    },
)
CONFIG: dict[str, st.SearchStrategy[Any]] = {
    "User": st.sampled_from(["", "1000", "1000:5"]),
    "WorkingDir": st.sampled_from(["", "/", "/srv"]),
    "StopSignal": st.sampled_from(["", "SIGINT"]),
    "Env": st.none() | ENV,
    "Labels": st.none() | LABELS,
    "Cmd": COMMANDS,
    "Entrypoint": ENTRYPOINTS,
    "ExposedPorts": st.none() | st.dictionaries(PORTS, st.just({}), max_size=2),
    "Volumes": st.none() | st.dictionaries(st.sampled_from(PATHS), st.just({}), max_size=2),
    "Healthcheck": st.none() | HEALTH,
}
IMAGES = st.fixed_dictionaries({}, optional=CONFIG).map(lambda config: {**config, "Cmd": config.get("Cmd") or [PAUSE]})
BINDINGS = st.fixed_dictionaries(
    {
        "HostIp": st.sampled_from(["", "127.0.0.1"]),
        "HostPort": st.sampled_from(["", "0", "8080", "9000-9010"]),
    }
)
MACS = st.sampled_from(["", "02:42:0a:00:00:07"])
ENDPOINTS = st.fixed_dictionaries(
    {},
    optional={
        "IPAMConfig": st.sampled_from([None, {}, {"IPv4Address": "10.9.0.7"}, {"IPv6Address": "fd00::7"}]),
        "Aliases": st.sampled_from([None, [], ["db"], ["db", "db2"]]),
        "Links": st.sampled_from([None, ["other:alias"]]),
        "DriverOpts": st.sampled_from([None, {"a": "b"}]),
        "MacAddress": MACS,
    },
)


@st.composite
def binds(draw: st.DrawFn, target: str) -> str:
    source = draw(st.sampled_from(["/opt", "named", "other"]))
    modes = ["", ":ro", ":z", ":ro,rslave"] if source.startswith("/") else ["", ":ro", ":nocopy", ":ro,nocopy", ":z"]
    return f"{source}:{target}{draw(st.sampled_from(modes))}"


@st.composite
def mounts(draw: st.DrawFn, target: str) -> dict[str, Any]:
    kind = draw(st.sampled_from(["volume", "bind", "tmpfs"]))
    mount: dict[str, Any] = {"Type": kind, "Target": target}
    if kind == "bind":
        mount |= {"Source": "/opt", "BindOptions": {"Propagation": draw(st.sampled_from(["rslave", "private"]))}}
    if kind == "volume":
        mount |= draw(st.sampled_from([{}, {"Source": "named"}, {"Source": "other", "ReadOnly": True}]))
        mount |= draw(st.sampled_from([{}, {"VolumeOptions": {"NoCopy": True}}, {"VolumeOptions": {"Labels": {}}}]))
    return mount


@st.composite
def requests(draw: st.DrawFn, api: tuple[int, int]) -> dict[str, Any]:
    """A request of a person: whatever the engine takes, and some that it does not."""
    config = draw(st.fixed_dictionaries({}, optional=CONFIG))
    config |= draw(
        st.fixed_dictionaries({}, optional={"Hostname": st.sampled_from(["", "web"]), "Domainname": st.just("d")})
    )
    config |= draw(st.sampled_from([{}, {}, {}, {"NetworkDisabled": True}]))
    mode = draw(st.sampled_from(["", "", "default", "bridge", "front", "front", "host", "none", "container:ID"]))
    targets = draw(st.lists(st.sampled_from(PATHS), unique=True, max_size=4))
    cut = draw(st.integers(0, len(targets)))
    host = {
        "NetworkMode": mode,
        "Binds": [draw(binds(target)) for target in targets[:cut]],
        "Mounts": [draw(mounts(target)) for target in targets[cut:]],
        "PublishAllPorts": draw(st.booleans()),
        "PortBindings": draw(
            st.none() | st.dictionaries(PORTS, st.lists(BINDINGS, min_size=1, max_size=2), max_size=2)
        ),
        "UTSMode": draw(st.sampled_from(["", "", "", "host"])),
        "VolumesFrom": draw(st.sampled_from([None, None, ["store"], ["store:ro"]])),
        "Tmpfs": draw(st.sampled_from([None, {"/t": "size=1m"}, {} if "/data" in targets else {"/data": ""}])),
        "IpcMode": draw(st.sampled_from(["private", "host", "none"])),
    }
    if mode.startswith("container:"):
        config |= {"Hostname": "", "ExposedPorts": None}
        host |= {"PublishAllPorts": False, "PortBindings": None}
    if host["UTSMode"]:
        config["Hostname"] = ""
    first = "bridge" if mode in {"", "default", "bridge"} else mode
    networks = (
        [first, *draw(st.sampled_from([[], ["back"], ["back", "third"]]))] if first in {"bridge", "front"} else []
    )
    endpoints = {name: draw(ENDPOINTS) for name in networks} if draw(st.booleans()) else {}
    for name, endpoint in endpoints.items():
        if name != "front":  # the only one with a subnet of its own
            endpoint["IPAMConfig"] = None
        if name == "bridge":
            endpoint["Aliases"] = None
    if api < (1, 44):
        endpoints = {
            name: {k: v for k, v in each.items() if k != "MacAddress"} for name, each in list(endpoints.items())[:1]
        }
        config |= {"MacAddress": draw(MACS)} if first in {"bridge", "front"} else {}
    return {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": endpoints}}
