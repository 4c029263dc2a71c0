"""gdb on a process of a pod: what is admitted, what is taken, and that the target runs on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.kubernetes.conftest import HARDENED, STATIC, Pods

pytestmark = [pytest.mark.live, pytest.mark.kubernetes]

Completed = subprocess.CompletedProcess[str]
Run = Callable[..., Completed]
Shape = tuple[str, dict[str, object], dict[str, object]]
BACKTRACE = ("--", "-batch", "-ex", "bt")
ROOT_DROPPED = {"capabilities": {"drop": ["ALL"]}}


def untraced(pid: int) -> bool:
    return all(
        "TracerPid:\t0\n" in path.read_text() and "State:\tT" not in path.read_text()
        for path in Path(f"/proc/{pid}/task").glob("*/status")
    )


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(("restricted", HARDENED, {}), id="hardened"),
        pytest.param(("baseline", {"runAsUser": 1000, "runAsGroup": 1000}, {}), id="uid-and-gid"),
        pytest.param(("baseline", {"runAsUser": 1000}, {}), id="uid-alone"),
        pytest.param(("baseline", {}, {"image": STATIC, "command": ()}), id="the-image-decides"),
        pytest.param(("baseline", {}, {}), id="root"),
        pytest.param(("privileged", ROOT_DROPPED, {}), id="root-without-capabilities"),
    ],
)
def test_gdb_attaches_with_nothing_added(debugrun: Run, pods: Pods, pod: Callable[..., str], shape: Shape) -> None:
    namespace, context, more = shape
    name = pod(namespace, context, **more)
    done = debugrun("gdb", f"pod/{name}", "-n", namespace, *BACKTRACE, stdin="", status=0)
    assert "in main (" in done.stdout, done
    assert f"admitted by `{namespace}`" in done.stderr
    assert "SYS_PTRACE" not in done.stderr
    process = pods.first_process(namespace, name)
    assert untraced(process)
    assert pods.state(namespace, name).keys() == {"running"}
    for each in pods.ours(namespace, name):
        pods.await_state(namespace, name, "terminated", each)


def test_one_ephemeral_container_where_the_pod_says_who_it_is(
    debugrun: Run, pods: Pods, pod: Callable[..., str]
) -> None:
    name = pod("restricted", HARDENED)
    debugrun("gdb", f"pod/{name}/app", "-n", "restricted", *BACKTRACE, status=0)
    assert len(pods.ours("restricted", name)) == 1


def test_what_the_namespace_refuses_is_told_in_the_servers_words(
    debugrun: Run, pods: Pods, pod: Callable[..., str]
) -> None:
    name = pod("restricted", HARDENED, ("/opt/app/worker", "undumpable"))
    done = debugrun("gdb", f"pod/{name}", "-n", "restricted", *BACKTRACE, status=126)
    assert 'violates PodSecurity "restricted' in done.stderr
    assert untraced(pods.first_process("restricted", name))


def test_an_undumpable_process_takes_one_capability_where_it_is_admitted(
    debugrun: Run, pod: Callable[..., str]
) -> None:
    context = {"runAsUser": 1000, "runAsGroup": 1000}
    name = pod("privileged", context, ("/opt/app/worker", "undumpable"))
    done = debugrun("gdb", f"pod/{name}", "-n", "privileged", *BACKTRACE, status=0)
    assert "in main (" in done.stdout, done
    assert "SYS_PTRACE" in done.stderr


def test_a_tools_status_and_output_come_through(debugrun: Run, pod: Callable[..., str]) -> None:
    name = pod("restricted", HARDENED)
    script = "python import sys; sys.stdout.write('x' * 300000); sys.stdout.flush()"
    done = debugrun("gdb", f"pod/{name}", "-n", "restricted", "--", "-batch", "-ex", script, "-ex", "quit 7")
    assert done.returncode == 7, done
    assert done.stdout.count("x" * 1000) >= 300


def test_a_killed_client_leaves_the_target_untraced(pods: Pods, pod: Callable[..., str]) -> None:
    name = pod("restricted", HARDENED)
    line = [str(Path(sys.executable).with_name("debugrun")), "gdb", f"pod/{name}", "-n", "restricted", "--"]
    commands = ["-ex", "break pause_100_ms", "-ex", "continue", "-ex", "echo met\\n"]
    client = subprocess.Popen([*line, *commands], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert client.stdout is not None
    for text in client.stdout:
        if b"met" in text:
            break
    process = pods.first_process("restricted", name)
    assert not untraced(process)
    client.send_signal(signal.SIGKILL)
    client.communicate()
    deadline = time.monotonic() + 40
    while not untraced(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert untraced(process)
    assert pods.state("restricted", name).keys() == {"running"}


def test_plan_asks_the_server_about_every_option(debugrun: Run, pod: Callable[..., str]) -> None:
    name = pod("restricted", HARDENED)
    plan = json.loads(debugrun("plan", "gdb", f"pod/{name}", "-n", "restricted", "--json", status=0).stdout)
    said = [[gate for gate in option["gates"] if gate["layer"] == "admission"] for option in plan["options"]]
    assert all(len(each) == 1 for each in said)
    assert said[plan["chosen"]][0]["verdict"] == "open"
    assert {each[0]["verdict"] for each in said} == {"open", "closed"}


def test_facts_are_those_of_the_kernel(debugrun: Run, pods: Pods, pod: Callable[..., str]) -> None:
    name = pod("restricted", HARDENED)
    facts = json.loads(debugrun("facts", f"pod/{name}", "-n", "restricted", "--json", status=0).stdout)
    assert (facts["process"]["pid"], facts["process"]["uids"][0], facts["process"]["gids"][0]) == (1, 1000, 1000)
    assert facts["process"]["dumpable"] is True
    assert facts["engine"]["name"] == "containerd"
    assert facts["container"]["name"] == f"pod/{name}/app"
    assert untraced(pods.first_process("restricted", name))
