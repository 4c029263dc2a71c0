"""Read a seccomp profile: Docker's and Podman's JSON, and the resolved form of an OCI runtime spec.

The rules are those of the engines: moby profiles/seccomp/seccomp_linux.go and containers/common pkg/seccomp for the
unresolved form, the runtime specification's config-linux.md and runc libcontainer/seccomp for actions, operators and
arguments. Like Go's encoding/json, keys are compared without regard to case, unknown ones are left alone and null is
the same as absent.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from debugrun.core.rules.seccomp.model import (
    ACTIONS,
    ALLOW,
    ERRNO,
    MAX_ARGUMENTS,
    NOTIFY,
    OPERATORS,
    UINT64_MAX,
    ArgMatch,
    Filter,
    Profile,
    ProfileError,
    Rule,
)

T = TypeVar("T")

PODMAN = "podman"
#: libseccomp takes no larger one (db_action_valid), and sees 16 bits of what the profile says.
_LARGEST_ERRNO = 4094
_LARGEST_OF_CRUN = 2**32 - 1
# moby profiles/seccomp/seccomp.go KernelVersion: two numbers of eight bits, not both 0.
_KERNEL = re.compile(r"([0-9]+)\.([0-9]+)")
_LARGEST_RELEASE = 255


def parse_profile(text: str, engine: str = "") -> Profile:
    """Read a profile as an engine does ("docker", "podman"); "": in any of the three forms, as its author meant it.

    Then a whole runtime spec (`linux.seccomp`) will do too, in which Docker and Podman see no profile at all, and
    `errno` with an error's name counts, of which Docker takes no notice. An empty profile (`{}`, `null`) is no filter.
    Raises ProfileError with the path of the key that the engine would not take. What its runtime then refuses on one
    machine is `refusal`'s to say.
    """
    try:
        document: object = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ProfileError("profile", "is nested too deeply") from None
    except ValueError as error:
        raise ProfileError("profile", f"is not JSON: {error}") from None
    top = {} if document is None else _table(document, "profile")
    linux = top.get("linux")
    if not engine and "defaultaction" not in top and isinstance(linux, Mapping):
        top = _table(_table(linux, "linux").get("seccomp"), "linux.seccomp")
    return _profile(top if engine != "docker" else _without_names(top), engine)


def _no_constant(name: str) -> object:
    message = f"{name} is not a JSON value"
    raise ValueError(message)


def _profile(top: Mapping[str, object], engine: str) -> Profile:
    rules = tuple(_each(top.get("syscalls"), "syscalls", partial(_rule, engine=engine)))
    default = _text(top, "defaultaction", "defaultAction")
    architectures = _texts(top.get("architectures"), "architectures")
    arch_map = tuple(_each(top.get("archmap"), "archMap", partial(_arch_map, named=not engine)))
    off = not default and not rules
    if architectures and arch_map and not (off and engine):
        raise ProfileError("architectures", "cannot be given together with archMap")
    if off:
        return Profile(default_action=ALLOW, off=True)
    if not default:
        raise ProfileError("defaultAction", "is missing")
    _known_action(default, "defaultAction")
    if default == NOTIFY:
        raise ProfileError("defaultAction", "cannot be SCMP_ACT_NOTIFY")
    return Profile(
        default_action=default,
        default_errno=_errno(top, "defaultErrno", "", action=default, engine=engine),
        architectures=architectures,
        arch_map=arch_map,
        rules=rules,
        flags=_texts(top.get("flags"), "flags"),
        listener_path=_text(top, "listenerpath", "listenerPath"),
        listener_metadata=_text(top, "listenermetadata", "listenerMetadata"),
    )


def _rule(entry: Mapping[str, object], where: str, *, engine: str) -> Rule:
    names = _texts(entry.get("names"), f"{where}.names")
    name = _text(entry, "name", f"{where}.name")
    if name and names:
        raise ProfileError(f"{where}.name", "cannot be given together with names")
    _text(entry, "comment", f"{where}.comment")
    names = names or ((name,) if name else ())
    for position, each in enumerate(names):
        if not each and engine != PODMAN:
            raise ProfileError(f"{where}.names[{position}]", "is empty")
    action = _text(entry, "action", f"{where}.action")
    _known_action(action, f"{where}.action")
    if action == NOTIFY and "write" in names:
        raise ProfileError(f"{where}.action", "cannot be SCMP_ACT_NOTIFY for write")
    return Rule(
        names=names,
        action=action,
        errno=_errno(entry, "errno", f"{where}.", action=action, engine=engine),
        args=tuple(_each(entry.get("args"), f"{where}.args", _arg)),
        includes=_filter(entry.get("includes"), f"{where}.includes", engine),
        excludes=_filter(entry.get("excludes"), f"{where}.excludes", engine),
    )


def _arg(entry: Mapping[str, object], where: str) -> ArgMatch:
    index = _number(entry, "index", f"{where}.index", MAX_ARGUMENTS - 1)
    op = _text(entry, "op", f"{where}.op")
    if op not in OPERATORS:
        raise ProfileError(f"{where}.op", f"is {op!r}, not one of {', '.join(OPERATORS)}")
    value = _number(entry, "value", f"{where}.value", UINT64_MAX)
    value_two = _number(entry, "valuetwo", f"{where}.valueTwo", UINT64_MAX)
    return ArgMatch(index or 0, op, value or 0, value_two or 0)


def _filter(value: object, where: str, engine: str) -> Filter:
    """Podman takes no notice of `minKernel` (measured with 4.3 to 5.8)."""
    if value is None:
        return Filter()
    table = _table(value, where)
    if engine == PODMAN:
        table.pop("minkernel", None)
    kernel = _text(table, "minkernel", f"{where}.minKernel")
    found = _KERNEL.fullmatch(kernel)
    numbers = {int(part) for part in found.groups()} if found else set()
    if kernel and (not found or max(numbers) > _LARGEST_RELEASE or not any(numbers)):
        raise ProfileError(f"{where}.minKernel", f"is {kernel!r}, not a version such as '4.8'")
    return Filter(
        caps=_texts(table.get("caps"), f"{where}.caps"),
        arches=_texts(table.get("arches"), f"{where}.arches"),
        min_kernel=(int(found[1]), int(found[2])) if found else None,
    )


def _arch_map(entry: Mapping[str, object], where: str, *, named: bool) -> tuple[str, tuple[str, ...]]:
    name = _text(entry, "architecture", f"{where}.architecture")
    if named and not name:
        raise ProfileError(f"{where}.architecture", "is missing")
    return name, _texts(entry.get("subarchitectures"), f"{where}.subArchitectures")


def _known_action(action: str, where: str) -> None:
    if action not in ACTIONS:
        problem = f"is {action!r}, not one of {', '.join(ACTIONS)}" if action else "is missing"
        raise ProfileError(where, problem)


def _without_names(top: Mapping[str, object]) -> dict[str, object]:
    """The document without the keys `errno` and `defaultErrno`, which only Podman knows."""
    rules = top.get("syscalls")
    if isinstance(rules, list):
        rules = [
            {key: value for key, value in rule.items() if str(key).lower() != "errno"}
            if isinstance(rule, Mapping)
            else rule
            for rule in rules
        ]
    return {**{key: value for key, value in top.items() if key != "defaulterrno"}, "syscalls": rules}


def _errno(table: Mapping[str, object], key: str, prefix: str, *, action: str, engine: str) -> int | None:
    """`errnoRet` as a number of 16 bits; Podman's `errno`, a name, goes before it (containers/common pkg/seccomp)."""
    name = _text(table, key.lower(), prefix + key)
    if name:
        by_name = {text: number for number, text in errno.errorcode.items()}
        if name not in by_name:
            raise ProfileError(prefix + key, f"is {name!r}, not the name of an error")
        return by_name[name]
    largest = _LARGEST_OF_CRUN if engine == PODMAN else UINT64_MAX
    number = _number(table, f"{key}ret".lower(), f"{prefix}{key}Ret", largest)
    if number is None:
        return None
    seen = number & 0xFFFF
    if action == ERRNO and seen > _LARGEST_ERRNO:
        raise ProfileError(f"{prefix}{key}Ret", f"is {number}, not within 0 and {_LARGEST_ERRNO}")
    return seen


def _table(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise ProfileError(where, f"is {_kind(value)}, not an object")
    return {str(key).lower(): item for key, item in value.items()}


def _each(value: object, where: str, read: Callable[[Mapping[str, object], str], T]) -> list[T]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ProfileError(where, f"is {_kind(value)}, not a list")
    return [read(_table(item, f"{where}[{position}]"), f"{where}[{position}]") for position, item in enumerate(value)]


def _texts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ProfileError(where, f"is {_kind(value)}, not a list")
    for position, item in enumerate(value):
        if not isinstance(item, str):
            raise ProfileError(f"{where}[{position}]", f"is {_kind(item)}, not a string")
    return tuple(value)


def _text(table: Mapping[str, object], key: str, where: str) -> str:
    value = table.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ProfileError(where, f"is {_kind(value)}, not a string")
    return value


def _number(table: Mapping[str, object], key: str, where: str, largest: int) -> int | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProfileError(where, f"is {_kind(value)}, not a whole number")
    if not 0 <= value <= largest:
        raise ProfileError(where, f"is {value}, not within 0 and {largest}")
    return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number"}
    return names.get(type(value), "null" if value is None else "a number")


def dump_profile(profile: Profile) -> str:
    """The profile as JSON for `--security-opt seccomp=`, in one line and with nothing that means nothing."""
    if profile.off:
        return "{}"
    document: dict[str, object] = {"defaultAction": profile.default_action}
    if profile.default_errno is not None:
        document["defaultErrnoRet"] = profile.default_errno
    if profile.architectures:
        document["architectures"] = profile.architectures
    if profile.arch_map:
        document["archMap"] = [
            {"architecture": arch, **({"subArchitectures": subs} if subs else {})} for arch, subs in profile.arch_map
        ]
    rarely = {
        "flags": profile.flags,
        "listenerPath": profile.listener_path,
        "listenerMetadata": profile.listener_metadata,
    }
    document.update({key: value for key, value in rarely.items() if value})
    document["syscalls"] = [_rule_document(rule) for rule in profile.rules]
    return json.dumps(document, separators=(",", ":"))


def _rule_document(rule: Rule) -> dict[str, object]:
    document: dict[str, object] = {"names": rule.names, "action": rule.action}
    if rule.errno is not None:
        document["errnoRet"] = rule.errno
    if rule.args:
        document["args"] = [_arg_document(match) for match in rule.args]
    for key, condition in (("includes", rule.includes), ("excludes", rule.excludes)):
        if condition != Filter():
            document[key] = _filter_document(condition)
    return document


def _arg_document(match: ArgMatch) -> dict[str, object]:
    document: dict[str, object] = {"index": match.index, "value": match.value, "op": match.op}
    if match.value_two:
        document["valueTwo"] = match.value_two
    return document


def _filter_document(condition: Filter) -> dict[str, object]:
    document: dict[str, object] = {}
    if condition.caps:
        document["caps"] = condition.caps
    if condition.arches:
        document["arches"] = condition.arches
    if condition.min_kernel:
        document["minKernel"] = "{}.{}".format(*condition.min_kernel)
    return document
