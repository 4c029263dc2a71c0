"""The OCI runtime specs that an engine writes: its default profile as resolved for one capability after the other.

Needs root on the engine's host: the specs lie where only the engine looks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import APIError

from debugrun.core.rules.seccomp import Profile, default_profile
from debugrun.core.rules.seccomp.evaluate import resolve
from debugrun.core.rules.seccomp.model import Rule
from debugrun.core.rules.seccomp.parse import parse_profile
from tests.seccomp import probe

GOLDEN = Path(__file__).with_name("resolved.json")
#: Capabilities that some rule of a default profile names.
GATING = (
    *(
        "AUDIT_WRITE",
        "BPF",
        "DAC_READ_SEARCH",
        "PERFMON",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
    ),
    *("SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_TIME", "SYS_TTY_CONFIG"),
)
#: pause(2) again and again: time in which the spec can be read.
PAUSES = ["x86_64:34"] * 200


def specs(client: docker.APIClient, image: str) -> Iterator[tuple[str, Profile]]:
    """(capability or "", the profile that the engine wrote for a container with it alone), for those that it knows."""
    for cap in ("", *GATING):
        host = client.create_host_config(cap_drop=["ALL"], cap_add=[cap] if cap else [], network_mode="none")
        try:
            made = client.create_container(image, ["/prober", "in-container", *PAUSES], host_config=host)["Id"]
        except APIError as error:
            if "unknown capability" not in str(error):
                raise
            continue
        try:
            client.start(made)
            yield cap, parse_profile(_spec(client, made))
        finally:
            with suppress(APIError):
                client.kill(made)  # first: Podman's removal would wait ten seconds for it
            client.remove_container(made, force=True)


def _spec(client: docker.APIClient, container: str) -> str:
    """config.json of a running container: in the shim's working directory, or where conmon was told."""
    pid = client.inspect_container(container)["State"]["Pid"]
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    parent = Path("/proc") / stat.rpartition(")")[2].split()[1]
    bundle = "cwd"
    words = (parent / "cmdline").read_bytes().split(b"\0")
    if b"-b" in words and b"conmon" in words[0]:
        bundle = "root" + words[words.index(b"-b") + 1].decode()
    return (parent / bundle / "config.json").read_text(encoding="utf-8")


def differences(name: str, version: tuple[int, ...], kernel: tuple[int, int], cap: str, real: Profile) -> set[str]:
    """What the table says otherwise than the spec of a real engine."""
    profile = default_profile(name, version)
    assert profile is not None
    ours = resolve(profile, frozenset({cap} - {""}), "x86_64", kernel)
    expected = described(rule for _, rule in ours.rules)
    found = described(real.rules)
    if (real.default_action, real.default_errno or 1) != (profile.default_action, profile.default_errno or 1):
        found = found | {f"default {real.default_action} {real.default_errno}"}
    return (found ^ expected) | (set(real.architectures) ^ set(ours.architectures))


def described(rules: Iterable[Rule]) -> set[str]:
    """Each call of each rule in words; errno 1 is what a refusal without a number means."""
    return {
        f"{name} {rule.action} {rule.errno if rule.action == 'SCMP_ACT_ERRNO' else None} {list(map(str, rule.args))}"
        for rule in rules
        for name in rule.names
    }


def record(release: str, found: dict[str, set[str]]) -> None:
    """Keep what a real engine wrote, as differences to no capability: the golden data of tests/core/rules/seccomp."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    plain = found[""]
    golden[release] = {"none": {"rules": len(plain)}} | {
        cap: {"added": sorted(rules - plain), "removed": sorted(plain - rules)} for cap, rules in found.items() if cap
    }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


def identify(client: docker.APIClient) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """("docker" or "podman", its release, its kernel's)."""
    told = client.version()
    podman = any(part["Name"] == "Podman Engine" for part in told.get("Components") or ())
    major, minor = map(int, told["KernelVersion"].split(".")[:2])
    return "podman" if podman else "docker", tuple(map(int, re.findall(r"\d+", told["Version"])[:3])), (major, minor)


def main() -> int:
    """Compare the engine of DOCKER_HOST with its table, and keep what it wrote; the number of differences."""
    client = docker.from_env(timeout=120).api
    name, version, kernel = identify(client)
    image = probe.image(client, probe.binary(client))
    found, wrong = {}, 0
    for cap, real in specs(client, image):
        found[cap] = described(real.rules)
        different = differences(name, version, kernel, cap, real)
        wrong += len(different)
        print(f"{'+' + cap if cap else 'no capability'}: {len(found[cap])} rules, different: {different or 'none'}")
    release = ".".join(map(str, version))
    record(release if name == "docker" else f"{name} {release}", found)
    print(f"{name} {release}: {sum(map(len, found.values()))} rules compared, {wrong} differences")
    client.remove_image(image, force=True)
    return wrong
