"""Derive the data that we ship about seccomp from its sources; not part of the product.

    derive.py numbers UAPI_DIR LIBSECCOMP...          -> debugrun/data/syscalls/numbers.tsv
    derive.py table docker|podman|containerd PROFILE.json...     -> debugrun/data/seccomp/ENGINE.toml
    derive.py engine                                  -> tests/seccomp/resolved.json

`numbers` reads the uapi directory of Debian's linux-libc-dev and copies of libseccomp.so.2, oldest first, each
given as RELEASE=PATH. `table` reads published profiles named ENGINE-vX.Y.Z.json, which are not kept here, and asks
them and the table that it wrote about every call, under each capability and under all. `engine` starts a container per
capability and compares the OCI runtime spec that the engine at DOCKER_HOST wrote for it with the table; it needs root
on the engine's host.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import re
import sys
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from debugrun.core.rules.seccomp import default_profile, evaluate
from debugrun.core.rules.seccomp.calls import ARCHES, calls
from debugrun.core.rules.seccomp.defaults import release_text
from debugrun.core.rules.seccomp.model import ArgMatch, Filter, Rule
from debugrun.core.rules.seccomp.parse import parse_profile
from tests.seccomp import specs
from tests.seccomp.specs import GATING

DATA = Path(__file__).resolve().parents[2] / "debugrun" / "data"
HEADERS = {
    "x86_64": "x86/asm/unistd_64.h",
    "x86": "x86/asm/unistd_32.h",
    "x32": "x86/asm/unistd_x32.h",
    "aarch64": "arm64/asm/unistd_64.h",
    "arm": "arm/asm/unistd-eabi.h",
}
TOKENS = {"x86_64": 0xC000003E, "x86": 0x40000003, "x32": 0x4000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}
ARM_PRIVATE = "breakpoint cacheflush usr26 usr32 set_tls get_tls arm_fadvise64_64 arm_sync_file_range sync_file_range2"
DEFINE = re.compile(r"#define\s+__NR_(\w+)\s+\(?(?:(?:__X32_SYSCALL_BIT|__NR_SYSCALL_BASE)\s*\+\s*)?(\d+)\)?\s*$")
OURS = {"amd64", "x32", "x86", "arm", "arm64"}

Version = tuple[int, ...]
Condition = tuple[str, int | None, tuple[ArgMatch, ...], Filter, Filter]


def numbers(uapi: str, *libraries: str) -> str:
    """The number table: headers for the numbers, libseccomp for arm's private calls and for who knows which name."""
    headers = {arch: _header(Path(uapi) / path) for arch, path in HEADERS.items()}
    loaded = {release: ctypes.CDLL(path) for release, path in (item.split("=", 1) for item in libraries)}
    newest = list(loaded.values())[-1]
    lines = [
        "# System call numbers: the kernel's UAPI headers (asm/unistd*.h, Linux 7.2; facts of the ABI) and, last,",
        "# the release of libseccomp that learned the name (- : before 2.5.5). x32 numbers are without the x32 bit.",
        "# Written by tests/seccomp/derive.py numbers; do not edit by hand.",
        "\t".join(["call", *HEADERS, "libseccomp"]),
    ]
    for name in sorted(set().union(*headers.values(), ARM_PRIVATE.split())):
        row = []
        for arch, known in headers.items():
            number = known.get(name, _resolve(newest, name, arch) & 0xFFFFFFFF)
            row.append("-" if number >= 2**31 else str(number & ~0x40000000))
        if set(row) != {"-"}:
            lines.append("\t".join([name, *row, _release(name, headers["x86_64"].get(name, 0), loaded)]))
    return "\n".join(lines) + "\n"


def _header(path: Path) -> dict[str, int]:
    found = (DEFINE.match(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {match[1]: int(match[2]) for match in found if match and not match[1].endswith(("syscalls", "BASE"))}


def _resolve(library: ctypes.CDLL, name: str, arch: str) -> int:
    return int(library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(TOKENS[arch]), name.encode()))


def _release(name: str, number: int, loaded: dict[str, ctypes.CDLL]) -> str:
    # 451 to 456 came with 2.5.5; distributions carry them in a patched 2.5.4 too, which is therefore no witness
    if 451 <= number <= 456:
        return "2.5.5"
    first = next(release for release, library in loaded.items() if _resolve(library, name, "x86_64") != -1)
    return "-" if first == next(iter(loaded)) else first


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where an engine's profiles come from, for the head of its table."""

    engine: str
    oldest: str
    source: str
    remark: str = ""


ORIGINS = {
    "docker": Origin(
        engine="Docker",
        oldest="18.09",
        source="moby/moby profiles/seccomp/default.json (Apache-2.0, copyright the Moby authors)",
    ),
    "podman": Origin(
        engine="Podman",
        oldest="4.3",
        source="containers/common pkg/seccomp/seccomp.json (Apache-2.0, copyright the containers/common authors)",
        remark="Podman reads it from a file, /usr/share/containers/seccomp.json, of a package of its own: each release "
        "is given the one of the containers/common release that it is built with, as Debian does. Refused is by "
        "default ENOSYS, with EPERM where a rule says so. ",
    ),
    "containerd": Origin(
        engine="containerd",
        oldest="1.6.20",
        source="containerd contrib/seccomp/seccomp_default.go (Apache-2.0, copyright the containerd authors)",
        remark="It is a function of the capabilities there: it was asked for each capability alone. ",
    ),
}


def table(engine: str, *paths: str) -> str:
    """The version table: for each (call, condition) the engine releases that have it, grouped."""
    profiles = sorted((_version(path), _rules(path)) for path in paths)
    versions = [version for version, _ in profiles]
    groups: dict[tuple[str, str, Condition], set[str]] = defaultdict(set)
    for call, condition in set().union(*(rules for _, rules in profiles)):
        present = [(call, condition) in rules for _, rules in profiles]
        for start, end in _runs(present):
            since = "" if start == 0 else _boundary(versions, start)
            until = "" if end == len(versions) else _boundary(versions, end)
            groups[since, until, condition].add(call)
    origin = ORIGINS[engine]
    seen = ", ".join(map(release_text, versions))
    head = textwrap.fill(
        f"{origin.engine}'s default seccomp profile, by engine release: each call with the condition under which it is "
        "allowed (or refused, with the errno). since: the first release that has it, until: the first that has not "
        f"(absent: all that we know, {origin.oldest} on). Profiles seen: {seen}; where a change fell between two of "
        f"them, the later one is named. {origin.remark}Derived from {origin.source} and checked against the OCI "
        "runtime specs that real engines write; only what concerns amd64 and arm64 is kept. Written by "
        "tests/seccomp/derive.py table; do not edit by hand.",
        width=110,
        initial_indent="# ",
        subsequent_indent="# ",
    )
    order = sorted(groups.items(), key=lambda item: (_sort_key(item[0][2]), _key(item[0][0]), _key(item[0][1])))
    return "\n\n".join([head, *(_block(*key, names) for key, names in order)]) + "\n"


def differences(engine: str, *paths: str) -> int:
    """Ask the profiles and their table about every call, under each capability and under all; 0: they agree."""
    compared = different = 0
    for path in paths:
        real = parse_profile(Path(path).read_text(encoding="utf-8"))
        ours = default_profile(engine, _version(path))
        assert ours, path
        for call, arch, caps in itertools.product(calls(), ARCHES, [(), *zip(GATING), GATING]):
            ask = functools.partial(evaluate, call=call, caps=frozenset(caps), arch=arch, kernel=(6, 1))
            expected, found = ask(real), ask(ours)
            compared += 1
            if (expected.action, expected.errno, expected.certain) != (found.action, found.errno, found.certain):
                different += 1
                print(f"{path}: {call} on {arch} with {caps}: {expected}, the table says {found}")
    print(f"{engine}: {compared} verdicts compared, {different} differences")
    return different


def _version(path: str) -> Version:
    return tuple(map(int, Path(path).stem.split("-v")[1].split(".")))


def _key(version: str) -> Version:
    return tuple(map(int, version.split("."))) if version else (0,)


def _rules(path: str) -> set[tuple[str, Condition]]:
    profile = parse_profile(Path(path).read_text(encoding="utf-8"))
    found = set()
    for rule in profile.rules:
        condition = _condition(rule)
        if condition:
            found |= {(name, condition) for name in rule.names}
    return found


def _condition(rule: Rule) -> Condition | None:
    if rule.includes.arches and not OURS & set(rule.includes.arches):
        return None
    includes = Filter(rule.includes.caps, tuple(sorted(OURS & set(rule.includes.arches))), rule.includes.min_kernel)
    excludes = Filter(rule.excludes.caps, (), rule.excludes.min_kernel)
    return rule.action, rule.errno, rule.args, includes, excludes


def _runs(present: list[bool]) -> list[tuple[int, int]]:
    padded = [False, *present, False]
    edges = [at for at in range(len(present) + 1) if padded[at] != padded[at + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _boundary(versions: list[Version], at: int) -> str:
    """A change between two releases of one series is dated by the release, else by the series."""
    same = versions[at][:2] == versions[at - 1][:2]
    return release_text(versions[at] if same else versions[at][:2])


def _sort_key(condition: Condition) -> tuple[object, ...]:
    action, errno, args, includes, excludes = condition
    return (
        includes.caps,
        excludes.caps,
        includes.arches,
        includes.min_kernel or (0, 0),
        # A refusal first: libseccomp takes the conditions of Podman's socket rules in that order only (else EEXIST).
        action != "SCMP_ACT_ERRNO",
        errno or 0,
        [(match.index, match.op, match.value) for match in args],
    )


def _block(since: str, until: str, condition: Condition, calls: set[str]) -> str:
    action, errno, args, includes, excludes = condition
    lines = ["[[rule]]"]
    lines += [f'since = "{since}"'] if since else []
    lines += [f'until = "{until}"'] if until else []
    lines += [f"caps = {_list(includes.caps)}"] if includes.caps else []
    lines += [f"without_caps = {_list(excludes.caps)}"] if excludes.caps else []
    lines += [f"arches = {json.dumps(includes.arches)}"] if includes.arches else []
    lines += ['kernel = "{}.{}"'.format(*includes.min_kernel)] if includes.min_kernel else []
    lines += [f"args = {json.dumps([str(match) for match in args])}"] if args else []
    lines += [f"errno = {errno}"] if action == "SCMP_ACT_ERRNO" else []
    text = " ".join(sorted(calls))
    wrapped = "\n".join(textwrap.wrap(text, width=110, break_on_hyphens=False))
    lines += [f'calls = """\n{wrapped}\n"""' if "\n" in wrapped else f'calls = "{text}"']
    return "\n".join(lines)


def _list(caps: tuple[str, ...]) -> str:
    return json.dumps([cap.removeprefix("CAP_") for cap in caps])


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "numbers":
        (DATA / "syscalls" / "numbers.tsv").write_text(numbers(*rest), encoding="utf-8")
    elif command == "table":
        (DATA / "seccomp" / f"{rest[0]}.toml").write_text(table(*rest), encoding="utf-8")
        sys.exit(differences(*rest) != 0)
    elif command == "engine":
        sys.exit(specs.main() != 0)
