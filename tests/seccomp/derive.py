"""Derive the data that we ship about seccomp from its sources; not part of the product.

    derive.py numbers UAPI_DIR LIBSECCOMP...   -> debugrun/data/syscalls/numbers.tsv
    derive.py table PROFILE.json...            -> debugrun/data/seccomp/docker.toml
    derive.py engine IMAGE DOCKERD_PID         -> tests/seccomp/resolved.json

`numbers` reads the uapi directory of Debian's linux-libc-dev and copies of libseccomp.so.2, oldest first, each
given as RELEASE=PATH. `table` reads published profiles named moby-vX.Y.Z.json (moby/moby profiles/seccomp/default.json,
Apache-2.0): they are not kept here. `engine` starts a container per capability and reads the OCI runtime spec that the
engine (at DOCKER_HOST) wrote for it, which it compares with the table; it needs root on the engine's host.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import docker

from debugrun.seccomp import default_profile
from debugrun.seccomp.evaluate import resolve
from debugrun.seccomp.model import ArgMatch, Filter, Rule
from debugrun.seccomp.parse import parse_profile

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


def table(*paths: str) -> str:
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
    seen = ", ".join(map(_text, versions))
    head = textwrap.fill(
        "Docker's built-in seccomp profile, by engine release: each call with the condition under which it is allowed. "
        "since: the first release that has it, until: the first that has not (absent: all that we know, 18.09 on). "
        f"Profiles seen: {seen}; where a change fell between two of them, the later one is named. Derived from "
        "moby/moby profiles/seccomp/default.json (Apache-2.0, copyright the Moby authors) and checked against the OCI "
        "runtime specs that real engines write; only what concerns amd64 and arm64 is kept. Written by "
        "tests/seccomp/derive.py table; do not edit by hand.",
        width=110,
        initial_indent="# ",
        subsequent_indent="# ",
    )
    order = sorted(groups.items(), key=lambda item: (_sort_key(item[0][2]), _key(item[0][0]), _key(item[0][1])))
    return "\n\n".join([head, *(_block(*key, calls) for key, calls in order)]) + "\n"


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
    return _text(versions[at] if same else versions[at][:2])


def _text(version: Version) -> str:
    """A release as Docker writes it: calendar releases (18.09) have two digits in the month."""
    major, minor, *rest = version
    return ".".join([str(major), f"{minor:02}" if major < 23 else str(minor), *map(str, rest)])


def _sort_key(condition: Condition) -> tuple[object, ...]:
    action, errno, args, includes, excludes = condition
    return (
        includes.caps,
        excludes.caps,
        includes.arches,
        includes.min_kernel or (0, 0),
        action,
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


#: Capabilities that some rule of a default profile names.
GATING = (
    *("BPF", "DAC_READ_SEARCH", "PERFMON", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE"),
    *("SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_TIME", "SYS_TTY_CONFIG"),
)


def engine(image: str, daemon: str) -> int:
    """Compare the table with the runtime spec that the engine in reach writes, once per capability; 0: they are equal.

    `image` is any image at hand (nothing of it is run to the end), `daemon` the PID of its dockerd on this machine.
    """
    client = docker.APIClient(base_url=os.environ["DOCKER_HOST"], version="auto")
    version = tuple(map(int, re.findall(r"\d+", client.version()["Version"])[:3]))
    release = client.info()["KernelVersion"].split(".")
    kernel = int(release[0]), int(release[1])
    profile = default_profile("docker", version)
    assert profile
    different = compared = 0
    for cap in ("", *GATING):
        try:
            spec = _spec(client, image, daemon, cap)
        except docker.errors.APIError as error:
            print(f"{cap}: {error.explanation}")
            continue
        real = parse_profile(spec)
        ours = resolve(profile, frozenset({cap} - {""}), "x86_64", kernel)
        found = {(name, *_meaning(rule)) for rule in real.rules for name in rule.names}
        expected = {(name, *_meaning(rule)) for _, rule in ours.rules for name in rule.names}
        _record(".".join(map(str, version)), cap or "none", _described(real.rules))
        compared += len(found)
        different += len(found ^ expected) + (set(real.architectures) != set(ours.architectures))
        print(f"{'+' + cap if cap else 'no capability'}: {len(found)} rules, different: {found ^ expected or 'none'}")
    print(f"docker {version}: {compared} rules compared, {different} differences")
    return different


def _described(rules: Iterable[Rule]) -> set[str]:
    return {f"{name} {rule.action} {rule.errno} {list(map(str, rule.args))}" for rule in rules for name in rule.names}


def _record(release: str, cap: str, found: set[str]) -> None:
    """Keep what a real engine wrote, as its difference to no capability: the golden data of tests/test_seccomp.py."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    entry = golden.setdefault(release, {})
    plain = set(_PLAIN.setdefault(release, sorted(found)))
    if cap == "none":
        entry[cap] = {"rules": len(found)}
    else:
        entry[cap] = {"added": sorted(found - plain), "removed": sorted(plain - found)}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


#: pause(2) again and again: a second in which the spec can be read.
PAUSES = ["x86_64:34"] * 20
_PLAIN: dict[str, list[str]] = {}
GOLDEN = Path(__file__).with_name("resolved.json")


def _meaning(rule: Rule) -> tuple[object, ...]:
    return rule.action, rule.errno if rule.action == "SCMP_ACT_ERRNO" else None, rule.args


def _spec(client: docker.APIClient, image: str, daemon: str, cap: str) -> str:
    host = client.create_host_config(cap_drop=["ALL"], cap_add=[cap] if cap else [], network_mode="none")
    made = client.create_container(image, ["/prober", "in-container", *PAUSES], host_config=host)["Id"]
    try:
        client.start(made)
        run = Path(f"/proc/{daemon}/root/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby")
        text: str = (run / made / "config.json").read_text(encoding="utf-8")
        return text
    finally:
        client.remove_container(made, force=True)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "numbers":
        (DATA / "syscalls" / "numbers.tsv").write_text(numbers(*rest), encoding="utf-8")
    elif command == "table":
        (DATA / "seccomp" / "docker.toml").write_text(table(*rest), encoding="utf-8")
    elif command == "engine":
        sys.exit(engine(*rest) != 0)
