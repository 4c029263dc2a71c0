"""The seccomp profile that an engine applies when nobody names one: data/seccomp/*.toml, by engine release.

No engine tells its default profile through its API, so we carry it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from debugrun.seccomp.model import ALLOW, ERRNO, ArgMatch, Filter, Profile, Rule, Runtime

_OLDEST = {"docker": (18, 9, 0)}
_SIGNS = {"!=": "NE", "<": "LT", "<=": "LE", "==": "EQ", ">=": "GE", ">": "GT"}
_MATCH = re.compile(r"arg([0-5]) (?:& (0x[0-9a-f]+) == (0x[0-9a-f]+)|(!=|<=|<|==|>=|>) (0x[0-9a-f]+))")

#: moby profiles/seccomp/default_linux.go, arches().
_ARCH_MAP = (
    ("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    ("SCMP_ARCH_AARCH64", ("SCMP_ARCH_ARM",)),
)


def default_profile(engine: str, version: tuple[int, ...]) -> Profile | None:
    """The built-in profile of an engine ("docker") of a release such as (20, 10, 24), for x86_64 and arm64.

    A release newer than those we know has the newest profile that we know. None: no such engine, or older than ours.
    """
    wanted = (*version, 0, 0, 0)[:3]
    if engine not in _OLDEST or wanted < _OLDEST[engine]:
        return None
    rules = tuple(rule for since, until, rule in _table(engine) if since <= wanted < until)
    return Profile(default_action=ERRNO, arch_map=_ARCH_MAP, rules=rules)


def runtime_of(engine: str, version: tuple[int, ...]) -> Runtime:
    """What an engine's release makes of any profile; which libseccomp it has cannot be asked: a current one is assumed.

    Docker: `defaultErrnoRet` counts since 23.0 (moby profiles/seccomp/seccomp.go), runc answers ENOSYS to new calls
    since 1.0.0-rc93, which 20.10 brought. Podman's crun has no such answer: its profiles say so themselves.
    """
    if engine == "docker":
        return Runtime(enosys_stub=version >= (20, 10), default_errno=version >= (23,))
    return Runtime(enosys_stub=False)


@cache
def _table(engine: str) -> tuple[tuple[tuple[int, ...], tuple[int, ...], Rule], ...]:
    text = (files("debugrun") / "data" / "seccomp" / f"{engine}.toml").read_text(encoding="utf-8")
    return tuple(
        (_release(entry.get("since", "0")), _release(entry.get("until", "999")), _rule(entry))
        for entry in tomllib.loads(text)["rule"]
    )


def _release(text: str) -> tuple[int, ...]:
    return (*map(int, text.split(".")), 0, 0)[:3]


def _rule(entry: Mapping[str, object]) -> Rule:
    kernel = str(entry.get("kernel", ""))
    major, _, minor = kernel.partition(".")
    errno = entry.get("errno")
    return Rule(
        names=tuple(str(entry["calls"]).split()),
        action=ALLOW if errno is None else ERRNO,
        errno=errno if isinstance(errno, int) else None,
        args=tuple(parse_match(text) for text in _texts(entry, "args")),
        includes=Filter(
            caps=tuple(f"CAP_{cap}" for cap in _texts(entry, "caps")),
            arches=_texts(entry, "arches"),
            min_kernel=(int(major), int(minor)) if kernel else None,
        ),
        excludes=Filter(caps=tuple(f"CAP_{cap}" for cap in _texts(entry, "without_caps"))),
    )


def _texts(entry: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = entry.get(key, ())
    return tuple(map(str, value)) if isinstance(value, list) else ()


def parse_match(text: str) -> ArgMatch:
    """Read what `str(ArgMatch)` writes, for example ``arg0 == 0x40000``; ValueError when it is something else."""
    found = _MATCH.fullmatch(text)
    if not found:
        message = f"{text!r} is not a comparison such as 'arg0 == 0x40000'"
        raise ValueError(message)
    index, mask, datum, sign, value = found.groups()
    if mask:
        return ArgMatch(int(index), "SCMP_CMP_MASKED_EQ", int(mask, 16), int(datum, 16))
    return ArgMatch(int(index), f"SCMP_CMP_{_SIGNS[sign]}", int(value, 16))
