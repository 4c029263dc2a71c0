"""Runtimes that hide their processes: what is known of them, and what is not. On gVisor: live/test_runtimes.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from debugrun.core.ask.selection import Wanted
from debugrun.core.rules import sandbox
from debugrun.errors import TargetError
from tests import cases

WEB = cases.PLAIN.container


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        ("runc", None),
        ("crun", None),
        ("io.containerd.runc.v2", None),
        ("nvidia", None),
        ("sysbox-runc", None),
        ("runsc", "gVisor"),
        ("io.containerd.runsc.v1", "gVisor"),
        ("gvisor-kvm", "gVisor"),
        ("kata-runtime", "a virtual machine"),
        ("io.containerd.kata-qemu.v2", "a virtual machine"),
        ("krun", "a virtual machine"),
        ("crun-vm", "a virtual machine"),
    ],
)
def test_sandboxes_are_known_by_the_runtimes_name(runtime: str, name: str | None) -> None:
    found = sandbox.of(replace(WEB, runtime=runtime))
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("user", "ids"),
    [("", (0, 0)), ("root", (0, 0)), ("0:0", (0, 0)), ("1000", (1000, 0)), ("1000:1001", (1000, 1001))],
)
def test_a_process_that_is_hidden_is_known_by_its_configuration(user: str, ids: tuple[int, int]) -> None:
    process = sandbox.process_facts(replace(WEB, runtime="runsc", user=user), "/usr/bin/worker", Wanted())
    assert (process.pid, process.comm) == (1, "worker")
    assert (process.uids[1], process.gids[1]) == ids
    assert process.permitted == (cases.DOCKER_DEFAULT if ids[0] == 0 else ())
    assert process.dumpable is None


@pytest.mark.parametrize(
    ("user", "wanted", "code"),
    [
        ("", Wanted(comm="worker"), "hidden"),
        ("", Wanted(host_pid=4321), "hidden"),
        ("app", Wanted(), "hidden-user"),
        ("1000:app", Wanted(), "hidden-user"),
    ],
)
def test_what_only_the_inside_tells_is_not_guessed(user: str, wanted: Wanted, code: str) -> None:
    with pytest.raises(TargetError) as caught:
        sandbox.process_facts(replace(WEB, runtime="runsc", user=user), "/app", wanted)
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)


def test_another_pid_is_taken_as_it_is() -> None:
    process = sandbox.process_facts(replace(WEB, runtime="runsc"), "/app", Wanted(pid=7))
    assert (process.pid, process.comm) == (7, "?")
