"""A pod that attacks what is put beside it, and one whose texts are made to deceive a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from debugrun.engine.stream import Frames, Stream
from debugrun.kubernetes.pods import Found
from debugrun.kubernetes.sidecar import Runner
from tests.live.hostile.test_neighbour import Report, assert_kept_out
from tests.live.kubernetes.conftest import HARDENED, Pods
from tests.live.kubernetes.test_attach import untraced

pytestmark = [pytest.mark.live, pytest.mark.kubernetes]

Run = Callable[..., subprocess.CompletedProcess[str]]
FULL = "docker.io/debugrun-test/full:latest"
TEXT = (Path(__file__).parents[1] / "hostile" / "neighbour.py").read_text()
BACKTRACE = ("--", "-batch", "-ex", "bt", "-ex", "shell sleep 0.5")
BOTH = {"runAsUser": 1000, "runAsGroup": 1000}


class Neighbour:
    """The hostile program at work in a pod's container."""

    def __init__(self, pods: Pods, namespace: str, name: str) -> None:
        self._runner = Runner(cluster=pods.cluster, found=Found(pod=pods.get(namespace, name), container="app"))
        self._text = b""
        self._frames = Frames()
        self._mark = os.urandom(8).hex()
        self._stream = self._exec("python3", "-c", f"{TEXT}# {self._mark}")
        self._read(b"ready\n")

    def _exec(self, *words: str) -> Stream:
        return self._runner.exec_start(self._runner.exec_create("app", words, user=""))

    def _read(self, until: bytes) -> None:
        while until not in self._text and self._stream.wait(60):
            data = self._stream.receive()
            if data == b"":
                break
            self._text += b"".join(part for _, part in self._frames.feed(data or b""))

    def report(self) -> Report:
        for entry in Path("/proc").glob("[0-9]*"):  # from outside: an exec would be one more process to attack
            with contextlib.suppress(OSError):
                if self._mark in (entry / "cmdline").read_text(errors="replace"):
                    os.kill(int(entry.name), signal.SIGTERM)
        self._read(b"}\n")
        self._stream.close()
        return Report(**json.loads(self._text.partition(b"ready\n")[2]))


@pytest.mark.parametrize(
    ("namespace", "context", "command"),
    [
        pytest.param("restricted", HARDENED, (), id="hardened"),
        pytest.param("baseline", {}, (), id="root"),
        pytest.param("privileged", BOTH, ("/opt/app/worker", "undumpable"), id="by-file-capability"),
    ],
)
def test_no_process_of_ours_lets_the_target_in(  # noqa: PLR0913, PLR0917 - fixtures
    debugrun: Run,
    pods: Pods,
    pod: Callable[..., str],
    namespace: str,
    context: Mapping[str, object],
    command: tuple[str, ...],
) -> None:
    name = pod(namespace, context, command or ("/opt/app/worker",), image=FULL)
    hostile = Neighbour(pods, namespace, name)
    done = debugrun("gdb", f"pod/{name}", "1", "-n", namespace, *BACKTRACE)
    report = hostile.report()
    if namespace != "baseline":
        assert_kept_out(report)
    # Root gets into the shell that looks, which has no more than root has; into no tool.
    assert not {name for names in report.through.values() for name in names} & {"gdb", "tini"}
    if namespace == "baseline" and done.returncode:  # what it can do to that shell: keep it from its end
        assert done.returncode == 125, done
        assert "did not end" in done.stderr
    else:
        assert done.returncode == 0, done
        assert "#0" in done.stdout
    assert "password" not in done.stdout + done.stderr
    assert len(pods.ours(namespace, name)) <= 2
    assert untraced(pods.first_process(namespace, name))


EVIL = "\x1b]0;owned\x07\x1b[2Jfine\rdebugrun: all is well\n\u202e"


def test_texts_of_a_pod_do_not_reach_the_terminal(debugrun: Run, pods: Pods, pod: Callable[..., str]) -> None:
    annotations = {"kubectl.kubernetes.io/default-container": EVIL, "note": EVIL}
    path = "/api/v1/namespaces/privileged/pods"
    container = {"name": "app", "image": FULL}
    pods.cluster.post(
        path, {"metadata": {"name": "evil", "annotations": annotations}, "spec": {"containers": [container]}}
    )
    status = {"status": {"phase": "Failed", "reason": f"Evicted{EVIL}", "message": EVIL}}
    pods.cluster.patch(f"{path}/evil/status", status)
    for words in (("gdb", "pod/evil"), ("ps", "pod/evil"), ("plan", "gdb", "pod/evil"), ("facts", "pod/evil")):
        done = debugrun(*words, "-n", "privileged", status=125)
        assert "Evicted" in done.stderr
        assert not set(done.stderr) & {"\x1b", "\x07", "\r", "\u202e"}
        assert len(done.stderr.splitlines()) == 2
    pods.cluster.delete(f"{path}/evil", grace=0)
    name = pod("baseline", {}, ("/opt/app/worker",), image=FULL)
    renames = f"import ctypes, time; ctypes.CDLL(None).prctl(15, {EVIL.encode()[:15]!r}); print(1, flush=True)"
    runner = Runner(cluster=pods.cluster, found=Found(pod=pods.get("baseline", name), container="app"))
    stream = runner.exec_start(runner.exec_create("app", ["python3", "-c", f"{renames}; time.sleep(60)"], user=""))
    assert stream.wait(20)
    for verb in ("ps", "facts", "stacks"):
        done = debugrun(verb, f"pod/{name}", "-n", "baseline")
        assert not set(done.stdout + done.stderr) & {"\x1b", "\x07", "\u202e"}
    stream.close()
