"""etcd, kube-apiserver and kubelet as one static program, out of Go modules: no registry of images is needed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from debugrun.toolbox import rootfs
from tests.host.state import HostError, folder

VERSION = "1.34.4"  # of Kubernetes; hyperkube/go.mod pins it with all that it is made of
OLDEST_GO = (1, 24)  # what hyperkube/go.mod asks for
SOURCES = Path(__file__).with_name("hyperkube")
PROGRAMS = ("etcd", "kube-apiserver", "kubelet")
GO_SUITE, GO_PACKAGE, GO_ROOT = "trixie", "golang-1.24-go", "usr/lib/go-1.24"  # Debian 12's own is too old
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def hyperkube() -> Path:
    """The program, built when it is missing: about seven minutes on two free cores, 20 s with Go's cache filled.

    Raises HostError: no Go, or the modules are out of reach.
    """
    home = folder() / "kubernetes"
    home.mkdir(exist_ok=True)
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
    program = home / f"hyperkube-{VERSION}-{digest.hexdigest()[:12]}"
    if not program.exists():
        print(f"kubernetes: building {VERSION}", file=sys.stderr, flush=True)
        _build(_go(), program)
    return program


def _build(go: Path, program: Path) -> None:
    words = {"gitVersion": f"v{VERSION}", "gitMajor": "1", "gitMinor": VERSION.split(".")[1]}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = ["-s", "-w", *(f"-X {package}.{key}={word}" for key, word in words.items() for package in packages)]
    made = program.with_suffix(".new")
    done = subprocess.run(
        [go, "build", "-trimpath", "-tags", "providerless", "-ldflags", " ".join(flags), "-o", made, "."],
        cwd=SOURCES,
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        raise HostError("Kubernetes was not built; try: go mod download in tests/host/kubernetes/hyperkube")
    made.rename(program)


def _go() -> Path:
    """A Go that is new enough: the machine's, else Debian 13's, unpacked and not installed."""
    found = shutil.which("go")
    if found is not None:
        said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=True, cwd="/").stdout
        numbers = re.match(r"go(\d+)\.(\d+)", said)
        if numbers and (int(numbers[1]), int(numbers[2])) >= OLDEST_GO:
            return Path(found)
    root = folder() / "roots" / "go"
    if not (root / "complete").exists():
        _unpack(root)
    return root / GO_ROOT / "bin/go"


def _unpack(root: Path) -> None:
    mirror = rootfs.mirror()
    if mirror is None:
        needed = ".".join(map(str, OLDEST_GO))
        raise HostError(f"Go {needed} is needed to build Kubernetes, and this is no Debian; try: install Go {needed}")
    print(f"kubernetes: unpacking Go of {GO_SUITE}", file=sys.stderr, flush=True)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    archive = rootfs.Archive(mirror=mirror, suite=GO_SUITE, architecture=ARCHITECTURES[platform.machine()])
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        debs = rootfs.download(archive, (GO_PACKAGE,), Path(scratch) / "apt")
        with (Path(scratch) / "tar").open("wb") as out:
            rootfs.write(debs, out)
        subprocess.run(["tar", "-xf", Path(scratch) / "tar", "-C", root], check=True)
    (root / "complete").touch()
