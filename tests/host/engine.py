"""The engine for tests and demo: the one in reach, else a private one.

`python -m tests.host.engine up` prints DOCKER_HOST when a private engine is used, nothing when the environment's own
engine answers. `down` ends the private one and keeps its images; `forget` deletes those too.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException, NotFound

from tests.host.state import HostError, lane, lanes

LONGEST_SOCKET_PATH = 107  # unix(7): sun_path
CGROUP = "debugrun-test"  # of each engine, with the number of its folder: several run side by side
CGROUPS = Path("/sys/fs/cgroup")
STARTS_WITHIN = 30.0  # seconds
ENDS_WITHIN = 15.0
# Namespaces of its own: dockerd's bridge, its iptables rules and its mounts never meet those of another engine.
# runc wants a pure cgroup v1 or v2: a hybrid's v2 part goes away in here. Started by nohup or in the background of a
# script, we ignore signals, and so would every process of every container.
START = """
ip link set lo up
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
printf %s "$OWNER" >/run/debugrun-test
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
exec env --default-signal dockerd "$@"
"""


class NoEngineError(HostError):
    """Nothing runs, and nothing that was asked for is broken: a private engine is the answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leader:
    """The private dockerd: its PID, the kernel's start time of that PID, its mount namespace."""

    pid: int
    start: str
    namespace: str


def find() -> str:
    """The engine that runs: the DOCKER_HOST to set, or "" when the environment's own answers. Else HostError."""
    ours = f"unix://{_socket(_home())}"
    host = os.environ.get("DOCKER_HOST")
    if host is not None and host != ours:
        why = _silence(dict(os.environ))
        if why:
            raise HostError(f"DOCKER_HOST={host} does not answer: {why}; try: unset DOCKER_HOST")
        return ""
    why = _silence({key: value for key, value in os.environ.items() if key != "DOCKER_HOST"})
    if not why:
        return ""
    if _silence({"DOCKER_HOST": ours}):
        raise NoEngineError(f"no container engine answers: {why}; try: make engine")
    return ours


def up() -> str:
    """Have an engine, a new private one if need be. Answers as `find`."""
    home = _home()
    with _lock(home):
        try:
            return find()
        except NoEngineError as error:
            _require(str(error))
            _end(home)
            _start(home)
            _remove_containers(home)  # a machine that went down may have left some
        return find()


def down(*, forget: bool = False) -> None:
    """End the private engines of all lanes with all their containers, processes, mounts and cgroups."""
    for home in [each / "engine" for each in lanes() if (each / "engine").exists()]:
        with _lock(home):
            if not _silence({"DOCKER_HOST": f"unix://{_socket(home)}"}):
                _remove_containers(home)
            _end(home)
            if forget:
                shutil.rmtree(home / "data", ignore_errors=True)


def _home() -> Path:
    home = lane() / "engine"
    home.mkdir(exist_ok=True)
    return home


def address() -> str:
    """DOCKER_HOST of this lane's private engine, whether it runs or not."""
    return f"unix://{_socket(_home())}"


def _socket(home: Path) -> Path:
    return home / "d.sock"


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    with (home / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _silence(environment: dict[str, str]) -> str:
    """Why the engine that this environment leads to does not answer; "" when it does."""
    with warnings.catch_warnings():
        # docker-py leaves a socket that it could not connect to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with contextlib.closing(docker.from_env(timeout=10, environment=environment)) as client:
                client.ping()
        except (DockerException, OSError) as error:
            return str(error)
        finally:
            gc.collect()
    return ""


def _require(why: str) -> None:
    """A private engine can be made here, or HostError says what to do."""
    if os.geteuid() != 0:
        raise HostError(f"{why}, as root")
    if len(os.fsencode(_socket(_home()))) > LONGEST_SOCKET_PATH:
        raise HostError(f"{_home()} is too long for a socket's path; try: DEBUGRUN_TEST_STATE=/tmp/dt make test")
    if all(shutil.which(program, path=_path()) for program in ("dockerd", "ip", "ps")):
        return
    if shutil.which("apt-get") is None:
        raise HostError("no container engine answers, and this is no Debian; try: start Docker")
    _say("installing the distribution's docker.io (not started as a service)")
    done = subprocess.run([str(Path(__file__).with_name("install-docker"))], check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise HostError("docker.io could not be installed; try: apt-get install docker.io")


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:/usr/bin:/bin"


def _start(home: Path) -> None:
    _say("starting a private engine")
    (home / "daemon.json").write_text("{}\n")  # never this machine's own configuration
    options = ["--config-file", home / "daemon.json", "--data-root", home / "data", "--exec-root", "/run/docker"]
    options += ["--pidfile", "/run/docker.pid", "--host", f"unix://{_socket(home)}"]
    options += ["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", _group(home)]
    command = ["unshare", "--mount", "--net", "--propagation", "private", "bash", "-ec", START, "dockerd"]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": _path(), "HOME": "/root", "OWNER": str(home)},
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + STARTS_WITHIN
    while _silence({"DOCKER_HOST": f"unix://{_socket(home)}"}):
        if process.poll() is not None or time.monotonic() > deadline:
            _record(home, process.pid)
            _end(home)
            tail = "\n".join((home / "log").read_text().splitlines()[-5:])
            raise HostError(f"the private engine did not start:\n{tail}\ntry: less {home / 'log'}")
        time.sleep(0.05)
    _record(home, process.pid)
    process.returncode = 0  # it is to outlive us: no warning that it still runs


def _record(home: Path, pid: int) -> None:
    """Who the engine is, so that a later run ends it and nothing else."""
    with contextlib.suppress(OSError):
        leader = {"pid": pid, "start": _start_time(pid), "namespace": str(Path(f"/proc/{pid}/ns/mnt").readlink())}
        (home / "leader").write_text(json.dumps(leader))


def _start_time(pid: int) -> str:
    """Field 22 of proc_pid_stat(5); the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _remove_containers(home: Path) -> None:
    with contextlib.closing(docker.DockerClient(base_url=f"unix://{_socket(home)}", timeout=60)) as client:

        def remove(name: str) -> None:
            with contextlib.suppress(NotFound):
                client.api.remove_container(name, force=True, v=True)

        names = [each["Id"] for each in client.api.containers(all=True)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(remove, names))


def _end(home: Path) -> None:
    """End the recorded engine, dead or alive, and what it left."""
    try:
        leader = Leader(**json.loads((home / "leader").read_text()))
    except (FileNotFoundError, ValueError):
        leader = None
    if leader is not None:
        with contextlib.suppress(OSError):
            if _start_time(leader.pid) == leader.start:
                os.kill(leader.pid, signal.SIGTERM)
        deadline = time.monotonic() + ENDS_WITHIN
        while (left := members(leader.namespace, home)) and time.monotonic() < deadline:
            if leader.pid not in left:
                _kill(left)
            time.sleep(0.05)
        _kill(members(leader.namespace, home))
        (home / "leader").unlink()
    _socket(home).unlink(missing_ok=True)
    remove_cgroups(_group(home))


def remove_cgroups(name: str) -> None:
    """Remove the groups of that name, of cgroup v1 or v2, once what they held has ended."""
    for root in (CGROUPS, *CGROUPS.iterdir()):
        for folder, _, _ in os.walk(root / name, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)  # noqa: PTH106 - as os.walk gives it


def _group(home: Path) -> str:
    return f"{CGROUP}-{home.stat().st_ino}"


def members(namespace: str, home: Path) -> set[int]:
    """The processes of that mount namespace if it still is ours: the kernel gives the number of one that is gone anew.

    Another engine of these tests, of another folder, may well have got it.
    """
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            same = str((entry / "ns/mnt").readlink()) == namespace
            if same and (entry / "root/run/debugrun-test").read_text() == str(home):
                found.add(int(entry.name))
    return found


def _kill(pids: set[int]) -> None:
    """Kill these and their children: a container's process has namespaces of its own, its parent is a shim of ours."""
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in children.read_text().split():
                    os.kill(int(child), signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _say(text: str) -> None:
    print(f"engine: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Do what the only argument says."""
    try:
        match sys.argv[1:]:
            case ["up"]:
                print(up())
            case ["down"]:
                down()
            case ["forget"]:
                down(forget=True)
            case _:
                sys.exit("usage: python -m tests.host.engine up|down|forget")
    except HostError as error:
        sys.exit(f"engine: {error}")


if __name__ == "__main__":
    main()
