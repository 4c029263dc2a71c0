"""Which programs a container holds, without running anything in it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from debugrun.core.know import inspection, kinds
from debugrun.core.know.facts import ContainerFacts
from debugrun.core.know.json_access import Json
from debugrun.engine import ownership
from debugrun.observe import hostproc
from debugrun.values import dataclass

if TYPE_CHECKING:
    from debugrun.engine.engine import Engine

ABREAST = 7  # requests: half of two programs in the usual folders; with the scout's, sshd_config(5) MaxSessions is 10
_LINKS = 40  # path_resolution(7): as many links as the kernel follows


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The programs of a container as (name, path); its shell; whether its image surely holds the first and a shell."""

    tools: tuple[tuple[str, str], ...]
    shell: str | None
    in_image: bool


def find(engine: Engine, container: ContainerFacts, inspected: Json, binaries: tuple[str, ...], *, local: bool) -> Held:
    """Look for the binaries and a shell: in our own /proc, else through the engine. Without binaries for nothing."""
    if not binaries:
        return Held(tools=(), shell=None, in_image=False)
    names, folders = (*binaries, "sh"), inspection.search_path(inspected)
    seen = _seen(container.pid, names, folders) if local else None
    if seen is None:
        found = _ask(engine, container.id, names, folders)
    else:
        found = {name: program.path for name, program in seen.items()}
    tools = tuple((name, found[name]) for name in binaries if name in found)
    needed = [(seen or {}).get(name) for name in (binaries[0], "sh")]
    holds = all(program is not None and _in_image(container.pid, program.real) for program in needed)
    return Held(tools=tools, shell=found.get("sh"), in_image=holds)


def missing(engine: Engine, image: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Which of these programs an image lacks: seen in a container that is made of it and never started."""
    name = f"debugrun-look-{os.urandom(5).hex()}"
    labels = ownership.marked(kinds.LOOK, name, {kinds.LABEL_TOOL: names[0]})
    with ownership.creating(engine, name, labels), engine.asking("look into", image):
        made = engine.created(engine.client.create_container(image, ["sh"], name=name, labels=labels))
    try:
        found = _ask(engine, made, names, inspection.search_path(engine.inspect_container(made)))
    finally:
        engine.remove(made, force=True)
    return tuple(each for each in names if each not in found)


def _ask(engine: Engine, container: str, names: Iterable[str], folders: Sequence[str]) -> Mapping[str, str]:
    """Through the engine, which runs nothing for it: one request for each place, several at a time."""

    def is_program(path: str) -> bool:
        found = engine.archive_stat(container, path)
        # Go's bits above the permissions: a link says nothing of where it leads, which is a program nearly always.
        return found is not None and (bool(found.link_target) or bool(found.mode & 0o111)) and not found.mode >> 31

    paths = [(name, f"{folder}/{name}") for name in names for folder in folders]
    with ThreadPoolExecutor(ABREAST) as pool:
        answers = list(pool.map(lambda each: is_program(each[1]), paths))
    found: dict[str, str] = {}
    for (name, path), yes in zip(paths, answers, strict=True):
        if yes:
            found.setdefault(name, path)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Program:
    """A program in a container: the path that its PATH gives, and where that leads within the container."""

    path: str
    real: str


def _seen(pid: int, names: Iterable[str], folders: Iterable[str]) -> Mapping[str, _Program] | None:
    """Where in the process' file system each program is; None when that can't be looked into.

    Links are followed by hand and within that root: the target's links are not trusted to stay there.
    """
    try:
        root = os.open(f"{hostproc.PROC}/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        paths = [(name, f"{folder}/{name}") for folder in folders for name in names]
        found: dict[str, _Program] = {}
        for name, path in paths:
            real = _leads_to(root, path) if name not in found else None
            if real is not None:
                found[name] = _Program(path=path, real=real)
        return found
    finally:
        os.close(root)


def _in_image(pid: int, real: str) -> bool:
    """Whether a file of the container comes from its image: neither from a mount nor from what it wrote itself.

    Told by the root's overlay (mountinfo, upperdir), a path of the engine's own file system, which the process that
    started the container sees: False where that can't be looked into.
    """
    mounts = {}
    for line in hostproc.text_of(f"{pid}/mountinfo").splitlines():
        fields, _, source = line.partition(" - ")
        mounts[fields.split()[4]] = source
    over = max((point for point in mounts if real.startswith(point.rstrip("/") + "/")), key=len, default="")
    upper = re.search(r"\boverlay .*\bupperdir=([^,]+)", mounts.get("/", ""))
    starter = re.search(r"(?m)^PPid:\s*(\d+)$", hostproc.text_of(f"{pid}/status"))
    if over != "/" or upper is None or starter is None:
        return False
    written = Path(f"{hostproc.PROC}/{starter[1]}/root{upper[1]}")
    return written.is_dir() and not os.path.lexists(f"{written}{real}")


def _leads_to(root: int, path: str) -> str | None:
    """Where `path` leads below the directory `root`, no part of it resolved outside; None: to no program."""
    left = list(reversed(PurePosixPath(path).parts))
    done: list[str] = []
    mode: int = stat.S_IFDIR
    links = 0
    while left:
        part = left.pop()
        if part == "/":
            done = []
        elif part == "..":
            done = done[:-1]
        else:
            try:
                mode, link = _look(root, done, part)
            except OSError:
                return None
            if link is None:
                done.append(part)
            elif (links := links + 1) > _LINKS:
                return None
            else:
                left.extend(reversed(PurePosixPath(link).parts))
    return "/" + "/".join(done) if stat.S_ISREG(mode) and mode & 0o111 else None


def _look(root: int, folders: list[str], name: str) -> tuple[int, str | None]:
    """(mode, where it links to) of a name in a folder below `root`, opening folder by folder, links never."""
    here = os.dup(root)
    try:
        for folder in folders:
            below = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
        return mode, os.readlink(name, dir_fd=here) if stat.S_ISLNK(mode) else None
    finally:
        os.close(here)
