"""One more engine of this machine's own dockerd, with gVisor's runtime and a TLS port, for as long as it is needed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

from tests.host import remote
from tests.host.engine import START, remove_cgroups
from tests.host.state import HostError, folder

WITHIN = 30.0  # seconds to answer
CGROUP = "debugrun-private"
PORT = 2376  # in a network namespace of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Private:
    """`host` is its unix socket's URL; `tls` what leads a client to its port, from inside of its network namespace."""

    host: str
    pid: int
    tls: dict[str, str]

    @property
    def inside(self) -> list[str]:
        """What to put before a command that is to be in its network namespace."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net"]


def runsc() -> Path:
    """gVisor's runtime, of this machine's Debian. Raises HostError."""
    if found := shutil.which("runsc"):
        return Path(found)
    place = folder() / "runsc"
    program = place / "usr/bin/runsc"
    if not program.exists():
        remote.unpack(("runsc",), place)
    return program


@contextlib.contextmanager
def engine() -> Iterator[Private]:
    """Raises HostError: it can't be had here, and what would be needed."""
    if os.geteuid() != 0 or shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        raise HostError("a second engine needs root and dockerd; try: apt-get install docker.io, as root")
    program = runsc()
    with tempfile.TemporaryDirectory(prefix="private-", dir=folder(), ignore_cleanup_errors=True) as text:
        home = Path(text)
        remote.certificates(home)
        # No network and no cgroups of its own: what a nested machine always has. ptrace needs nothing of the machine.
        arguments = ["--platform=ptrace", "--network=none", "--ignore-cgroups"]
        configuration = {
            "hosts": [f"unix://{home}/d.sock", f"tcp://127.0.0.1:{PORT}"],
            "tlsverify": True,
            "tlscacert": f"{home}/ca.pem",
            "tlscert": f"{home}/server-cert.pem",
            "tlskey": f"{home}/server-key.pem",
            "runtimes": {"runsc": {"path": str(program), "runtimeArgs": arguments}},
        }
        (home / "daemon.json").write_text(json.dumps(configuration))
        process = _start(home)
        try:
            _await(f"unix://{home}/d.sock", process, home / "log")
            way = {
                "DOCKER_HOST": f"tcp://127.0.0.1:{PORT}",
                "DOCKER_TLS_VERIFY": "1",
                "DOCKER_CERT_PATH": text,
            }
            yield Private(host=f"unix://{home}/d.sock", pid=process.pid, tls=way)
        finally:
            _end(f"unix://{home}/d.sock", process)


def _start(home: Path) -> subprocess.Popen[bytes]:
    words = ["--config-file", home / "daemon.json", "--data-root", home / "data", "--exec-root", "/run/docker"]
    words += ["--pidfile", "/run/docker.pid", "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", CGROUP]
    command = ["unshare", "--mount", "--net", "--propagation", "private", "bash", "-ec", START, "dockerd"]
    with (home / "log").open("w") as log:
        return subprocess.Popen(
            [*command, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": "/root", "OWNER": str(home)},
            cwd="/",
            start_new_session=True,
        )


def _end(host: str, process: subprocess.Popen[bytes]) -> None:
    """Remove its containers, and with them all processes but its own; then end it and what it made of cgroups."""
    with (
        contextlib.suppress(DockerException, OSError),
        contextlib.closing(docker.APIClient(host, timeout=60)) as client,
    ):
        for each in client.containers(all=True):
            with contextlib.suppress(DockerException, OSError):
                client.remove_container(each["Id"], force=True, v=True)
    process.terminate()
    try:
        process.wait(WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    remove_cgroups(CGROUP)


def _await(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        if Path(host.removeprefix("unix://")).exists():
            with contextlib.suppress(DockerException, OSError), contextlib.closing(docker.APIClient(host)) as client:
                client.ping()
                return
        time.sleep(0.1)
    raise HostError("the second engine did not start:\n" + "\n".join(log.read_text().splitlines()[-5:]))


def copy_images(names: tuple[str, ...], source: docker.APIClient, sink: docker.APIClient) -> None:
    """Images from one engine to another."""
    for name in names:
        sink.load_image(b"".join(source.get_image(name)))  # type: ignore[no-untyped-call]
