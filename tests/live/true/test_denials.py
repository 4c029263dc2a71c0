"""`debugrun denials` on real containers: which layer it names is the one that refuses, for each user."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.live import refused
from tests.live.waiting import until

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]
FILTERED = (
    "keyctl", "add_key", "bpf", "mount", "umount", "pivot_root", "unshare", "setns", "swapon", "reboot", "kexec",
    "init_module", "delete_module", "iopl", "acct", "settime", "perf", "handle", "userfault", "hostname",
)  # fmt: skip
ABLE = ["chroot", "setuid", "setgid", "setgroups", "raw", "packet", "mknod", "chown", "chown_other", "chmod_other"]
ALWAYS = ["nice", "limit"]  # SYS_NICE and SYS_RESOURCE are not among an engine's default capabilities
MODES = ["shadow", "secret", "passwd", "create", "link", "unlink", "mkdir", "execve", "access", "chdir", "group"]
START = "for p in /proc/[0-9]*; do read -r n <$p/comm; [ $n != refused ] || kill -USR1 ${p#/proc/}; done"
# By user and capabilities: what is refused by the kernel's capability check, and by modes.
KINDS: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "1000:1000": ({}, [*ABLE, *ALWAYS], MODES),
    "0:0": ({}, ALWAYS, ["execve"]),
    "0:0 bare": (
        {"cap_drop": ["ALL"]},
        [each for each in [*ABLE, *ALWAYS] if each != "chroot"],
        ["execve"],
    ),
}


FIRST, *OTHERS = KINDS
LATER = [pytest.param(each, marks=pytest.mark.slow) for each in OTHERS]


@pytest.mark.parametrize("kind", [FIRST, *LATER])
def test_each_refusal_by_its_layer(
    kind: str, engine: docker.APIClient, targets: object, toolbox: str, tmp_path: Path
) -> None:
    assert targets is not None
    assert toolbox
    options, able, modes = KINDS[kind]
    name = f"debugrun-denials-{tmp_path.name.replace('_', '')[-20:]}"
    host = engine.create_host_config(network_mode="none", init=True, **options)
    command = ["sh", "-c", f"{refused.COMMAND}\nexec /tmp/refused"]
    engine.create_container("debugrun-test/full", command, name=name, host_config=host, user=kind.split(maxsplit=1)[0])
    try:
        engine.start(name)
        until(lambda: b"ready" in engine.logs(name), lambda: engine.logs(name))
        run(engine, name, refused.PREPARE)
        found = watched(engine, name, tmp_path)
        said = [line.split() for line in engine.logs(name).decode().splitlines() if " " in line]
        refusals = {ask for ask, number in said if int(number) in {1, 13}}
        layers = {own(each): each["layer"] for each in found}
        expected = {
            **dict.fromkeys((*FILTERED, "chroot"), "seccomp"),  # chroot: where SYS_CHROOT is dropped
            **dict.fromkeys(able, "capability"),
            **dict.fromkeys(modes, "file permissions"),
        }
        # One call of one path is told once, whoever makes it.
        told = {each for each in refusals if each in layers or each not in {"access", "handle", "packet"}}
        assert {ask: layers.get(ask) for ask in told} == {ask: expected.get(ask) for ask in told}
        assert set(layers) <= refusals
        assert all(each["mend"] and each["fact"] for each in found)
    finally:
        engine.remove_container(name, force=True)


def run(engine: docker.APIClient, name: str, script: str) -> None:
    made = engine.exec_create(name, ["sh", "-ec", script], user="0:0", privileged=False)
    engine.exec_start(made["Id"])


def watched(engine: docker.APIClient, name: str, tmp_path: Path) -> list[dict[str, Any]]:
    """What `debugrun denials` says, while the program asks for all once."""
    program = Path(sys.executable).with_name("debugrun")
    err = tmp_path / "err"
    with err.open("w") as errors:
        process = subprocess.Popen(
            [program, "denials", name, "--duration", "60", "--json"], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        until(lambda: "watching" in err.read_text() or process.poll() is not None, err.read_text)
        run(
            engine,
            name,
            "for p in /proc/[0-9]*; do read -r n <$p/comm; [ $n != refused ] || kill -USR1 ${p#/proc/}; done",
        )
        until(lambda: b"done" in engine.logs(name), err.read_text)
        process.send_signal(2)  # Ctrl-C ends the watching, and what was seen is told
        out, _ = process.communicate(timeout=120)
    assert process.returncode in {0, 130}, err.read_text()
    found: list[dict[str, Any]] = json.loads(out)["denials"]
    return found


def own(found: dict[str, Any]) -> str:
    """The function of the program's own that asked."""
    functions = [frame["function"] for thread in found["threads"] for frame in thread["frames"]]
    return next((each.removeprefix("ask_") for each in functions if each.startswith("ask_")), "?")
