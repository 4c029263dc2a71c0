"""Compose v2: this machine's own, else the one binary out of Debian's package, kept in the state folder."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from debugrun.toolbox import rootfs
from tests.host.state import HostError, folder

SUITE = "trixie"
PACKAGE = "docker-compose"
BINARY = "./usr/libexec/docker/cli-plugins/docker-compose"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def command() -> list[str]:
    """The first words of a Compose command line. Raises HostError."""
    own = folder() / "bin/docker-compose"
    for words in (["docker", "compose"], ["docker-compose"], [str(own)]):
        if _is_v2(words):
            return words
    _fetch(own)
    return [str(own)]


def _is_v2(words: list[str]) -> bool:
    if shutil.which(words[0]) is None:
        return False
    done = subprocess.run([*words, "version", "--short"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and not done.stdout.startswith("1.")


def _fetch(target: Path) -> None:
    mirror = rootfs.mirror()
    if mirror is None:
        raise HostError("no Compose here, and no Debian archive to take it from; try: install the Compose plugin")
    print(f"compose: taking it from Debian {SUITE}", file=sys.stderr, flush=True)
    archive = rootfs.Archive(mirror=mirror, suite=SUITE, architecture=ARCHITECTURES[platform.machine()])
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debugrun-") as scratch:
        (deb,) = rootfs.download(archive, [PACKAGE], Path(scratch), dependencies=False)
        with rootfs.members(deb) as source:
            for member in source:
                content = source.extractfile(member) if member.name == BINARY else None
                if content is not None:
                    _install(content.read(), target)


def _install(content: bytes, target: Path) -> None:
    """Complete or not at all: another run may look for it meanwhile."""
    partial = target.with_suffix(".partial")
    partial.write_bytes(content)
    partial.chmod(0o755)
    partial.replace(target)
