"""What formats share: their notes on profiles, shell lines, and YAML. Pure."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence

from debugrun.core.export.ask import Ask, Privileges
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.errors import DebugrunError

_NOT_STRINGS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
EXTRA = "pip install 'debugrun[export]'"


def security_opts(privileges: Privileges, *, folder: str = "./", colon: bool = False) -> list[str]:
    """The values of Docker's --security-opt; `folder` is where the profile's file lies. Compose writes them alike."""
    sign = ":" if colon else "="
    opts = ["no-new-privileges"] if privileges.no_new_privileges else []
    if privileges.seccomp == "unconfined":
        opts.append(f"seccomp{sign}unconfined")
    elif privileges.seccomp != "default":
        opts.append(f"seccomp{sign}{folder}{privileges.seccomp}")
    if privileges.apparmor:
        opts.append(f"apparmor{sign}{privileges.apparmor}")
    if privileges.no_labels:
        opts.append(f"label{sign}disable")
    return opts


def capabilities(privileges: Privileges) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(dropped, added) as Docker takes them: its own set needs no words."""
    if privileges.cap_drop == ("ALL",) and frozenset(privileges.cap_add) == DOCKER_DEFAULT:
        return (), ()
    return privileges.cap_drop, privileges.cap_add


def profile_files(ask: Ask) -> dict[str, str]:
    """The profile's file, by its name; none where no profile is named."""
    return {} if ask.profile is None else {ask.privileges.seccomp: ask.profile + "\n"}


def profile_note(ask: Ask, where: str) -> tuple[str, ...]:
    """Where the profile has to lie; nothing where there is none."""
    return () if ask.profile is None else (f"put {ask.privileges.seccomp} {where}",)


def as_json(data: Mapping[str, object]) -> str:
    """JSON as people write it."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def as_yaml(data: Mapping[str, object]) -> str:
    """YAML as people write it, read alike by parsers of 1.1 and 1.2. Raises DebugrunError: its library is not there."""
    try:
        from ruamel.yaml import YAML  # noqa: PLC0415 - of the extra `export`
        from ruamel.yaml.scalarstring import DoubleQuotedScalarString  # noqa: PLC0415 - the same
    except ImportError as error:
        raise missing_extra("YAML") from error

    def quoted(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: quoted(each) for key, each in value.items()}
        if isinstance(value, list):
            return [quoted(each) for each in value]
        return DoubleQuotedScalarString(value) if isinstance(value, str) and not _plain(value) else value

    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    yaml.width = 1000
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    yaml.dump(quoted(data), text)
    return text.getvalue()


def _plain(text: str) -> bool:
    """Whether a word is a string to every parser: YAML 1.1 has `off` for false, and 10:30 for a number."""
    return re.fullmatch(r"[A-Za-z/][\w./+=@-]*", text) is not None and text.lower() not in _NOT_STRINGS


def missing_extra(what: str) -> DebugrunError:
    """The error where a library of the extra is not installed."""
    return DebugrunError("no-export-extra", f"{what} needs a library that is not installed", EXTRA)


def limited(names: Sequence[str], known: frozenset[str], who: str) -> tuple[str, ...]:
    """What to say of capabilities that a consumer does not know."""
    return tuple(f"{who} has no capability {name}" for name in names if name not in known)
