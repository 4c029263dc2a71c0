"""A root file system out of Debian packages, with no registry, no root and no maintainer script.

apt resolves and downloads with directories of our own; the packages' files go straight from the .deb archives into
one tar. So it works for any architecture, and nothing on this machine changes.
"""

from __future__ import annotations

import io
import posixpath
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from debugrun.errors import EngineError
from debugrun.values import dataclass

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# https://wiki.debian.org/UsrMerge: in the archive until trixie some packages still ship these at the top.
_TOP = ("bin", "sbin", "lib", "lib64")
_MERGED = (*_TOP, "lib32", "libx32")
DOCUMENTATION = re.compile(r"usr/share/(doc|doc-base|man|info|locale|lintian|bash-completion|bug|menu|pixmaps)/")
# Programs of this mode make processes that nobody of their uid can get into: see data/toolbox/finish.py.
EXECUTABLE_ONLY = 0o111
_ELF = b"\x7fELF"
_FOLDERS = {
    "dev": 0o755,
    "etc": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
}
_ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """A Debian archive to take packages from. `architecture` as Debian and Go say it: amd64, arm64."""

    mirror: str
    suite: str
    architecture: str


def mirror() -> str | None:
    """URI of the Debian archive that this machine's apt uses; None where there is none (not a Debian)."""
    if shutil.which("apt-get") is None or not KEYRING.exists():
        return None
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in listing.splitlines():
        uri, _, component = line.partition(" ")
        if component == "main" and uri.rstrip("/").endswith("/debian"):
            return uri
    return None


def download(archive: Archive, packages: Sequence[str], folder: Path, *, dependencies: bool = True) -> list[Path]:
    """The .deb files of the packages, with what they depend on. `folder` is apt's scratch space.

    Raises EngineError with apt's own first error line.
    """
    config = _configure(archive, folder)
    _apt(config, folder, "update")
    if dependencies:
        _apt(config, folder, "install", "--download-only", "--yes", "--no-install-recommends", "--", *packages)
        return sorted((folder / "cache/archives").glob("*.deb"))
    _apt(config, folder, "download", "--", *packages)
    return sorted(folder.glob("*.deb"))


def _configure(archive: Archive, folder: Path) -> Path:
    """apt.conf(5): directories of our own; the machine's proxies and the like stay in force."""
    for each in ("state/lists/partial", "cache/archives/partial"):
        (folder / each).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources").write_text(f"deb [signed-by={KEYRING}] {archive.mirror} {archive.suite} main\n")
    config = folder / "apt.conf"
    config.write_text(
        f"""#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "{archive.architecture}";
APT::Architectures {{ "{archive.architecture}"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::Etc::SourceList "{folder}/sources";
Dir::Etc::SourceParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""
    )
    return config


def _apt(config: Path, folder: Path, *words: str) -> None:
    command = ["apt-get", "--quiet=2", "--config-file", str(config), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E:")] or ["no reason given"]
        raise EngineError("apt", f"apt-get {words[0]}: {errors[0]}", "apt-get update")


def write(
    debs: Sequence[Path], out: IO[bytes], *, leave_out: re.Pattern[str] = DOCUMENTATION, closed: bool = False
) -> None:
    """Write the packages' files as one tar: usr merged, nothing set-user-ID, without what `leave_out` matches.

    busybox is its shell, when it is among the packages. `closed`: nobody can read its programs. Raises EngineError
    for a damaged package.
    """
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as target:
        seen = set(_write_frame(target))
        for deb in debs:
            with members(deb) as source:
                for member in source:
                    name = merged(member.name)
                    if not name or name in seen or leave_out.match(name):
                        continue
                    seen.add(name)
                    member.name, member.mode = name, member.mode & 0o1777
                    if member.islnk():
                        member.linkname = merged(member.linkname)
                    member.pax_headers = {}
                    file = source.extractfile(member) if member.isreg() else None
                    if closed and file is not None and member.mode & 0o111 and ".so" not in posixpath.basename(name):
                        head = file.read(len(_ELF))
                        member.mode = EXECUTABLE_ONLY if head == _ELF else member.mode
                        file = cast("IO[bytes]", _After(head, file))
                    target.addfile(member, file)


class _After:
    """A file whose beginning was read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int) -> bytes:
        """As a file's."""
        given, self._head = self._head[:size], self._head[size:]
        return given + self._rest.read(size - len(given))


def merged(name: str) -> str:
    """A package's file name, relative to the root and below usr where the top is only a link."""
    name = posixpath.normpath(f"/{name}").lstrip("/")
    return f"usr/{name}" if name.split("/", 1)[0] in _MERGED else name


@contextmanager
def members(deb: Path) -> Iterator[tarfile.TarFile]:
    """The package's files, as a tar to be read once from its start. Raises EngineError for a damaged package."""
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        with tarfile.open(fileobj=process.stdout, mode="r|") as source:
            yield source
        process.stdout.read()
    if process.returncode != 0:
        raise EngineError("deb", f"cannot unpack {deb.name}", "the same command again: the download may be damaged")


def _write_frame(target: tarfile.TarFile) -> Iterator[str]:
    """What no package ships or a maintainer script would make. Yields the names written."""
    folders = {**_FOLDERS, **{f"usr/{name}": 0o755 for name in _TOP}}
    links = {**{name: f"usr/{name}" for name in _TOP}, "usr/bin/sh": "busybox"}
    for name, mode in folders.items():
        yield _add(target, name, tarfile.DIRTYPE, mode)
    for name, link in links.items():
        yield _add(target, name, tarfile.SYMTYPE, 0o777, link=link)
    for name, text in _ACCOUNTS.items():
        yield _add(target, name, tarfile.REGTYPE, 0o644, text=text)


def _add(  # noqa: PLR0913 - a tar member has that many properties
    target: tarfile.TarFile, name: str, kind: bytes, mode: int, *, link: str = "", text: str = ""
) -> str:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size = kind, mode, link, len(text)
    target.addfile(info, io.BytesIO(text.encode()))
    return name
