"""The seccomp profile that an engine applies when nobody names one: data/seccomp/*.toml, by engine release.

No engine tells its default profile through its API, so we carry it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache

from debugrun.core import package_data
from debugrun.core.rules.seccomp.model import ALLOW, ENOSYS, ERRNO, ArgMatch, Filter, Profile, Rule, Runtime

#: For each engine the first release with a profile that we know, and the first one beyond: there ours would be a guess.
#: A new Docker release has so far changed a call or two, hence it is given the newest that we know.
_KNOWN = {"docker": ((18, 9, 0), (999, 0, 0)), "podman": ((4, 3, 0), (5, 9, 0)), "containerd": ((1, 6, 20), (3, 0, 0))}
_NEVER = (999, 0, 0)
_SIGNS = {"!=": "NE", "<": "LT", "<=": "LE", "==": "EQ", ">=": "GE", ">": "GT"}
_MATCH = re.compile(r"arg([0-5]) (?:& (0x[0-9a-f]+) == (0x[0-9a-f]+)|(!=|<=|<|==|>=|>) (0x[0-9a-f]+))")

#: moby profiles/seccomp/default_linux.go, arches().
_ARCH_MAP = (
    ("SCMP_ARCH_X86_64", ("SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    ("SCMP_ARCH_AARCH64", ("SCMP_ARCH_ARM",)),
)


def default_profile(engine: str, version: tuple[int, ...]) -> Profile | None:
    """The profile of an engine of a release such as (20, 10, 24), for x86_64 and arm64.

    `engine` is "docker", "podman", or "containerd", whose own is what Kubernetes calls RuntimeDefault there.
    Podman reads it from a file that a distribution packs apart: the release's own is assumed where that file cannot be
    read. None: no such engine, or no profile of that release is known.
    """
    wanted = (*version, 0, 0, 0)[:3]
    if engine not in _KNOWN or not _KNOWN[engine][0] <= wanted < _KNOWN[engine][1]:
        return None
    rules = tuple(rule for since, until, rule in _table(engine) if since <= wanted < until)
    refusal = ENOSYS if engine == "podman" else None
    return Profile(default_action=ERRNO, default_errno=refusal, arch_map=_ARCH_MAP, rules=rules)


@cache
def releases(engine: str) -> tuple[tuple[int, ...], ...]:
    """The releases at which the default profile changed, the oldest that is known first; () for no such engine."""
    if engine not in _KNOWN:
        return ()
    ends = {end for since, until, _ in _table(engine) for end in (since, until)}
    oldest, beyond = _KNOWN[engine]
    found = sorted({oldest, *(end for end in ends if oldest < end < beyond)})
    return tuple(release if release[2] else release[:2] for release in found)


def release_text(release: tuple[int, ...]) -> str:
    """A release as it is written: Docker's calendar releases (18.09) have two digits in the month."""
    major, minor, *rest = release
    month = f"{minor:02}" if 17 <= major < 23 else str(minor)  # noqa: PLR2004 - calendar releases, named by the year
    return ".".join([str(major), month, *map(str, rest)])


def runtime_of(engine: str, version: tuple[int, ...], oci_runtime: str) -> Runtime:
    """What an engine's release makes of any profile.

    Which libseccomp it has cannot be asked: with Docker before 26 and Podman before 5.4 it may be as old as 2.5.4.

    `defaultErrnoRet` counts since Docker 23.0 (moby profiles/seccomp/seccomp.go). runc answers ENOSYS to calls that are
    newer than any in the profile since 1.0.0-rc93, which Docker 20.10 brought; crun has no such answer (measured under
    Podman 4.3 and 5.8 with crun 1.8 and 1.28, runc 1.1 and 1.3: the same profile, 28 calls apart).
    """
    docker, crun = engine == "docker", "crun" in oci_runtime
    stub = not crun and (not docker or version >= (20, 10))
    # What distributions shipped with those releases; packages of the makers bring others.
    oldest = (2, 5, 4) if version < ((26,) if docker else (5, 4)) else Runtime().libseccomp
    counts = not docker or version >= (23,)
    return Runtime(enosys_stub=stub, default_errno=counts, oldest_libseccomp=oldest, crun=crun)


@cache
def _table(engine: str) -> tuple[tuple[tuple[int, ...], tuple[int, ...], Rule], ...]:
    text = package_data.text(f"seccomp/{engine}.toml")
    return tuple(
        (_release(entry.get("since", "0")), _release(entry["until"]) if "until" in entry else _NEVER, _rule(entry))
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
