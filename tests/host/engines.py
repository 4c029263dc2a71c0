"""Other engines beside the one in reach: `python -m tests.host.engines up|down|forget NAME`.

A name is that of a series (`docker-28.5`), with variants behind it: `docker-28.5-rootless`, `docker-28.5-remap`,
`podman-5.8-runc`, `docker-28.5-restore` (live-restore: its containers outlive it). Each comes out of the packages of a
Debian suite, which are unpacked below the state folder once and never installed. `up` prints its DOCKER_HOST; `down`
ends it and deletes its containers and images; `forget` deletes the unpacked programs too. Needs root, and a Debian for
its apt.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

from debugrun.toolbox import rootfs
from tests.host.state import HostError, folder, lane, lanes

BASE = (
    "bash", "busybox-static", "ca-certificates", "coreutils", "fuse-overlayfs", "grep", "iproute2", "iptables", "kmod",
    "mount", "nftables", "procps", "runc", "sed", "slirp4netns", "uidmap", "util-linux",
)  # fmt: skip
DOCKER = ("docker.io", "containerd", "rootlesskit")
PODMAN = (
    "podman", "crun", "conmon", "netavark", "aardvark-dns", "passt", "golang-github-containers-common", "catatonit",
)  # fmt: skip
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
STARTS_WITHIN = 60.0  # seconds
ENDS_WITHIN = 10.0
# A dockerd takes the one before it, and its containerd, for running ones as long as nobody has waited for their end.
AGAIN = 'rm -f /run/docker.pid /run/docker/containerd/containerd.pid; exec "$@"'
MARKER = "DEBUGRUN_TEST_ENGINE"  # in the environment of each of an engine's processes: the folder that it lives in
LONGEST_SOCKET_PATH = 107  # unix(7): sun_path
# Accounts of the engine's own /etc: who a rootless one runs as, and whose ids a remapped one takes.
ACCOUNTS = {
    "passwd": "engine:x:6001:6001::/mnt/engine/user:/bin/sh\ndockremap:x:6000:6000::/:/bin/false\n",
    "group": "engine:x:6001:\ndockremap:x:6000:\n",
    "subuid": "engine:800000:65536\ndockremap:700000:65536\n",
    "subgid": "engine:800000:65536\ndockremap:700000:65536\n",
}
# Where SYS_RESOURCE is missing, Podman's own higher limits can't be set.
PODMAN_LIMITS = '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """What an engine is made of: a Debian suite and its packages."""

    kind: str
    suite: str
    packages: tuple[str, ...]


# sid moves: the name is the version that it had; `version` says what is there.
SERIES = {
    "docker-20.10": Series(kind="docker", suite="bookworm", packages=DOCKER),
    "docker-26.1": Series(kind="docker", suite="trixie", packages=(*DOCKER, "docker-cli")),
    "docker-28.5": Series(kind="docker", suite="sid", packages=(*DOCKER, "docker-cli")),
    "podman-4.3": Series(kind="podman", suite="bookworm", packages=PODMAN),
    "podman-5.4": Series(kind="podman", suite="trixie", packages=(*PODMAN, "containers-storage")),
    "podman-5.8": Series(kind="podman", suite="sid", packages=(*PODMAN, "containers-storage")),
}
VARIANTS = {"docker": ("rootless", "remap", "restore"), "podman": ("rootless", "runc", "crun")}


def up(name: str) -> str:
    """Have that engine running; its DOCKER_HOST. Raises HostError: not here, and what would be needed."""
    series, variants = _parse(name)
    home = _home(name)
    socket = home / "s" / "d.sock"
    host = f"unix://{socket}"
    with _lock(lane() / "engines.lock"):
        if _answers(host):
            return host
        if os.geteuid() != 0:
            raise HostError(f"{name} needs namespaces of its own; try: as root")
        if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
            raise HostError(f"{home} is too long for a socket's path; try: DEBUGRUN_TEST_STATE=/tmp/dt")
        root = _root(series)
        _end(home)
        _prepare(home, series, root, restore="restore" in variants)
        _start(name, home, root, socket, [series.kind, *variants])
    return host


def unpacked(name: str) -> Path:
    """The folder with the programs of that engine, which is not started. Raises HostError."""
    series, _ = _parse(name)
    with _lock(folder() / "engines.lock"):
        return _root(series)


def running(name: str) -> bool:
    """Whether that engine answers."""
    return _answers(f"unix://{_home(name) / 's' / 'd.sock'}")


def restart(name: str, number: signal.Signals) -> None:
    """End the dockerd of a "restore" variant by that signal, and start it again among the containers that it had."""
    home = _home(name)
    (dockerd,) = [pid for pid in _members(home) if _comm(pid) == "dockerd"]
    process = Path(f"/proc/{dockerd}")
    words = [os.fsdecode(each) for each in (process / "cmdline").read_bytes().split(b"\0")[:-1]]
    entries = (os.fsdecode(each).partition("=") for each in (process / "environ").read_bytes().split(b"\0")[:-1])
    environment = {key: value for key, _, value in entries}
    namespace = (process / "ns/mnt").readlink()
    os.kill(dockerd, number)
    deadline = time.monotonic() + STARTS_WITHIN
    while _comm(dockerd) == "dockerd" and not _is_dead(dockerd) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in _members(home):
        if _comm(pid) == "containerd":  # which ends with its dockerd, by its death signal
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    shims = [pid for pid in _members(home) if _comm(pid).startswith("containerd-shim")]
    inside = next(pid for pid in shims if Path(f"/proc/{pid}/ns/mnt").readlink() == namespace)
    with (home / "log").open("a") as log:
        again = subprocess.Popen(
            ["nsenter", "--target", str(inside), "--mount", "--net", "sh", "-c", AGAIN, "sh", *words],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", start_new_session=True,
        )  # fmt: skip
    while not _answers(f"unix://{home / 's' / 'd.sock'}"):
        if again.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join((home / "log").read_text().splitlines()[-5:])
            raise HostError(f"{name} did not start again:\n{tail}")
        time.sleep(0.1)
    again.returncode = 0  # as the first one


def _comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _is_dead(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"
    return True


def down(name: str) -> None:
    """End that engine with everything in it."""
    with _lock(lane() / "engines.lock"):
        _end(_home(name))


def down_all(*, forget: bool = False) -> None:
    """End every engine that was started from here."""
    for each in lanes():
        with _lock(each / "engines.lock"):
            for home in (each / "engines").glob("*"):
                _end(home)
    if forget:
        shutil.rmtree(folder() / "roots", ignore_errors=True)


def _parse(name: str) -> tuple[Series, list[str]]:
    known = next((each for each in SERIES if name == each or name.startswith(f"{each}-")), None)
    if known is None:
        raise HostError(f"no engine {name!r}; try one of: {', '.join(SERIES)}")
    series, variants = SERIES[known], [each for each in name.removeprefix(known).split("-") if each]
    if strange := set(variants) - set(VARIANTS[series.kind]):
        raise HostError(f"{name}: no variant {', '.join(strange)}; try: {', '.join(VARIANTS[series.kind])}")
    return series, variants


def _home(name: str) -> Path:
    return lane() / "engines" / name


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _answers(host: str) -> bool:
    if not Path(host.removeprefix("unix://")).exists():
        return False
    try:
        with contextlib.closing(docker.DockerClient(base_url=host, timeout=10)) as client:
            client.ping()
    except (DockerException, OSError):
        return False
    return True


def _root(series: Series) -> Path:
    """The unpacked programs of a series, which all lanes share."""
    root = folder() / "roots" / f"{series.kind}-{series.suite}"
    with _lock(folder() / "roots.lock"):
        if not (root / "complete").exists():
            _unpack(series, root)
    return root


def _unpack(series: Series, root: Path) -> None:
    mirror = rootfs.mirror()
    if mirror is None:
        raise HostError(f"{series.kind} of {series.suite} comes from Debian packages; try: on a Debian")
    _say(f"unpacking {series.kind} of {series.suite}")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    archive = rootfs.Archive(mirror=mirror, suite=series.suite, architecture=ARCHITECTURES[platform.machine()])
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch, _any_date(Path(scratch)):
        debs = rootfs.download(archive, (*BASE, *series.packages), Path(scratch) / "apt")
        with (Path(scratch) / "tar").open("wb") as out:
            rootfs.write(debs, out)
        subprocess.run(["tar", "-xf", Path(scratch) / "tar", "-C", root], check=True)
    for program in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):  # update-alternatives(1) would make them
            link = root / "usr/sbin" / f"{program}{suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to("xtables-nft-multi")
    for helper in ("newuidmap", "newgidmap"):  # what makes rootless engines work; taken away by rootfs.write
        (root / "usr/bin" / helper).chmod(0o4755)
    (root / "complete").touch()


@contextlib.contextmanager
def _any_date(scratch: Path) -> Iterator[None]:
    """apt takes an archive that was not updated for a while: a frozen sid says that it has expired."""
    (scratch / "apt").mkdir()
    config = scratch / "any-date.conf"
    config.write_text('Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n')
    before = os.environ.get("APT_CONFIG")
    os.environ["APT_CONFIG"] = str(config)
    try:
        yield
    finally:
        del os.environ["APT_CONFIG"]
        if before is not None:
            os.environ["APT_CONFIG"] = before


def _prepare(home: Path, series: Series, root: Path, *, restore: bool) -> None:
    """The engine's folders, and what its /etc has on top of the machine's."""
    for each in ("etc", "work", "data", "s", "user"):
        (home / each).mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)
    (home / "data").chmod(0o711)
    for name, text in ACCOUNTS.items():
        path = Path("/etc") / name
        own = "" if name.startswith("sub") or not path.exists() else path.read_text()
        (home / "etc" / name).write_text(own + text)
    for each in ("s", "user"):
        os.chown(home / each, 6001, 6001)
    if series.kind == "podman":
        shutil.copytree(root / "etc/containers", home / "etc/containers", dirs_exist_ok=True)
        (home / "etc/containers/containers.conf").write_text(PODMAN_LIMITS)
    else:
        (home / "etc/docker").mkdir(exist_ok=True)
        configuration = {"live-restore": True} if restore else {}
        (home / "etc/docker/daemon.json").write_text(json.dumps(configuration))  # never this machine's own


def _start(name: str, home: Path, root: Path, socket: Path, words: list[str]) -> None:
    _say(f"starting {name}")
    script = str(Path(__file__).with_name("start-engine"))
    command = ["unshare", "--mount", "--net", "--propagation", "private", script, str(root), str(home)]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *words, "--"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", MARKER: str(home)},
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + STARTS_WITHIN
    while not _answers(f"unix://{socket}"):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join((home / "log").read_text().splitlines()[-5:])
            _end(home)
            raise HostError(f"{name} did not start:\n{tail}")
        time.sleep(0.1)
    process.returncode = 0  # it is to outlive us: no warning that it still runs


def _end(home: Path) -> None:
    """End what lives in that folder, dead or alive, and delete the folder."""
    if not home.exists():
        return
    socket = home / "s" / "d.sock"
    if _answers(f"unix://{socket}"):
        _remove_containers(f"unix://{socket}")
    deadline = time.monotonic() + ENDS_WITHIN
    number = signal.SIGTERM
    while pids := _members(home):
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(0.2)
    # Its mounts were in a namespace that is gone with its last process.
    shutil.rmtree(home, ignore_errors=True)


def _remove_containers(host: str) -> None:
    with contextlib.closing(docker.APIClient(base_url=host, timeout=60)) as client:
        for each in client.containers(all=True):
            # Killed first: Podman's removal would wait ten seconds for a main process that ignores TERM.
            with contextlib.suppress(DockerException, OSError):
                client.kill(each["Id"])
            with contextlib.suppress(DockerException, OSError):
                client.remove_container(each["Id"], force=True, v=True)


def _members(home: Path) -> set[int]:
    """Processes that carry the marker, with all that descend from them: those of the containers."""
    marker = f"{MARKER}={home}".encode()
    parents: dict[int, int] = {}
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    while children := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= children
    return found


def _say(text: str) -> None:
    print(f"engines: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Do what the arguments say."""
    try:
        match sys.argv[1:]:
            case ["up", name]:
                print(up(name))
            case ["down", name]:
                down(name)
            case ["down"]:
                down_all()
            case ["forget"]:
                down_all(forget=True)
            case _:
                sys.exit(f"usage: python -m tests.host.engines up|down|forget [NAME]; names: {', '.join(SERIES)}")
    except HostError as error:
        sys.exit(f"engines: {error}")


if __name__ == "__main__":
    main()
