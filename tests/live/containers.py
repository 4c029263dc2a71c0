"""Containers of every kind, as requests to the engine: what recreating must keep.

`@front` and its like are names in the world that `recreated.World` makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ANY, LATER = (1, 0), (9, 0)
RICH = "@rich"  # an image with everything that a Dockerfile can say
PROFILE = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}]})
MAC = "02:42:0a:63:00:99"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A container: the body of its creation, networks to connect then, and the API versions that can make it.

    `refusable`: some engines refuse it, for want of a capability or a device of their own.
    """

    name: str
    body: Mapping[str, Any]
    networks: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    running: bool = True
    since: tuple[int, int] = ANY
    until: tuple[int, int] = LATER
    refusable: bool = False

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def host(**options: Any) -> dict[str, Any]:  # noqa: ANN401 - the engine's JSON
    return {"HostConfig": options}


def joined(network: str, **endpoint: Any) -> dict[str, Any]:  # noqa: ANN401 - the same
    return {"NetworkingConfig": {"EndpointsConfig": {network: endpoint}}}


def ports(**numbers: Any) -> dict[str, Any]:  # noqa: ANN401 - the same
    """tcp80=[(host ip, host port), ...] as ExposedPorts and PortBindings."""
    bindings = {
        f"{name[3:]}/{name[:3]}": [{"HostIp": address, "HostPort": number} for address, number in asked]
        for name, asked in numbers.items()
    }
    return {"ExposedPorts": {port: {} for port in bindings}, **host(PortBindings=bindings)}


def volume(target: str, source: str = "", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - the same
    return {"Type": "volume", "Target": target, **({"Source": source} if source else {}), **more}


# Many options at a time: these run in the default suite. By themselves they follow below.
TOGETHER = [
    Case(
        name="a service",
        body={
            "Image": RICH,
            "Labels": {"team": "web", "x": "mine"},
            "Env": ["A=3", "C=", "D"],
            "Healthcheck": {"Interval": 1_000_000_000},
            **joined("@front", Aliases=["web"], IPAMConfig={"IPv4Address": "@net.77", "IPv6Address": "@net6::77"}),
            **host(
                NetworkMode="@front",
                PublishAllPorts=True,
                Binds=["@named:/named"],
                RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 3},
                Ulimits=[{"Name": "nofile", "Soft": 100, "Hard": 200}],
                LogConfig={"Type": "json-file", "Config": {"max-size": "1m"}},
            ),
        },
        networks=(("@back", {"Aliases": ["inner"]}), ("bridge", {})),
    ),
    Case(
        name="a hardened one",
        body={
            "User": "1000:1000",
            "StopSignal": "SIGQUIT",
            "StopTimeout": 3,
            **host(
                NetworkMode="none",
                ReadonlyRootfs=True,
                Init=True,
                CapDrop=["ALL"],
                CapAdd=["NET_BIND_SERVICE"],
                SecurityOpt=["no-new-privileges", f"seccomp={PROFILE}"],
                Tmpfs={"/tmp": "size=1m,mode=1777"},  # noqa: S108 - of the container
                PidsLimit=50,
                Memory=64 << 20,
                MemorySwap=128 << 20,
                NanoCpus=500_000_000,
                OomScoreAdj=200,
                GroupAdd=["10", "20"],
            ),
        },
    ),
    Case(
        name="one that lives in another",
        body=host(
            NetworkMode="container:@store",
            PidMode="container:@store",
            IpcMode="container:@store",
            VolumesFrom=["@store:ro"],
        ),
    ),
    Case(
        name="one of the host",
        body=host(NetworkMode="host", PidMode="host", IpcMode="host", UTSMode="host", CgroupnsMode="host"),
    ),
    Case(
        name="one with links and names",
        body={
            "Hostname": "box",
            "Domainname": "example.org",
            **host(
                Links=["@store:db"],
                Dns=["192.0.2.1"],
                DnsSearch=["a.example", "b.example"],
                DnsOptions=["ndots:3"],
                ExtraHosts=["more:192.0.2.7"],
                Sysctls={"net.ipv4.ip_forward": "0"},
            ),
        },
    ),
    Case(
        name="an image made plain",
        body={
            "Image": RICH,
            "Entrypoint": [""],
            "Cmd": ["/bin/pause"],
            "User": "0",
            "WorkingDir": "/new/folder",
            "Healthcheck": {"Test": ["NONE"]},
            "Tty": True,
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            **ports(tcp90=[("", "@range"), ("127.0.0.1", "0")], udp91=[("127.0.0.1", "")]),
        },
    ),
    Case(
        name="mounts of all kinds",
        body={
            "Volumes": {"/anonymous": {}, "/data": {}},
            **host(
                Binds=["@named:/named:ro", "@other:/other:z,nocopy", "@folder:/bound:ro,rslave"],
                Mounts=[
                    volume("/unnamed"),
                    volume("/third", "@third", VolumeOptions={"Labels": {"a": "b"}, "DriverConfig": {"Name": "local"}}),
                    {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 0o700}},
                    {
                        "Type": "bind", "Source": "@folder", "Target": "/bound2", "ReadOnly": True,
                        "BindOptions": {"Propagation": "rslave"},
                    },
                ],
            ),
        },
    ),
    Case(
        name="what 28 brought",
        since=(1, 48),
        body={
            "Healthcheck": {"Test": ["CMD", "true"], "StartInterval": 2_000_000_000, "StartPeriod": 9_000_000_000},
            **host(
                NetworkMode="@front",
                Annotations={"org.example/a": "b"},
                Mounts=[{"Type": "image", "Source": RICH, "Target": "/image", "ImageOptions": {"Subpath": "srv"}}],
            ),
            "NetworkingConfig": {
                "EndpointsConfig": {
                    "@front": {"GwPriority": 1, "MacAddress": MAC},
                    "@back": {"GwPriority": 9, "MacAddress": "02:42:0a:63:00:98", "Aliases": ["q"]},
                }
            },
        },
    ),
]  # fmt: skip

ALONE = [
    Case(name="nothing asked", body={}),
    Case(name="of a rich image", body={"Image": RICH}),
    Case(name="entrypoint cleared", body={"Image": RICH, "Entrypoint": [""], "Cmd": ["/bin/pause"]}),
    Case(name="entrypoint empty", body={"Image": RICH, "Entrypoint": [], "Cmd": ["/bin/pause"]}),
    Case(name="entrypoint alone", body={"Image": RICH, "Entrypoint": ["/bin/pause", "é", ""]}),
    Case(name="no health check", body={"Image": RICH, "Healthcheck": {"Test": ["NONE"]}}),
    Case(name="health check in part", body={"Image": RICH, "Healthcheck": {"Retries": 9}}),
    Case(name="health check", body={"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Timeout": 1_000_000_000}}),
    Case(name="environment", body={"Image": RICH, "Env": ["A=3", "C=", "D", "A=4", "E=a=b é"]}),
    Case(name="labels", body={"Image": RICH, "Labels": {"x": "", "a.b": "d", "é": "\n"}}),
    Case(name="user", body={"Image": RICH, "User": "2000:3000"}),
    Case(name="stop", body={"StopSignal": "SIGQUIT", "StopTimeout": 0}),
    Case(name="terminal", body={"Tty": True, "OpenStdin": True, "AttachStdin": True, "AttachStdout": True}),
    Case(name="host name", body={"Hostname": "box", "Domainname": "example.org"}),
    Case(name="host name on a network", body={"Hostname": "box", **host(NetworkMode="@front")}),
    Case(name="host's name", body=host(UTSMode="host")),
    Case(name="anonymous volumes", body={"Volumes": {"/a": {}, "/data": {}}}),
    Case(name="anonymous volume over a folder of the image", body={"Image": RICH, "Volumes": {"/srv": {}}}),
    Case(name="named volumes", body=host(Binds=["@named:/n", "@other:/o:ro", "@third:/data:nocopy"])),
    Case(name="volume that the image names", body={"Image": RICH, **host(Binds=["@named:/data"])}),
    Case(name="bind mounts", body=host(Binds=["@folder:/b", "@folder:/ro:ro", "@folder:/slave:rslave"])),
    Case(name="unnamed volume by --mount", body=host(
        Mounts=[volume("/v"), volume("/w", VolumeOptions={"NoCopy": True})])),
    Case(name="volume by --mount", body=host(Mounts=[volume("/v", "@named", ReadOnly=True), volume("/w", "@other")])),
    Case(name="tmpfs", body=host(Tmpfs={"/t": "", "/run": "rw,noexec,size=64k"})),
    Case(name="tmpfs over a volume of the image", body={"Image": RICH, **host(Tmpfs={"/data": "size=1m"})}),
    Case(name="tmpfs by --mount", body=host(Mounts=[{"Type": "tmpfs", "Target": "/t"}])),
    Case(name="volumes from", body=host(VolumesFrom=["@store"])),
    Case(name="volumes from, and over one", body=host(VolumesFrom=["@store:ro"], Binds=["@third:/kept"])),
    Case(name="a space in a path", body={"Volumes": {"/a b": {}}, **host(Mounts=[volume("/c:d", "@named")])}),
    Case(name="driver of volumes", body={"Volumes": {"/a": {}}, **host(VolumeDriver="local")}),
    Case(name="all ports", body={"Image": RICH, **host(PublishAllPorts=True)}),
    Case(name="random ports", body=ports(tcp80=[("", "")], tcp81=[("127.0.0.1", "0")], udp80=[("", "0")])),
    Case(name="a port of a range", body=ports(tcp80=[("", "@range")], tcp81=[("127.0.0.1", "@other-range")])),
    Case(name="fixed ports",
         body=ports(tcp80=[("", "@port"), ("127.0.0.1", "@port1")], udp81=[("127.0.0.1", "@port")])),
    Case(name="exposed ports", body={"ExposedPorts": {"80/tcp": {}, "5000-5002/udp": {}}}),
    Case(name="no network", body=host(NetworkMode="none")),
    Case(name="network disabled", body={"NetworkDisabled": True}),
    Case(name="the host's network", body={"Image": RICH, **host(NetworkMode="host")}),
    Case(name="the host's network and a host name", body={"Hostname": "box", **host(NetworkMode="host")}),
    Case(name="another's network", body={"Image": RICH, **host(NetworkMode="container:@store")}),
    Case(name="a network", body=host(NetworkMode="@front")),
    Case(name="a network by its id", body=host(NetworkMode="@id-of-front")),
    Case(name="aliases", body={**host(NetworkMode="@front"), **joined("@front", Aliases=["a", "b.c"])}),
    Case(name="static addresses", body={**host(NetworkMode="@front"), **joined(
        "@front", IPAMConfig={"IPv4Address": "@net.78", "IPv6Address": "@net6::78", "LinkLocalIPs": ["169.254.8.8"]})}),
    Case(name="links on a network", body={**host(NetworkMode="@front"), **joined("@front", Links=["@store:db"])}),
    Case(name="links", body=host(Links=["@store:db", "@store"])),
    Case(name="MAC address before 1.44", body={"MacAddress": MAC}, until=(1, 44)),
    Case(name="MAC address on a network before 1.44", body={"MacAddress": MAC, **host(NetworkMode="@front")},
         until=(1, 44), networks=(("@back", {}),)),
    Case(name="MAC address", body={**host(NetworkMode="bridge"), **joined("bridge", MacAddress=MAC)}, since=(1, 44)),
    Case(name="MAC addresses", since=(1, 44), body={**host(NetworkMode="@front"), "NetworkingConfig": {
        "EndpointsConfig": {"@front": {"MacAddress": MAC}, "@back": {"MacAddress": "02:42:0a:63:00:97"}}}}),
    Case(name="options of a network's driver before 1.44", until=(1, 44),
         body={**host(NetworkMode="@front"), **joined("@front", DriverOpts={"a": "b"})}),
    Case(name="options of a network's driver", since=(1, 46), body={**host(NetworkMode="@front"), **joined(
        "@front", DriverOpts={"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"})}),
    Case(name="gateway priority", since=(1, 48), body={**host(NetworkMode="bridge"), "NetworkingConfig": {
        "EndpointsConfig": {"bridge": {"GwPriority": 1}, "@back": {"GwPriority": 7}}}}),
    Case(name="three networks", body=host(NetworkMode="@front"),
         networks=(("@back", {"Aliases": ["x"]}), ("bridge", {}))),
    Case(name="a static address on the second", body=host(NetworkMode="bridge"),
         networks=(("@front", {"IPAMConfig": {"IPv4Address": "@net.79"}, "Aliases": ["second"]}),)),
    Case(name="names",
         body=host(Dns=["192.0.2.1"], DnsSearch=["."], DnsOptions=["rotate"], ExtraHosts=["h:192.0.2.2"])),
    Case(name="another's PIDs", body=host(PidMode="container:@store")),
    Case(name="the host's PIDs", body=host(PidMode="host")),
    Case(name="another's shared memory", body=host(IpcMode="container:@store")),
    Case(name="the host's shared memory", body=host(IpcMode="host")),
    Case(name="shared memory", body=host(IpcMode="shareable", ShmSize=1 << 20)),
    Case(name="no shared memory", body=host(IpcMode="none")),
    Case(name="privileged", body=host(Privileged=True), refusable=True),
    Case(name="all capabilities", body=host(CapAdd=["ALL"], CapDrop=["SYS_ADMIN"]), refusable=True),
    Case(name="capabilities", body=host(CapAdd=["SYS_PTRACE", "CAP_SYS_NICE"], CapDrop=["MKNOD"])),
    Case(name="no capabilities",
         body={"User": "1000", **host(CapDrop=["ALL"], SecurityOpt=["no-new-privileges:true"])}),
    Case(name="a profile", body=host(SecurityOpt=[f"seccomp={PROFILE}", "label=disable"])),
    Case(name="no profile", body=host(SecurityOpt=["seccomp=unconfined", "apparmor=unconfined"])),
    Case(name="the built-in profile", body=host(SecurityOpt=["seccomp=builtin"]), since=(1, 42)),
    Case(name="paths unmasked", body=host(MaskedPaths=[], ReadonlyPaths=[])),
    Case(name="paths masked", body=host(MaskedPaths=["/proc/kcore"], ReadonlyPaths=["/proc/sys"])),
    Case(name="the host's user namespace", body=host(UsernsMode="host")),
    Case(name="cgroup namespace", body=host(CgroupnsMode="private")),
    Case(name="memory", body=host(Memory=64 << 20, MemoryReservation=32 << 20, MemorySwap=-1, MemorySwappiness=10)),
    Case(name="memory without a killer", body=host(Memory=64 << 20, OomKillDisable=True, OomScoreAdj=300)),
    Case(name="processors", body=host(
        CpuShares=512, CpuPeriod=50_000, CpuQuota=25_000, CpusetCpus="0", CpusetMems="0")),
    Case(name="part of a processor", body=host(NanoCpus=250_000_000, PidsLimit=40, BlkioWeight=300), refusable=True),
    Case(name="limits", body=host(Ulimits=[
        {"Name": "nofile", "Soft": 99, "Hard": 199}, {"Name": "core", "Soft": 0, "Hard": 0}])),
    Case(name="a cgroup parent", body=host(CgroupParent="/@prefix")),
    Case(name="kernel settings", body=host(Sysctls={
        "net.ipv4.ip_forward": "0", "net.ipv4.ip_unprivileged_port_start": "80"})),
    Case(name="devices", body=host(DeviceCgroupRules=["c 1:3 r"], Devices=[
        {"PathOnHost": "/dev/null", "PathInContainer": "/dev/nothing", "CgroupPermissions": "r"}])),
    Case(name="a GPU", body=host(DeviceRequests=[
        {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["0"], "Capabilities": [["gpu"]], "Options": {"a": "b"}}
        ]), running=False),
    Case(name="groups", body={"User": "1000", **host(GroupAdd=["10", "20"])}),
    Case(name="read-only", body=host(ReadonlyRootfs=True)),
    Case(name="an init", body=host(Init=True)),
    Case(name="restarted always", body=host(RestartPolicy={"Name": "always"})),
    Case(name="restarted unless stopped", body=host(RestartPolicy={"Name": "unless-stopped"})),
    Case(name="no log", body=host(LogConfig={"Type": "none", "Config": {}})),
    Case(name="another log", body=host(LogConfig={"Type": "local", "Config": {"max-size": "1m", "max-file": "3"}})),
    Case(name="what only clients use", body=host(ContainerIDFile="/x.cid", ConsoleSize=[24, 80], Runtime="runc")),
    Case(name="annotations", body=host(Annotations={"a": "b"}), since=(1, 43)),
    Case(name="start interval", since=(1, 44),
         body={"Healthcheck": {"Test": ["CMD", "true"], "StartInterval": 2_000_000_000, "StartPeriod": 5_000_000_000}}),
    Case(name="an image as a mount", since=(1, 48),
         body=host(Mounts=[{"Type": "image", "Source": RICH, "Target": "/i"}])),
    Case(name="part of a volume", since=(1, 45),
         body=host(Mounts=[volume("/v", "@named", VolumeOptions={"Subpath": "."})])),
    Case(name="a bind mount, not what is in it", since=(1, 44), body=host(Mounts=[{
        "Type": "bind", "Source": "@folder", "Target": "/b", "ReadOnly": True, "BindOptions": {
            "NonRecursive": True, "CreateMountpoint": True}}])),
    Case(name="never started", running=False, body={"Image": RICH, **ports(tcp80=[("", "")]), "Volumes": {"/a": {}}}),
    Case(name="never started, on networks", running=False, body={**host(NetworkMode="@front"), **joined(
        "@front", IPAMConfig={"IPv4Address": "@net.80"}, Aliases=["z"])}, networks=(("@back", {"Aliases": ["y"]}),)),
]  # fmt: skip
