"""What differs between two containers, or between two requests: nothing secret is in what is said. Pure."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence

from debugrun.core.know.inspection import security_options
from debugrun.core.know.json_access import Json, items, mapping
from debugrun.core.rebuild.blueprint import Blueprint
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One field that differs: its path with dots, and both values as text that may be shown; None: not there.

    Environment, labels and driver options by name only; command lines by their length; seccomp profiles by their size.
    What is only in one of two lists is a change of its own, whose path is the list's.
    """

    path: str
    before: str | None
    after: str | None


# Their values stay out of what is shown: people put passwords there.
SECRET = (
    "Config.Env.*",
    "Config.Labels.*",
    "HostConfig.Annotations.*",
    "HostConfig.LogConfig.Config.*",
    "HostConfig.StorageOpt.*",
    "*.DriverOpts.*",
)
COMMANDS = (
    "Args",
    "Path",
    "Config.Cmd",
    "Config.Entrypoint",
    "Config.Healthcheck.Test",
    "Config.OnBuild",
    "Config.Shell",
)
HIDDEN = "(hidden)"


def added(before: Blueprint, after: Blueprint) -> tuple[Change, ...]:
    """What differs between two requests: the diff that a person is asked about. In the order of the paths."""
    return between(before.body, after.body)


def between(before: Json, after: Json) -> tuple[Change, ...]:
    """What differs between two requests, or two inspected containers, in the order of the paths."""
    return tuple(_changes(_by_name(before), _by_name(after)))


def _by_name(told: Json) -> Json:
    """The same with the environment as an object, so that its changes have names."""
    config = mapping(told, "Config") if "Config" in told else told
    named: dict[str, object] = {}
    for entry in items(config, "Env"):
        name, equals, value = str(entry).partition("=")
        named[name] = equals + value
    if "Config" in told:
        return {**told, "Config": {**config, "Env": named}}
    nested = ("HostConfig", "NetworkingConfig")
    top = {key: value for key, value in told.items() if key not in nested}
    return {"Config": {**top, "Env": named}, **{key: told[key] for key in nested if key in told}}


def _changes(before: object, after: object, path: str = "") -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        whole, other = (value if isinstance(value, Mapping) else {} for value in (before, after))
        for key in sorted({*whole, *other}):
            yield from _changes(whole.get(key), other.get(key), f"{path}.{key}" if path else key)
        if not whole and not other:
            yield Change(path=path, before=_shown(path, before), after=_shown(path, after))
    elif _unordered(path, first := _items(before), second := _items(after)):
        for item in first:
            if item not in second:
                yield Change(path=path, before=_shown(path, item), after=None)
        for item in second:
            if item not in first:
                yield Change(path=path, before=None, after=_shown(path, item))
    else:
        yield Change(path=path, before=_shown(path, before), after=_shown(path, after))


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _unordered(path: str, before: Sequence[object], after: Sequence[object]) -> bool:
    """Whether the items that only one list has tell the difference: not in a command, nor where the order changed."""
    if path in COMMANDS:
        return False
    return any(item not in after for item in before) or any(item not in before for item in after)


def _shown(path: str, value: object) -> str | None:
    """A value as text that may be shown."""
    if value is None:
        return None
    if path in COMMANDS:
        return f"({len(value)} words)" if isinstance(value, list) else HIDDEN
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in SECRET):
        return HIDDEN
    if isinstance(value, str):
        profile = security_options([value]).get("seccomp", "") if path.endswith(".SecurityOpt") else ""
        return f"seccomp=(a profile of {len(profile)} bytes)" if profile.startswith("{") else value
    return json.dumps(_without_options(value), ensure_ascii=False)


def _without_options(value: object) -> object:
    """A nested value without the options of drivers in it."""
    if isinstance(value, Mapping):
        hidden = {"DriverConfig", "Labels", "DriverOpts"}
        return {key: HIDDEN if key in hidden and each else _without_options(each) for key, each in value.items()}
    return [_without_options(each) for each in value] if isinstance(value, list) else value
