"""Run tests/targets/prober.c in containers and hold what it saw against what the evaluator said."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import docker

from debugrun.core.rules.seccomp import Outcome, Profile, Runtime, evaluate
from debugrun.core.rules.seccomp.calls import X32_BIT
from tests.host import images

IMAGE = "debugrun-test-probe"
UINT64_MAX = 2**64 - 1
MARK = 2000  # beyond all errno numbers that a kernel returns
DEFAULT_CAPS = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
EVERY_CALL = ("x86_64:0-480", "x86:0-480", "x32:0-560")
#: Arguments that a profile tells apart; 0x800 makes the kernel refuse a clone that the filter lets pass. Sockets of
#: netlink (16), of its audit protocol (9) and of VSOCK (40) are what Podman and Docker look at.
ARGUMENTS = (
    *(f"x86_64:135:{value:x}" for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0x40000, 0x40008, 0x400000)),
    *(f"x86:136:{value:x}" for value in (0, 8, 0x20000, 0xFFFFFFFF, 0x40000, 0x400000)),
    *(f"x86_64:56:{1 << bit | 0x800:x}" for bit in (8, 17, 25, 26, 27, 28, 29, 30, 31)),
    *(f"{abi}:{number}:{family:x}" for abi, number in (("x86_64", 41), ("x86", 359)) for family in range(1, 46)),
    *(f"x86_64:41:{family:x},3,{protocol:x}" for family in (2, 16, 40) for protocol in (0, 9, 2**32 + 9)),
    # what tests/seccomp/operator.json looks at: connect, accept, shutdown, bind, listen
    *(f"x86_64:42:3,0,{length:x}" for length in (1, 2**32 + 1, 2**32 + 2)),
    *(f"x86_64:{number}:3,{value:x},0" for number in (43, 49) for value in (6, 7, 8, 2**63)),
    *(f"x86_64:{number}:{value:x},0" for number in (48, 50) for value in (2, 3, 4, 5, 2**32 + 5)),
    f"x86_64:41:{2**32 + 40:x}",
    f"x86_64:41:{2**32 + 16:x},3,9",
)


class Case(NamedTuple):
    """A call as the prober makes it: the arguments after the first three are -1."""

    abi: str
    number: int
    args: tuple[int, int, int]


def binary(client: docker.APIClient) -> bytes:
    """The prober, as a tar of one file, out of the image of Dockerfile.test: no compiler is needed on this machine.

    `client` is the engine that builds the images of the targets; the prober then runs on any.
    """
    images.build(client)
    made = client.create_container("debugrun-test/prober", ["/prober"])["Id"]
    try:
        stream, _ = client.get_archive(made, "/prober")
        return b"".join(stream)
    finally:
        client.remove_container(made, force=True)


def image(client: docker.APIClient, packed: bytes) -> str:
    """The id of an image that holds the prober and nothing else, on any engine."""
    answer = client.import_image_from_data(packed, repository=IMAGE)
    return str(json.loads(answer.splitlines()[-1])["status"])


def observe(  # noqa: PLR0913 - a container, and what is run in it
    client: docker.APIClient,
    image: str,
    specs: Iterable[str],
    *,
    cap_add: Iterable[str],
    drop: bool,
    seccomp: str | None,
) -> dict[Case, str]:
    """What became of each call in a container with these capabilities and this profile (None: the engine's own)."""
    config = client.create_host_config(
        network_mode="none",
        cap_add=list(cap_add),
        cap_drop=["ALL"] if drop else [],
        security_opt=[] if seccomp is None else [f"seccomp={seccomp}"],
    )
    container = client.create_container(image, ["/prober", "in-container", *specs], host_config=config)["Id"]
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
    return {case(abi, int(number), args.split(",")): result for abi, number, args, result in rows}


def case(abi: str, number: int, args: Iterable[str]) -> Case:
    """A case of the prober's output."""
    first, second, third = (int(word, 16) for word in args)
    return Case(abi, number, (first, second, third))


def with_traps(profile: Profile) -> Profile:
    """The profile with SIGSYS for its default refusal, and in its rules errors that no kernel returns.

    So no refusal can be taken for one of the kernel's own.
    """
    rules = tuple(
        rule if rule.action == "SCMP_ACT_ALLOW" else replace(rule, errno=MARK + (rule.errno or 1))
        for rule in profile.rules
    )
    return replace(profile, default_action="SCMP_ACT_TRAP", default_errno=None, rules=rules)


def predict(profile: Profile, case: Case, caps: frozenset[str], kernel: tuple[int, int], runtime: Runtime) -> Outcome:
    """The evaluator's word on what the prober does."""
    number = case.number | X32_BIT if case.abi == "x32" else case.number
    rest = (UINT64_MAX,) * 3
    return evaluate(profile, str(number), (*case.args, *rest), caps=caps, arch=case.abi, kernel=kernel, runtime=runtime)


def agrees(predicted: Outcome, seen: str, unconfined: str) -> bool:
    """Whether a result is the predicted one; `unconfined` is the result of the same call without any filter."""
    if not predicted.certain:
        return False
    match predicted.action:
        case "trap":
            return seen == "trap"
        case "errno":
            return seen == str(-(predicted.errno or 0))
        case "kill":
            return seen == "died:31"  # SIGSYS
        case "allow" | "log":
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
