"""`debugrun flame` on real containers: the hot function is the hottest, and every file has the same samples."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]


@pytest.fixture
def busy(engine: docker.APIClient, targets: object) -> Iterator[str]:
    """The worker, which burns a few milliseconds for each tick."""
    assert targets is not None
    name = f"debugrun-busy-{uuid.uuid4().hex[:8]}"
    host = engine.create_host_config(network_mode="none")
    engine.create_container("debugrun-test/app", ["/opt/app/worker", "busy"], name=name, user="1000", host_config=host)
    try:
        engine.start(name)
        yield name
    finally:
        engine.remove_container(name, force=True)


def test_the_hot_function_is_the_hottest_in_every_file(
    busy: str, toolbox: str, debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    assert toolbox
    done = debugrun("perf", busy, "--duration", "3", "--rate", "499", "-o", str(tmp_path), status=0, timeout=120)
    answer = done.stdout.splitlines()
    total = int(answer[0].split()[0])
    assert total > 0
    assert " work (worker)" in answer[1], done.stdout
    assert float(answer[1].split()[0]) > 90
    assert len(answer) <= 14
    lines = (tmp_path / "cpu.folded").read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == total
    assert any(";main;serve;work" in line for line in lines), lines
    assert sum(json.loads((tmp_path / "cpu.speedscope.json").read_text())["profiles"][0]["weights"]) == total
    assert f"{total} samples, 100.0 %" in (tmp_path / "cpu.svg").read_text()
    assert (tmp_path / "cpu.data").read_bytes()[:8] == b"PERFILE2"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    again = debugrun("flame", busy, "--duration", "1", "-o", f"{tmp_path}/b.html", "--diff", f"{tmp_path}/cpu.folded")
    assert '"compared": true' in (tmp_path / "b.html").read_text(), again.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [(("-o", "cpu.png"), "a picture's name ends with"), (("--diff", "/nowhere.folded"), "No such file")],
)
def test_what_cannot_be_is_said_before_anything_is_sampled(
    args: tuple[str, ...], said: str, busy: str, debugrun: Callable[..., Completed]
) -> None:
    done = debugrun("flame", busy, *args, status=2)
    assert said in done.stderr
    assert "sidecar" not in done.stderr


def test_a_process_that_uses_no_cpu_is_no_success(
    toolbox: str, debugrun: Callable[..., Completed], started_idle: str
) -> None:
    assert toolbox
    done = debugrun("flame", started_idle, "--duration", "1", status=125)
    assert "was not seen on a CPU" in done.stderr


@pytest.fixture
def started_idle(engine: docker.APIClient, targets: object) -> Iterator[str]:
    assert targets is not None
    name = f"debugrun-idle-{uuid.uuid4().hex[:8]}"
    host = engine.create_host_config(network_mode="none")
    engine.create_container("debugrun-test/full", ["busybox", "sleep", "3600"], name=name, host_config=host)
    try:
        engine.start(name)
        yield name
    finally:
        engine.remove_container(name, force=True)
