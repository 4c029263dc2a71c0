"""The writable layer of a container: what was written to it, beside what the engine puts there itself."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, cast

from debugrun.core.know import json_access
from debugrun.core.know.json_access import Json
from debugrun.engine.engine import Engine
from debugrun.errors import DebugrunError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

MODIFIED, ADDED = 0, 1  # Kind in GET /containers/ID/changes; 2 is deleted
MANY = 64  # paths that are not compared one by one
LARGE = 4 << 20  # bytes of a path that are not read to compare them
_ABSENT = re.compile(r"could not find the file|no such file", re.IGNORECASE)  # Docker 18.09 to 29; Podman


def written(engine: Engine, inspected: Json) -> tuple[str, ...]:
    """Paths of what a container wrote to its own layer."""
    ref = str(inspected["Id"])
    with engine.asking("say what was written by", ref):
        return unexplained(engine.client.diff(ref) or (), inspected)


def news(engine: Engine, inspected: Json, original: str) -> tuple[str, ...]:
    """The same, without what the container `original` has there too: a PID file is written at every start."""
    paths = written(engine, inspected)
    if len(paths) > MANY:
        return paths
    return tuple(
        path
        for path in paths
        if (ours := _digest(engine, str(inspected["Id"]), path)) is None or ours != _digest(engine, original, path)
    )


def commit(engine: Engine, ref: str, labels: Mapping[str, str], *, repository: str = "", tag: str = "") -> str:
    """POST /commit: an image with a stopped container's layer; its id. Takes as long as it takes."""
    client, before = engine.client, engine.client.timeout
    with engine.asking("keep the writable layer of", ref):
        client.timeout = None  # type: ignore[assignment]
        try:
            made = client.commit(
                ref, repository=repository or None, tag=tag or None, pause=False,
                changes=[f"LABEL {key}={value}" for key, value in labels.items()],
            )  # fmt: skip
        finally:
            client.timeout = before
    return str(made["Id"])


def unexplained(changes: Iterable[Json], inspected: Json) -> tuple[str, ...]:
    """Paths of GET /containers/ID/changes, without the mount points that the runtime made, and the way to them."""
    mounts = mount_points(inspected)
    kinds = {str(each["Path"]): each["Kind"] for each in changes}
    made = {path for path, kind in kinds.items() if path in mounts and kind in {MODIFIED, ADDED}}
    ways = {path for path in kinds for point in made if point.startswith(f"{path}/")}
    explained = made | {path for path in ways if kinds[path] in {MODIFIED, ADDED}}
    paths = [path for path in kinds if path not in explained]
    # A folder on the way to what is there to be named says nothing more.
    return tuple(path for path in paths if not any(other.startswith(f"{path}/") for other in paths))


def mount_points(inspected: Json) -> frozenset[str]:
    """Where something is mounted in an inspected container."""
    points = [json_access.text(each, "Destination") for each in json_access.maps(inspected, "Mounts")]
    points += json_access.mapping(json_access.mapping(inspected, "HostConfig"), "Tmpfs")
    return frozenset(each.rstrip("/") for each in points)


def _digest(engine: Engine, container: str, path: str) -> bytes | None:
    """What lies at a path, but for its times; None: nothing, or too much to read it."""
    try:
        with engine.asking("read a file of", container):
            chunks, _ = engine.client.get_archive(container, path)
            digest = hashlib.sha256()
            with tarfile.open(fileobj=cast("IO[bytes]", _Reader(chunks)), mode="r|") as tar:
                for member in tar:
                    extended = sorted(pair for pair in member.pax_headers.items() if "time" not in pair[0])
                    kept = (member.name, member.type, member.mode, member.uid, member.gid, member.linkname, member.size)
                    digest.update(repr((kept, extended)).encode(errors="surrogateescape"))
                    if content := tar.extractfile(member) if member.isreg() else None:
                        digest.update(content.read())
            return digest.digest()
    except _TooMuchError:
        return None
    except tarfile.TarError as error:  # the answer ended before its time
        raise EngineError(
            "engine-error", f"{path} of {container} could not be read: {error}", "the same command again"
        ) from error
    except DebugrunError as error:
        if not _ABSENT.search(error.message):
            raise
        return None


class _TooMuchError(Exception):
    pass


class _Reader:
    """The chunks of an answer as a file, up to LARGE bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""
        self._read = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
            self._read += len(chunk)
            if self._read > LARGE:
                raise _TooMuchError
        given, self._rest = self._rest[:size], self._rest[size:]
        return given
