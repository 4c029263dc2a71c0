"""Run tests/seccomp/prober.c in containers and hold what it saw against what the evaluator said."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import docker

from debugrun.seccomp import Outcome, Profile, Runtime, evaluate
from debugrun.seccomp.calls import X32_BIT

IMAGE = "debugrun-test-prober:1"
SOURCE = Path(__file__).with_name("prober.c")
UINT64_MAX = 2**64 - 1
DEFAULT_CAPS = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
EVERY_CALL = ("x86_64:0-480", "x86:0-480", "x32:0-560")
#: First arguments that a profile tells apart; 0x800 makes the kernel refuse a clone that the filter lets pass.
ARGUMENTS = (
    *(f"x86_64:135:{value:x}" for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0x40000, 0x40008, 0x400000)),
    *(f"x86:136:{value:x}" for value in (0, 8, 0x20000, 0xFFFFFFFF, 0x40000, 0x400000)),
    *(f"x86_64:56:{1 << bit | 0x800:x}" for bit in (8, 17, 25, 26, 27, 28, 29, 30, 31)),
    *(f"{abi}:{number}:{family:x}" for abi, number in (("x86_64", 41), ("x86", 359)) for family in range(1, 46)),
    f"x86_64:41:{2**32 + 40:x}",
)


class Case(NamedTuple):
    """A call as the prober makes it: every argument but the first is -1."""

    abi: str
    number: int
    arg0: int


def build(client: docker.APIClient, folder: Path) -> None:
    """Make the image: one static binary, nothing else."""
    binary = folder / "prober"
    subprocess.run(["gcc", "-O1", "-static", "-o", str(binary), str(SOURCE)], check=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(binary, "prober")
    name, tag = IMAGE.split(":")
    client.import_image_from_data(packed.getvalue(), repository=name, tag=tag)


def observe(
    client: docker.APIClient, specs: Iterable[str], *, cap_add: Iterable[str], drop: bool, seccomp: str | None
) -> dict[Case, str]:
    """What became of each call in a container with these capabilities and this profile (None: the engine's own)."""
    config = client.create_host_config(
        network_mode="none",
        cap_add=list(cap_add),
        cap_drop=["ALL"] if drop else [],
        security_opt=[] if seccomp is None else [f"seccomp={seccomp}"],
    )
    container = client.create_container(IMAGE, ["/prober", "in-container", *specs], host_config=config)["Id"]
    try:
        client.start(container)
        status = client.wait(container, timeout=60)["StatusCode"]
        text = client.logs(container).decode()
    finally:
        client.remove_container(container, force=True)
    if status:
        message = f"the prober ended with {status}: {text}"
        raise RuntimeError(message)
    rows = [line.split() for line in text.splitlines()]
    return {Case(abi, int(number), int(arg0, 16)): result for abi, number, arg0, result in rows}


def with_traps(profile: Profile) -> Profile:
    """The profile with SIGSYS in place of its default refusal, so that it cannot be taken for the kernel's own."""
    return replace(profile, default_action="SCMP_ACT_TRAP", default_errno=None)


def predict(profile: Profile, case: Case, caps: frozenset[str], kernel: tuple[int, int], runtime: Runtime) -> Outcome:
    """The evaluator's word on what the prober does."""
    number = case.number | X32_BIT if case.abi == "x32" else case.number
    rest = (UINT64_MAX,) * 5
    return evaluate(profile, str(number), (case.arg0, *rest), caps=caps, arch=case.abi, kernel=kernel, runtime=runtime)


def agrees(predicted: Outcome, seen: str, unconfined: str) -> bool:
    """Whether a result is the predicted one; `unconfined` is the result of the same call without any filter."""
    if not predicted.certain:
        return False
    match predicted.action:
        case "trap":
            return seen == "trap"
        case "errno":
            return seen == str(-(predicted.errno or 0))
        case "allow":
            return seen != "trap" and (seen != "-38" or unconfined == "-38")
    return False


def disagreements(  # noqa: PLR0913 - what was seen, and all that a verdict depends on
    profile: Profile,
    seen: Mapping[Case, str],
    unconfined: Mapping[Case, str],
    *,
    caps: frozenset[str],
    kernel: tuple[int, int],
    runtime: Runtime,
) -> list[str]:
    """Every case in which prediction and observation differ, in words."""
    wrong = []
    for case, result in seen.items():
        predicted = predict(profile, case, caps, kernel, runtime)
        if not agrees(predicted, result, unconfined[case]):
            wrong.append(f"{case}: predicted {predicted}, saw {result}, unconfined {unconfined[case]}")
    return wrong
