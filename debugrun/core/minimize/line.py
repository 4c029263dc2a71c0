"""A `docker run` line as parts that can be left out, and the line without some of them. Pure.

Part names: `cap:SYS_PTRACE`, `privileged`, `seccomp` (unconfined), `call:ptrace`, `apparmor`, `label`, `socket:PATH`,
`--pid` and the other host namespaces, `device:PATH`, `root`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from debugrun.core.ask import dockerline
from debugrun.core.export.ask import Privileges
from debugrun.core.know.inspection import DOCKER_DEFAULT, PODMAN_DEFAULT
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.errors import UsageError
from debugrun.values import dataclass

NOBODY = "65534:65534"
SOCKETS = frozenset({"docker.sock", "podman.sock", "containerd.sock", "crio.sock"})
_NAMESPACES = ("--pid", "--network", "--ipc", "--uts", "--userns", "--cgroupns")
# Ours to say in each run, or in the way of many runs.
_DROPPED = frozenset(
    "-d --detach -i --interactive -t --tty -it --rm --name --restart --cidfile --sig-proxy -a --attach --detach-keys "  # noqa: SIM905 - words read better
    "--pull".split()
)
_MOUNTS = frozenset({"-v", "--volume", "--mount"})
Option = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line taken apart: `plain` are the options that stay, `parts` what may go, `rest` the image and its words.

    `profile` is the value of a seccomp option that is no `unconfined`: it stays.
    """

    client: str
    plain: tuple[Option, ...]
    parts: tuple[str, ...]
    rest: tuple[str, ...]
    profile: str = ""

    @property
    def writable(self) -> tuple[str, ...]:
        """Named volumes and paths of the host that every run would write to."""
        return tuple(source for name, value in self.plain if name in _MOUNTS and (source := _written(name, value)))


def _written(name: str, value: str) -> str:
    if name == "--mount":
        fields = dict(part.partition("=")[::2] for part in value.split(","))
        kept = fields.get("type", "volume") in {"bind", "volume"}
        read_only = {"readonly", "ro"} & set(fields) and fields.get("readonly", fields.get("ro")) not in {"false", "0"}
        return fields.get("source", fields.get("src", "")) if kept and not read_only else ""
    source, colon, rest = value.partition(":")
    return "" if not colon or "ro" in rest.split(":")[-1].split(",") else source


def parse(words: Sequence[str]) -> Line:
    """The line. Raises UsageError: not a `docker run` line."""
    left = list(words)
    client = posixpath.basename(left[0]) if left else ""
    if client not in {"docker", "podman"} or left[1:2] != ["run"]:
        message = f"{' '.join(words[:2]) or 'nothing'!r} is not `docker run` or `podman run`"
        raise UsageError("bad-docker-line", message, "debugrun minimize -- docker run --privileged IMAGE COMMAND")
    options, rest = dockerline.walk(left[2:])
    if not rest:
        raise UsageError("bad-docker-line", "the line names no image", "debugrun minimize -- docker run IMAGE")
    parts = tuple(dict.fromkeys(_parts(client, options)))
    profile = next((value for value in _security(options, "seccomp") if value != "unconfined"), "")
    plain = tuple(each for each in options if _stays(each))
    return Line(client=client, plain=plain, parts=parts, rest=tuple(rest), profile=profile)


def _security(options: Iterable[Option], wanted: str) -> Iterator[str]:
    for name, value in options:
        if name == "--security-opt":
            separator = min((value.index(sign) for sign in "=:" if sign in value), default=len(value))
            if value[:separator] == wanted:
                yield value[separator + 1 :]


def _is_socket(option: Option) -> bool:
    name, value = option
    return name in {"-v", "--volume"} and posixpath.basename(value.partition(":")[0]) in SOCKETS


def _parts(client: str, options: Sequence[Option]) -> Iterator[str]:
    privileged = ("--privileged", "true") in options
    if privileged:
        yield "privileged"
    yield from (f"cap:{name}" for name in _capabilities(client, options, privileged=privileged))
    if privileged or "unconfined" in _security(options, "seccomp"):
        yield "seccomp"
    if "unconfined" in _security(options, "apparmor"):
        yield "apparmor"
    if "disable" in _security(options, "label"):
        yield "label"
    for name, value in options:
        long = {"--net": "--network"}.get(name, name)
        if long in _NAMESPACES and value == "host":
            yield long
        elif _is_socket((name, value)):
            yield f"socket:{value}"
        elif name == "--device":
            yield f"device:{value}"
    users = [value for name, value in options if name in {"-u", "--user"}]
    if not users or users[-1].split(":")[0] in {"0", "root"}:
        yield "root"


def _capabilities(client: str, options: Sequence[Option], *, privileged: bool) -> tuple[str, ...]:
    """What the line gives: what it adds, and of the client's own set what it does not drop."""
    default = PODMAN_DEFAULT if client == "podman" else DOCKER_DEFAULT
    added, dropped = (
        [each for name, value in options if name == option for each in dockerline.capability_names([value])]
        for option in ("--cap-add", "--cap-drop")
    )
    if privileged or "ALL" in added:
        return tuple(CAPABILITIES)
    own = () if "ALL" in dropped else tuple(sorted(default - {*dropped, *added}))
    return (*added, *own)


def _stays(option: Option) -> bool:
    name, value = option
    long = {"--net": "--network"}.get(name, name)
    if name in _DROPPED or name in {"--privileged", "--cap-add", "--cap-drop", "--device"} or _is_socket(option):
        return False
    if long in _NAMESPACES:
        return value != "host"
    if name in {"-u", "--user"}:
        return value.split(":")[0] not in {"0", "root"}
    if name == "--security-opt":
        return value.partition("=")[0].partition(":")[0] not in {"seccomp", "apparmor", "label"}
    return True


def words(line: Line, held: Iterable[str], *, profile: str = "") -> list[str]:
    """The options of a run with these parts; `profile` is the file with the calls that are open."""
    parts = [*dict.fromkeys(held)]
    if "privileged" in parts:
        made = ["--privileged"]
    else:
        made = ["--cap-drop", "ALL"]
        made += [word for each in parts if each.startswith("cap:") for word in ("--cap-add", each[4:])]
        if line.profile or profile or "seccomp" in parts:
            value = "unconfined" if "seccomp" in parts else profile or line.profile
            made += ["--security-opt", f"seccomp={value}"]
    made += [word for name, opt in _OPTS.items() if name in parts for word in ("--security-opt", opt)]
    for each in parts:
        kind, _, value = each.partition(":")
        if each in _NAMESPACES:
            made += [each, "host"]
        elif kind in {"socket", "device"}:
            made += ["--volume" if kind == "socket" else "--device", value]
    if "root" not in parts and "root" in line.parts:
        made += ["--user", NOBODY]
    return made


_OPTS = {"apparmor": "apparmor=unconfined", "label": "label=disable"}


def plain_words(line: Line) -> list[str]:
    """The options that stay, as words."""
    made = []
    for name, value in line.plain:
        if name in dockerline.known_options("switches"):
            made.append(name if value == "true" else f"{name}={value}")
        else:
            made += [name, value]
    return made


def privileges(line: Line, held: Iterable[str], *, profile: str = "") -> Privileges:
    """What is left, for the formats of `debugrun export`."""
    parts = list(held)
    caps = tuple(each[4:] for each in parts if each.startswith("cap:"))
    given = Privileges(
        user="" if "root" in parts or "root" not in line.parts else NOBODY,
        cap_add=caps,
        cap_drop=("ALL",),
        seccomp="unconfined" if "seccomp" in parts else profile or "default",
        apparmor="unconfined" if "apparmor" in parts else "",
        no_labels="label" in parts,
        pid="host" if "--pid" in parts else "",
        network="host" if "--network" in parts else "",
        mounts=tuple(each.partition(":")[2].partition(":")[0] for each in parts if each.startswith("socket:")),
    )
    return replace(given, privileged=True, cap_add=(), cap_drop=()) if "privileged" in parts else given
