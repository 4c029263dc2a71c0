"""The options of `docker run` that `debugrun run` takes: as typed, as the API has them, and as a line to paste.

Beside the engine's client the only place that uses docker-py: its parsers of what people type. Values of environment
variables go to the engine and nowhere else.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from debugrun.errors import UsageError
from debugrun.values import dataclass

if TYPE_CHECKING:
    from docker.types import Mount

Kind = Literal["bind", "volume", "tmpfs"]

_MOUNT_KEYS = {"type", "source", "target", "readonly", "bind-propagation", "volume-nocopy", "tmpfs-size", "tmpfs-mode"}
_MOUNT_SYNONYMS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What was typed. `entrypoint` None: the image's; "": none at all. `memory` as in 512m, `cpus` as in 1.5."""

    env: tuple[str, ...] = ()
    env_file: tuple[str, ...] = ()
    volume: tuple[str, ...] = ()
    mount: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    network: str | None = None
    user: str | None = None
    workdir: str | None = None
    entrypoint: str | None = None
    platform: str | None = None
    name: str | None = None
    memory: str | None = None
    cpus: float | None = None
    read_only: bool = False
    remove: bool = True


def environment(options: RunOptions) -> dict[str, str]:
    """The variables that are set, files first, as `docker run` does. A bare NAME takes our own value, if there is one.

    Raises UsageError.
    """
    from docker.errors import DockerException  # noqa: PLC0415 - 130 ms: the engine's client has loaded it
    from docker.utils import parse_env_file  # noqa: PLC0415 - the same

    found: dict[str, str] = {}
    for path in options.env_file:
        try:
            found.update(parse_env_file(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("bad-env-file", f"--env-file {path}: {error}", "name a readable file") from error
        except DockerException as error:  # its text holds the line
            raise UsageError(
                "bad-env-file", f"--env-file {path}: a line is not NAME=VALUE", "correct that line"
            ) from error
    for word in options.env:
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError("bad-env", "-e takes NAME=VALUE or NAME", "-e LANG=C.UTF-8")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def ports(options: RunOptions) -> dict[int | str, object]:
    """What is published, as docker-py's port_bindings. Raises UsageError."""
    from docker.utils.ports import build_port_bindings  # noqa: PLC0415 - see environment()

    try:
        return dict(build_port_bindings(list(options.publish)))
    except ValueError as error:
        raise UsageError("bad-port", f"-p: {error}", "-p 127.0.0.1:8080:80") from error


def binds(options: RunOptions) -> list[str]:
    """`-v` with a source. As in `docker run` a relative path is one of this machine, any other name a volume's."""
    return [_bind(each) for each in options.volume if ":" in each]


def _bind(word: str) -> str:
    source, colon, rest = word.partition(":")
    return f"{Path(source).absolute()}{colon}{rest}" if source.startswith((".", "~")) else word


def mount(word: str) -> Mount:
    """`--mount`: comma separated KEY=VALUE, a field with a comma quoted as CSV has it. Raises UsageError."""
    from docker.errors import DockerException  # noqa: PLC0415 - see environment()
    from docker.types import Mount  # noqa: PLC0415 - the same

    fields: dict[str, str] = {}
    for field in next(csv.reader([word]), []):
        key, equals, value = field.strip().partition("=")
        key = _MOUNT_SYNONYMS.get(key, key)
        if key not in _MOUNT_KEYS:
            why = f"{key!r} is none of {', '.join(sorted(_MOUNT_KEYS))}"
            raise UsageError("bad-mount", f"--mount {word}: {why}", "docker run --help")
        fields[key] = value if equals else "true"
    kinds: dict[str, Kind] = {"bind": "bind", "tmpfs": "tmpfs", "volume": "volume"}
    try:
        return Mount(
            fields["target"],
            fields.get("source"),
            type=kinds[fields.get("type", "volume")],
            read_only=fields.get("readonly", "false") in {"true", "1"},
            propagation=fields.get("bind-propagation"),
            no_copy=fields.get("volume-nocopy", "false") in {"true", "1"},
            tmpfs_size=fields.get("tmpfs-size"),
            tmpfs_mode=int(fields["tmpfs-mode"], 8) if "tmpfs-mode" in fields else None,
        )
    except KeyError as error:
        raise UsageError(
            "bad-mount", f"--mount {word}: target is missing", "--mount type=volume,source=NAME,target=/data"
        ) from error
    except (DockerException, ValueError) as error:
        raise UsageError("bad-mount", f"--mount {word}: {error}", "docker run --help") from error


def words(options: RunOptions) -> Iterator[str]:
    """The options for a docker line: without the values of variables, which the shell that runs it has to have."""
    for name in dict.fromkeys(each.partition("=")[0] for each in options.env):
        yield from ("-e", name)
    lists = {"--env-file": options.env_file, "-v": options.volume, "--mount": options.mount, "-p": options.publish}
    lists |= {"--tmpfs": options.tmpfs, "--cap-add": options.cap_add, "--cap-drop": options.cap_drop}
    for flag, values in lists.items():
        for value in values:
            yield from (flag, value)
    singles = {"--network": options.network, "-u": options.user, "-w": options.workdir, "--name": options.name}
    singles |= {"--platform": options.platform, "-m": options.memory}
    singles["--cpus"] = None if options.cpus is None else f"{options.cpus:g}"
    for flag, single in singles.items():
        if single is not None:
            yield from (flag, single)
    if options.read_only:
        yield "--read-only"
    if options.remove:
        yield "--rm"
