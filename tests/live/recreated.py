"""A small world on an engine, in which containers are made, and made again from their blueprints."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, NotFound

from debugrun.core.rebuild.blueprint import Blueprint, blueprint
from debugrun.engine.stream import Frames, Stream

ANSWERS_WITHIN = 60.0  # seconds between two pieces of a command's output
Json = dict[str, Any]


class EngineRefusal(Exception):  # noqa: N818 - a refusal is no error of a test
    """The engine said no to a request."""


BUSYBOX_IMAGE, BUSYBOX = "debugrun-test/full", "/bin/busybox"
APPLETS = "cat env grep hostname httpd id ip ls readlink rm sh sleep sort touch tr true wget".split()  # noqa: SIM905
FILES = {
    "bin/pause": (0o755, b"#!/bin/sh\nexec sleep 86400\n"),
    "data/seed": (0o644, b"seed\n"),
    "srv/index.html": (0o644, b"hello\n"),
    "etc/passwd": (0o644, b"root:x:0:0:root:/:/bin/sh\n"),
    "etc/group": (0o644, b"root:x:0:\n"),
}
RICH = {
    "Cmd": ["/bin/pause"],
    "Entrypoint": ["env"],
    "Env": ["A=1", "B=2"],
    "ExposedPorts": {"80/tcp": {}, "81/udp": {}},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 7_000_000_000, "Retries": 4},
    "Labels": {"x": "y", "a.b": "c"},
    "StopSignal": "SIGINT",
    "User": "1000",
    "Volumes": {"/data": {}},
    "WorkingDir": "/srv",
}
# What a container is like from inside, without what is new in each: device numbers, mount ids, its own address.
LOOK = r"""exec 2>/dev/null
echo "host $(hostname) $(cat /proc/sys/kernel/domainname)"
readlink /proc/1/cwd
for file in cmdline environ; do tr '\0' '\n' </proc/1/$file | grep -v ^HOSTNAME= | sort; done
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/1/status
cat /proc/1/limits /proc/1/oom_score_adj /etc/resolv.conf
while read -r address names; do
    case " $names " in *" $HOSTNAME "*) ;; *) echo "known $address" $(echo "$names" | tr ' ' '\n' | sort) ;; esac
done </etc/hosts | sort
cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_unprivileged_port_start
ls /dev
while read -r _ _ _ _ point options rest; do
    rest=" $rest"
    shared=${rest%% - *}
    type=${rest#* - }
    echo "mount $point $options${shared%%:*} ${type%% *}"
done </proc/self/mountinfo | sort
for folder in "$@"; do echo "in $folder: $(ls -a "$folder") $(cat "$folder/kept")"; done
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Images, networks, volumes and a container `store` to refer to, all of one prefix.

    `address` is the engine's DOCKER_HOST; "": the default one.
    """

    client: docker.APIClient
    address: str
    prefix: str
    names: Mapping[str, str]

    @property
    def api(self) -> tuple[int, int]:
        major, minor = str(self.client.api_version).split(".")
        return int(major), int(minor)

    def told(self, value: Any) -> Any:  # noqa: ANN401 - the engine's JSON
        """The same with the names of this world for those that begin with @."""
        text = json.dumps(value)
        for name in sorted(self.names, key=len, reverse=True):
            text = text.replace(f"@{name}", self.names[name])
        return json.loads(text)

    def create(self, name: str, body: Mapping[str, Any], networks: Any = ()) -> str:  # noqa: ANN401 - the same
        created = self._post("containers/create", body, name=name)
        for network, endpoint in networks:
            self._post(f"networks/{network}/connect", {"Container": name, "EndpointConfig": endpoint})
        return str(created["Id"])

    def _post(self, path: str, body: Mapping[str, Any], **params: str) -> Json:
        """As it is: docker-py's own methods make something else of it."""
        address = f"{self.client.base_url}/v{self.client.api_version}/{path}"
        answer = self.client.post(address, json=body, params=params, timeout=60)
        if answer.status_code >= 400:
            raise EngineRefusal(f"{path}: {answer.status_code} {answer.text}")
        return dict(answer.json()) if answer.text else {}

    def start(self, name: str) -> None:
        self._post(f"containers/{name}/start", {})

    def inspect(self, name: str) -> Json:
        return dict(self.client.inspect_container(name))

    def image(self, ref: str) -> Json:
        return dict(self.client.inspect_image(ref))  # type: ignore[no-untyped-call]

    def plan(self, container: Json) -> Blueprint:
        """Its blueprint, from the engine's own answers."""
        others = [self.inspect(f"{self.prefix}-store")]
        volumes = self.client.volumes()["Volumes"] or []
        image = self.image(container["Image"])
        return blueprint(container, image, api=self.api, others=others, volumes=volumes)

    def replace(self, name: str, plan: Blueprint, *, running: bool) -> None:
        """Create, stop the old one, give over the name, start."""
        self.create(f"{name}-new", plan.body, plan.networks)
        if running:
            self.client.stop(name, timeout=0)
        self.client.rename(name, f"{name}-old")
        self.client.rename(f"{name}-new", name)
        if running:
            self.start(name)

    def run(self, name: str, command: list[str]) -> str:
        """A command in a container, as root: what it said."""
        made = self.client.exec_create(name, command, user="0")
        said, frames = b"", Frames()
        with contextlib.closing(Stream(self.client.exec_start(made["Id"], socket=True))) as stream:
            while stream.wait(ANSWERS_WITHIN):  # an engine may never end the connection when the container dies
                data = stream.receive()
                if data == b"":
                    return said.decode()
                said += b"".join(part for _, part in frames.feed(data or b""))
        raise AssertionError(f"{command[0]} in {name} did not end: {said!r}")

    def look(self, container: Json) -> list[str]:
        """What it is like inside, line by line; the volumes' content too."""
        folders = sorted(each["Destination"] for each in container["Mounts"] if each["Type"] == "volume")
        return self.run(container["Name"].removeprefix("/"), ["sh", "-c", LOOK, "sh", *folders]).splitlines()

    def until_healthy(self, name: str) -> str:
        deadline = time.monotonic() + 30
        while (status := self.inspect(name)["State"]["Health"]["Status"]) == "starting" and time.monotonic() < deadline:
            time.sleep(0.1)
        return str(status)

    def remove(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(NotFound):
                self.client.remove_container(name, force=True, v=True)


@contextlib.contextmanager
def worlds(client: docker.APIClient, busybox: bytes, address: str) -> Iterator[World]:
    prefix = f"debugrun-{uuid.uuid4().hex[:8]}"
    net, net6 = f"10.{89 + uuid.uuid4().int % 90}.{uuid.uuid4().int % 250}", f"fd{uuid.uuid4().hex[:2]}:89"
    images = (f"{prefix}:plain", f"{prefix}:rich")
    names = {each: f"{prefix}-{each}" for each in ("store", "front", "back", "named", "other", "third", "made")}
    try:
        client.import_image(image(busybox), repository=prefix, tag="plain", changes=['CMD ["/bin/pause"]'])
        commit(client, images[0], RICH, images[1])
        pools = [docker.types.IPAMPool(subnet=f"{net}.0/24"), docker.types.IPAMPool(subnet=f"{net6}::/64")]
        ipam = docker.types.IPAMConfig(pool_configs=pools)
        front = client.create_network(names["front"], ipam=ipam, enable_ipv6=True)["Id"]
        client.create_network(names["back"])
        base = 20000 + uuid.uuid4().int % 9000
        numbers = {
            "range": f"{base}-{base + 9}",
            "other-range": f"{base + 20}-{base + 29}",
            "port1": str(base + 11),
            "port": str(base + 10),
        }
        places = {"net": net, "net6": net6, "folder": "/dev/shm", "prefix": prefix}  # noqa: S108 - there on every host
        more = {"id-of-front": front, "plain": images[0], "rich": images[1]}
        world = World(client=client, address=address, prefix=prefix, names={**names, **numbers, **places, **more})
        store = {"Image": images[0], "Hostname": "storage", "Volumes": {"/stored": {}}}
        world.create(
            names["store"], {**store, "HostConfig": {"Binds": [f"{prefix}-kept:/kept"], "IpcMode": "shareable"}}
        )
        world.start(names["store"])
        yield world
    finally:
        sweep(client, prefix, images)


def sweep(client: docker.APIClient, prefix: str, images: tuple[str, ...]) -> None:
    """Remove all that bears the prefix."""
    for each in client.containers(all=True, filters={"name": prefix}):
        client.remove_container(each["Id"], force=True, v=True)
    for each in client.networks(names=[prefix]):
        client.remove_network(each["Id"])
    for each in client.volumes(filters={"name": prefix})["Volumes"] or []:
        client.remove_volume(each["Name"])
    for each in images:
        with contextlib.suppress(NotFound, APIError):
            client.remove_image(each, force=True)


def commit(client: docker.APIClient, base: str, config: Mapping[str, Any], reference: str) -> None:
    """An image with that Config, which an import cannot give it."""
    made = client.create_container_from_config({**config, "Image": base}, None)["Id"]  # type: ignore[no-untyped-call]
    repository, tag = reference.split(":")
    client.commit(made, repository, tag)
    client.remove_container(made, v=True)


def image(busybox: bytes) -> bytes:
    """A tar of a root file system with a shell, a web server and some files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in ("bin", "data", "dev", "etc", "proc", "srv", "sys", "tmp"):
            tar.addfile(member(folder, tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755))
        for name, (mode, content) in {**FILES, "bin/busybox": (0o755, busybox)}.items():
            info = member(name, tarfile.REGTYPE, mode)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for applet in APPLETS:
            link = member(f"bin/{applet}", tarfile.SYMTYPE, 0o777)
            link.linkname = "busybox"
            tar.addfile(link)
    return archive.getvalue()


def member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    return info


def busybox_of(client: docker.APIClient) -> bytes:
    """The static busybox that the test images are made with."""
    made = client.create_container(BUSYBOX_IMAGE, "true")["Id"]
    try:
        stream, _ = client.get_archive(made, BUSYBOX)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            content = tar.extractfile("busybox")
            assert content is not None
            return content.read()
    finally:
        client.remove_container(made, v=True)
