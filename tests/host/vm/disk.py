"""The test machine's disk: a stock Debian kernel, its Docker, Python and the images of toolbox and targets.

Everything comes from Debian packages, unpacked without their maintainer scripts; what those would do is done here.
The kernel is the point: unlike the one that runs the tests it may have Yama, AppArmor, cgroup v2 and Debian's own
levels of perf_event_paranoid. Made once for each recipe, and kept in the state folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import lzma
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

from debugrun.toolbox import rootfs
from tests.host.state import HostError, folder

SUITE = "trixie"
ARCHITECTURES = {"x86_64": "amd64"}
PACKAGES = ("apparmor", "busybox-static", "docker.io", "linux-image-cloud-amd64", "python3", "tini")
MODULES = ("virtio_pci", "virtio_blk", "virtio_rng", "crc32c_generic", "ext4", "overlay")
# What debugrun stands on, pure Python all of it: another version of Python runs it as well.
PYTHON = ("certifi", "charset-normalizer", "docker", "idna", "pexpect", "platformdirs", "ptyprocess", "requests",
          "typer", "click", "rich", "markdown-it-py", "mdurl", "pygments", "shellingham", "typing_extensions",
          "annotated-doc", "urllib3")  # fmt: skip
SIZE = "4G"  # sparse
HERE = Path(__file__).parent
INSIDE = "usr/lib/debugrun"
# A daemon that only takes images in: namespaces of its own, and whatever it starts ends with it.
LOADER = """
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
for each in proc sys dev; do mount --rbind "/$each" "$each"; done
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p run/meeting run/old
mount --bind "$2" run/meeting
pivot_root . run/old
exec chroot . sh -c 'umount -l /run/old && exec dockerd "$@"' dockerd --bridge=none --iptables=false \
  --ip6tables=false --storage-driver=overlay2 --host unix:///run/meeting/d.sock
"""
LOADS_WITHIN = 60.0  # seconds for that daemon to answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """What a machine is started with."""

    image: Path
    kernel: Path
    initrd: Path


def have(engine: docker.APIClient, images: Sequence[str]) -> Disk:
    """The disk with these images of `engine`, made when there is none of that recipe. Raises HostError."""
    home = folder() / "vm"
    home.mkdir(exist_ok=True)
    ids = [str(engine.inspect_image(name)["Id"]) for name in images]  # type: ignore[no-untyped-call]
    place = home / digest(ids)
    disk = Disk(image=place / "disk", kernel=place / "kernel", initrd=place / "initrd")
    with (home / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if disk.image.exists():
            return disk
        for old in home.iterdir():
            if old.is_dir():  # a machine that still runs on it keeps what it has opened
                shutil.rmtree(old)
        place.mkdir()
        with tempfile.TemporaryDirectory(prefix="making.", dir=home) as scratch:
            _make(disk, Path(scratch), engine, images)
    return disk


def digest(images: Sequence[str]) -> str:
    """A hash of all that decides what the disk holds, but for the versions in the archive."""
    programs = [path.read_bytes() for path in (HERE / "disk.py", HERE / "init", HERE / "initramfs")]
    versions = [importlib.metadata.version(name) for name in _installed()]
    return hashlib.sha256(repr((programs, versions, sorted(images))).encode()).hexdigest()[:12]


def _installed() -> list[str]:
    names = {each.metadata["Name"].lower().replace("_", "-") for each in importlib.metadata.distributions()}
    return [name for name in PYTHON if name.lower().replace("_", "-") in names]


def _make(disk: Disk, scratch: Path, engine: docker.APIClient, images: Sequence[str]) -> None:
    if os.geteuid() != 0:
        raise HostError("the test machine's disk is made as root; try: sudo make test-host")
    machine, mirror = platform.machine(), rootfs.mirror()
    if mirror is None or machine not in ARCHITECTURES:
        raise HostError(f"the test machine is made of Debian packages, on x86_64: not here ({machine})")
    root = scratch / "root"
    began = time.monotonic()
    say(f"downloading and unpacking {len(PACKAGES)} packages of Debian {SUITE} and their dependencies")
    debs = rootfs.download(
        rootfs.Archive(mirror=mirror, suite=SUITE, architecture=ARCHITECTURES[machine]), PACKAGES, scratch / "apt"
    )
    _unpack(debs, root, scratch)
    shutil.rmtree(scratch / "apt")
    say("preparing kernel and Python")
    version = _kernel(root, disk)
    _initrd(root, version, disk)
    _python(root)
    say(f"loading {len(images)} images")
    _load(root, engine, images)
    say("writing the disk")
    partial = disk.image.with_suffix(".partial")
    _run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", root, partial, SIZE)
    partial.replace(disk.image)
    say(f"the disk is made, in {time.monotonic() - began:.0f} s")


def _unpack(debs: Sequence[Path], root: Path, scratch: Path) -> None:
    path = scratch / "root.tar"
    with path.open("wb") as out:
        rootfs.write(debs, out)
    with tarfile.open(path) as tar:
        tar.extractall(root, filter="fully_trusted")  # noqa: S202 - Debian packages, by apt
    path.unlink()
    for name in ("mnt", "run", "tmp", "var/lib", "usr/local/bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/run").symlink_to("/run")
    (root / "etc/group").write_text("root:x:0:\ndocker:x:999:\nnogroup:x:65534:\n")
    _run("chroot", root, "/usr/bin/busybox", "--install", "-s", "/usr/local/bin")
    for name in ("init", "initramfs"):
        target = root / INSIDE / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(HERE / name, target)
        target.chmod(0o755)


def _kernel(root: Path, disk: Disk) -> str:
    """The kernel's version; the kernel itself next to the disk."""
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    shutil.move(kernel, disk.kernel)
    version = kernel.name.removeprefix("vmlinuz-")
    _run("chroot", root, "/usr/sbin/depmod", version)
    return version


def _initrd(root: Path, version: str, disk: Disk) -> None:
    """Modules for the disk, in an order in which they load, and busybox."""
    tree = root / "initrd"
    for name in ("bin", "dev", "modules", "proc", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", tree / "bin")
    for name in ("sh", "cat", "insmod", "mount", "poweroff", "sleep", "switch_root"):
        (tree / "bin" / name).symlink_to("busybox")
    shutil.copy(root / INSIDE / "initramfs", tree / "init")
    modules = root / "usr/lib/modules" / version
    order = _load_order((modules / "modules.dep").read_text())
    for path in order:
        content = (modules / path).read_bytes()
        (tree / "modules" / _module(path)).write_bytes(lzma.decompress(content) if path.endswith(".xz") else content)
    (tree / "modules/order").write_text("".join(f"{_module(path)}\n" for path in order))
    pack = "cd /initrd && find . | busybox cpio -o -H newc >/initrd.cpio 2>/dev/null"
    _run("chroot", root, "/usr/bin/busybox", "sh", "-c", f"PATH=/usr/local/bin:/usr/bin; {pack}")
    shutil.move(root / "initrd.cpio", disk.initrd)
    shutil.rmtree(tree)


def _load_order(listing: str) -> list[str]:
    """The modules that are wanted, each after those it depends on: modules.dep(5) lists these nearest first."""
    dependencies = {}
    for line in listing.splitlines():
        path, _, rest = line.partition(":")
        dependencies[_module(path).replace("-", "_")] = [*reversed(rest.split()), path]
    wanted = (path for name in MODULES for path in dependencies.get(name, ()))  # the others are built in
    return list(dict.fromkeys(wanted))


def _module(path: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", path.rsplit("/", 1)[-1])


def _python(root: Path) -> None:
    """The packages that debugrun needs, and everything compiled: that takes minutes in an emulated machine."""
    target = root / INSIDE / "python"
    for name in _installed():
        for path in importlib.metadata.files(name) or ():
            if path.suffix in {".py", ".pem", ".json"} and ".." not in path.parts:
                (target / path.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy(path.locate(), target / path)
    (python,) = (path for path in (root / "usr/lib").glob("python3.*"))
    compiled = (f"/{python.relative_to(root)}", f"/{target.relative_to(root)}")
    _run("chroot", root, "/usr/bin/python3", "-m", "compileall", "-q", *compiled)


def _load(root: Path, engine: docker.APIClient, images: Sequence[str]) -> None:
    """Have the images in the disk's own Docker, by that Docker."""
    with tempfile.TemporaryDirectory(prefix="debugrun-vm.") as meeting, _loader(root, Path(meeting)) as client:
        for name in images:
            with tempfile.TemporaryFile() as saved:
                for chunk in engine.get_image(name):
                    saved.write(chunk)
                saved.seek(0)
                for answer in client.load_image(saved):  # type: ignore[no-untyped-call]
                    if "error" in answer:
                        raise HostError(f"{name} was not loaded: {answer['error']}")


@contextlib.contextmanager
def _loader(root: Path, meeting: Path) -> Iterator[docker.APIClient]:
    apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-ec", LOADER, "loader"]
    with (meeting / "log").open("w") as log:
        process = subprocess.Popen([*apart, root, meeting], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        with contextlib.closing(_answering(process, meeting)) as client:
            yield client
    finally:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        for child in children.split():  # the daemon itself; unshare ends after it
            os.kill(int(child), signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answering(process: subprocess.Popen[bytes], meeting: Path) -> docker.APIClient:
    deadline = time.monotonic() + LOADS_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(DockerException):
            return docker.APIClient(base_url=f"unix://{meeting}/d.sock", version="auto", timeout=300)
        time.sleep(0.1)
    tail = "\n".join((meeting / "log").read_text().splitlines()[-5:])
    raise HostError(f"the disk's Docker does not take images:\n{tail}")


def _run(*words: str | Path) -> None:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise HostError(f"{words[0]} failed: {done.stderr.strip()[-500:]}")


def say(text: str) -> None:
    """Tell the progress."""
    print(f"test-host: {text}", file=sys.stderr, flush=True)
