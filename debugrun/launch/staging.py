"""What an image would start, and whether it holds the tool: read from a container that is made and never started.

The engine itself merges what the image says with what was typed, mounts included. Nothing of the image is run.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Sequence

from debugrun.core.ask.number import is_number
from debugrun.core.decide.launch import Program
from debugrun.core.know import inspection
from debugrun.core.know.json_access import Json, items, mapping
from debugrun.engine import answers
from debugrun.engine.engine import Engine
from debugrun.errors import EXIT_NO_TOOL, TargetError

_CHUNK = 16 * 1024  # bytes of an archive that hold the head of its first file
_PASSWD = 1 << 20  # bytes of /etc/passwd: some thousand users
NOBODY = "65534:0"
_LINE = 256  # bytes of a #! line: linux/binfmts.h BINPRM_BUF_SIZE
_DIRECTORY, _EXECUTABLE = 1 << 31, 0o111  # Go's fs.FileMode


def program(engine: Engine, container: str, inspected: Json, *, elf: bool) -> Program:
    """What the container would start; with `elf` the interpreter of a script is looked up.

    Raises TargetError: the image has no such program.
    """
    config, argv = mapping(inspected, "Config"), command(inspected)
    environment = (str(each).partition("=") for each in items(config, "Env"))
    variables = frozenset(name for name, _, _ in environment)
    if not argv:
        message = f"{config.get('Image')} names no program to start"
        raise TargetError("no-command", message, "give one: debugrun run TOOL IMAGE -- PROGRAM")
    path = find(engine, container, inspected, argv[0])
    if path is None:
        message = f"{config.get('Image')} holds no program {argv[0]!r}"
        raise TargetError("no-program", message, "give another after --, or --entrypoint", status=EXIT_NO_TOOL)
    interpreter = _interpreter(_head(engine, container, path), path) if elf else ()
    return Program(argv=argv, interpreter=interpreter, variables=variables)


def command(inspected: Json) -> tuple[str, ...]:
    """What a container starts: its entrypoint and its command; () for none."""
    config = mapping(inspected, "Config")
    return (*_words(config, "Entrypoint"), *_words(config, "Cmd"))


def find(engine: Engine, container: str, inspected: Json, name: str) -> str | None:
    """The path of a program as the container finds it: by its PATH, or from its working directory."""
    if "/" in name:
        folder = str(mapping(inspected, "Config").get("WorkingDir") or "/")
        paths: Sequence[str] = [posixpath.join(folder, name)]
    else:
        paths = [f"{folder}/{name}" for folder in inspection.search_path(inspected)]
    return next((path for path in paths if _is_program(engine, container, path)), None)


def _is_program(engine: Engine, container: str, path: str) -> bool:
    found = engine.archive_stat(container, path)
    if found is None or found.mode & _DIRECTORY:
        return False
    return bool(found.link_target) or bool(found.mode & _EXECUTABLE)


def _head(engine: Engine, container: str, path: str) -> bytes:
    """The first bytes of a file. The engine says where a link leads, resolved within the container."""
    found = engine.archive_stat(container, path)
    where = found.link_target if found is not None and found.link_target else path
    return _first(engine, container, where, _LINE)


def _first(engine: Engine, container: str, path: str, size: int) -> bytes:
    """The first bytes of a file, b"" where it is none. No more is taken in, whatever the image has there."""
    with engine.asking(f"read {path} in", container):
        chunks, _ = engine.client.get_archive(container, path, chunk_size=_CHUNK)
        taken = b""
        for chunk in chunks:
            taken += chunk
            if len(taken) >= size + _CHUNK:
                break
    try:
        with tarfile.open(fileobj=io.BytesIO(taken)) as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None and member.isreg() else None
            return file.read(size) if file is not None else b""
    except tarfile.TarError as error:
        raise answers.strange(f"{path} came as no archive: {error}") from error


def _interpreter(head: bytes, path: str) -> tuple[str, ...]:
    """The words that the kernel puts before a script's own arguments: fs/binfmt_script.c. () for another file."""
    if not head.startswith(b"#!"):
        return ()
    line = head[2:].split(b"\n", 1)[0].decode(errors="replace").strip()
    return (*line.split(None, 1), path) if line else ()


def user(engine: Engine, container: str, inspected: Json, typed: str | None = None) -> str:
    """The numeric "uid:gid" that the container runs as, or `typed` would; a name is looked up in its /etc/passwd.

    A name that is not there counts as nobody's, 65534: the engine will refuse to start it.
    """
    return known_user(engine, container, inspected, typed) or NOBODY


def known_user(engine: Engine, container: str, inspected: Json, typed: str | None = None) -> str | None:
    """`user`; None for a name that neither /etc/passwd nor, of a group, /etc/group has.

    moby daemon/oci_linux.go getUser(): a number without a line there has group 0.
    """
    typed = typed or str(mapping(inspected, "Config").get("User") or "0")
    name, _, group = typed.partition(":")
    if name in {"0", "root"} and (is_number(group) or not group):
        return f"0:{group or 0}"
    if not is_number(name) or not group:
        entry = _entry(engine, container, "/etc/passwd", name)
        if entry is None and not is_number(name):
            return None
        name, own = (entry[2], entry[3]) if entry else (name, "0")
        group = group or own
    if not is_number(group):
        entry = _entry(engine, container, "/etc/group", group)
        if entry is None:
            return None
        group = entry[2]
    return f"{name}:{group}"


def _entry(engine: Engine, container: str, path: str, name: str) -> list[str] | None:
    """The line of passwd(5) or group(5) of that name or number: their third field is the number."""
    if engine.archive_stat(container, path) is None:
        return None
    lines = _first(engine, container, path, _PASSWD).decode(errors="replace").splitlines()
    for fields in (line.split(":") for line in lines):
        if len(fields) > 3 and name in {fields[0], fields[2]} and is_number(fields[2]):  # noqa: PLR2004
            return fields
    return None


def _words(config: Json, key: str) -> tuple[str, ...]:
    return tuple(str(each) for each in items(config, key))
