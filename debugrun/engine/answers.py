"""The engine's answers, decoded by type once, where they come in: what is missing is missing, what is wrong an error.

A shape says of a key what its value is: a type, a pattern of a text, a shape of its own, or a list of one of these. A
key that is not named may hold anything; one that is missing or null counts as not said, unless it is REQUIRED. Written
by hand, since it is a screen long: msgspec costs 29 ms at every start, dataclasses for cattrs 55 ms, and a plain line
has 300 ms in all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from debugrun.errors import EngineError

Json = Mapping[str, object]
Shape = Mapping[str, object]

ID = re.compile(r"[0-9a-f]{64}")
REQUIRED = frozenset({"Id"})
_TEXTS = [str]
VERSION: Shape = {
    "ApiVersion": re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){1,2}"),
    "Arch": str,
    "KernelVersion": str,
    "Version": str,
}
INFO: Shape = {"SecurityOptions": _TEXTS, "Runtimes": dict, "SystemTime": str, "CgroupVersion": str, "NCPU": int}
IMAGE: Shape = {
    "Id": str, "Parent": str, "RepoTags": _TEXTS, "Architecture": str, "Os": str,
    "Config": {"Labels": dict, "Env": _TEXTS, "Entrypoint": list, "Cmd": list, "User": str, "WorkingDir": str},
}  # fmt: skip
CONTAINER: Shape = {
    "Id": ID, "Name": str, "Image": str, "Platform": str, "AppArmorProfile": str, "ProcessLabel": str,
    "State": {"Status": str, "Running": bool, "Paused": bool, "Pid": int, "StartedAt": str, "ExitCode": int},
    "Config": {
        "Labels": dict, "Env": _TEXTS, "Entrypoint": list, "Cmd": list, "User": str, "WorkingDir": str, "Image": str,
        "Volumes": dict, "ExposedPorts": dict, "StopTimeout": int,
    },
    "HostConfig": {
        "CapAdd": _TEXTS, "CapDrop": _TEXTS, "SecurityOpt": _TEXTS, "Privileged": bool, "PidMode": str, "Runtime": str,
        "NetworkMode": str, "UsernsMode": str, "Memory": int, "AutoRemove": bool, "ReadonlyRootfs": bool,
        "Binds": _TEXTS, "RestartPolicy": {"Name": str, "MaximumRetryCount": int}, "PortBindings": dict,
        "Tmpfs": dict, "Mounts": [{}],
    },
    "Mounts": [{"Type": str, "Name": str, "Source": str, "Destination": str, "RW": bool}],
    "NetworkSettings": {"Networks": dict, "Ports": dict},
}  # fmt: skip
LISTED: Shape = {"Id": ID, "Names": _TEXTS, "Labels": dict, "State": str, "Image": str, "Created": int}


def an_object(answer: object) -> Json:
    """An answer that has to be a JSON object. Raises EngineError `strange-answer`."""
    return decoded(answer, {})


def objects(answer: object, shape: Shape) -> list[Json]:
    """An answer that has to be a list of such objects; null is an empty one. Raises EngineError `strange-answer`."""
    if answer is None:
        return []
    if not isinstance(answer, list):
        raise strange(f"a list was asked for, and {_kind(answer)} came")
    return [decoded(each, shape) for each in answer]


def texts(data: Json, key: str) -> list[str]:
    """A list of strings in an answer; [] where there is none."""
    value = data.get(key)
    return [str(each) for each in value] if isinstance(value, list) else []


def decoded(answer: object, shape: Shape, where: str = "") -> Json:
    """The answer, which has this shape. Raises EngineError `strange-answer` naming the key."""
    if not isinstance(answer, dict):
        raise strange(f"{where or 'it'} is to be an object, and is {_kind(answer)}")
    for key, wanted in shape.items():
        value = answer.get(key)
        if value is not None:
            _check(value, wanted, f"{where}.{key}".lstrip("."))
        elif key in REQUIRED:
            raise strange(f"{where}.{key} is missing".lstrip("."))
    return answer


def _check(value: object, wanted: object, where: str) -> None:
    if isinstance(wanted, Mapping):
        decoded(value, wanted, where)
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            raise strange(f"{where} is to be a list, and is {_kind(value)}")
        for number, each in enumerate(value):
            _check(each, wanted[0], f"{where}[{number}]")
    elif isinstance(wanted, re.Pattern):
        if not isinstance(value, str) or wanted.fullmatch(value) is None:
            raise strange(f"{where} is not {wanted.pattern}")
    elif not isinstance(wanted, type) or not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise strange(f"{where} is to be {getattr(wanted, '__name__', wanted)}, and is {_kind(value)}")


def _kind(value: object) -> str:
    return {"dict": "an object", "NoneType": "null"}.get(type(value).__name__, type(value).__name__)


def strange(what: str) -> EngineError:
    """The error for an answer that no engine's API has."""
    hint = "is that address a container engine's? `docker version` asks it the same"
    return EngineError("strange-answer", f"the engine's answer makes no sense: {what}", hint)
