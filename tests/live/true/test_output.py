"""Files that tools write come to the caller, whole whatever their size, and the target goes on as it was."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest

from tests.conftest import Completed

pytestmark = pytest.mark.live

# Eight GiB of which it has touched a few pages and `megabytes`; all of its threads are children of an init.
BIG = """
import mmap, os, sys, threading, time
gib = 1 << 30
room = mmap.mmap(-1, 8 * gib, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # MAP_NORESERVE
for at in range(0, 8 * gib, gib):
    room[at : at + 8] = b"landmark"
block = os.urandom(1 << 20)
for number in range({megabytes}):
    room[4096 + (number << 20) : 4096 + (number + 1 << 20)] = block
for _ in range(3):
    threading.Thread(target=time.sleep, args=(10**6,), daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


@contextmanager
def big(engine: docker.APIClient, megabytes: int) -> Iterator[str]:
    """A container whose worker is PID 7's kind: no PID 1, and large."""
    command = ["python3", "-c", BIG.format(megabytes=megabytes)]
    host = engine.create_host_config(init=True, network_mode="none")
    made = engine.create_container("debugrun-test/full", command, user="1000:1000", host_config=host)["Id"]
    try:
        engine.start(made)
        deadline = time.monotonic() + 60
        while b"ready" not in engine.logs(made):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield made
    finally:
        engine.remove_container(made, force=True)


@pytest.fixture(scope="module")
def sparse(engine: docker.APIClient, toolbox: str) -> Iterator[str]:
    assert toolbox
    with big(engine, 3) as container:
        yield container


@pytest.mark.parametrize("mode", ["record", "stat"])
def test_a_process_that_was_idle_is_told_as_such(
    mode: str, engine: docker.APIClient, target: Callable[[str], str], debugrun: Callable[..., Completed]
) -> None:
    """Without a sample perf ends with 0."""
    assert target("u1000")  # the images are there
    host = engine.create_host_config(network_mode="none")
    words = ["busybox", "sleep", "1000"]
    made = engine.create_container("debugrun-test/full", words, user="1000:1000", host_config=host)["Id"]
    try:
        engine.start(made)
        said = debugrun("perf", made, "--mode", mode, "--duration", "1", status=1)
    finally:
        engine.remove_container(made, force=True)
    assert "on a CPU in that time: it waits" in said.stderr
    assert "debugrun ps " in said.stderr


def goes_on(engine: docker.APIClient, container: str) -> bool:
    """Whether its worker sleeps, traced by nobody, with no signal of ours."""
    worker = next(row for row in engine.top(container)["Processes"] if "python3" in row[-1])
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{worker[1]}/status").read_text().splitlines() if ":\t" in line
    )
    told = (status["State"][0] in "SR", status["TracerPid"], int(status["SigPnd"], 16), int(status["ShdPnd"], 16))
    return told == (True, "0", 0, 0)


def extents(path: Path) -> Iterator[bytes]:
    """What a sparse file holds between its holes: lseek(2), SEEK_DATA."""
    fd = os.open(path, os.O_RDONLY)
    at = 0
    with suppress(OSError):  # ENXIO: no more data
        while True:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
            yield os.pread(fd, end - at, at)
            at = end
    os.close(fd)


def read_by_gdb(engine: docker.APIClient, toolbox: str, core: Path) -> str:
    """What the toolbox's gdb makes of the core, without the program's files."""
    command = ["gdb", "-nx", "-batch", "-ex", "core /core", "-ex", "info threads"]
    command += ["-ex", "thread apply all -q info registers rip"]
    host = engine.create_host_config(binds=[f"{core}:/core:ro"], network_mode="none")
    made = engine.create_container(toolbox, command[1:], entrypoint=command[:1], host_config=host)["Id"]
    try:
        engine.start(made)
        engine.wait(made)
        return str(engine.logs(made).decode(errors="replace"))
    finally:
        engine.remove_container(made, force=True)


def test_a_core_of_eight_gigabytes_is_whole_and_sparse(
    engine: docker.APIClient, toolbox: str, sparse: str, debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    core = tmp_path / "core"
    debugrun("gcore", sparse, "-o", str(core), status=0)
    assert core.stat().st_size > 8 << 30
    assert core.stat().st_blocks * 512 < 200 << 20
    assert core.stat().st_mode & 0o777 == 0o600
    assert goes_on(engine, sparse)
    shown = read_by_gdb(engine, toolbox, core)
    assert len(re.findall(r"^rip ", shown, re.MULTILINE)) == 4
    assert "truncated" not in shown
    assert b"".join(extents(core)).count(b"landmark") >= 8


def test_a_redirected_core_is_sparse_too(sparse: str, debugrun: Callable[..., Completed], tmp_path: Path) -> None:
    del debugrun
    core = tmp_path / "core"
    with core.open("wb") as out:
        done = subprocess.run(
            [Path(sys.executable).with_name("debugrun"), "gcore", sparse],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert core.stat().st_size > 8 << 30
    assert core.stat().st_blocks * 512 < 200 << 20


def test_a_core_on_a_full_disk_says_so_and_leaves_nothing(
    engine: docker.APIClient, sparse: str, debugrun: Callable[..., Completed]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full: full(4)")
    done = debugrun("gcore", sparse, "-o", "/dev/full", status=125)
    assert "/dev/full: could not be written: No space left on device" in done.stderr
    assert goes_on(engine, sparse)


def test_a_core_is_not_written_to_a_terminal(sparse: str, debugrun: Callable[..., Completed]) -> None:
    del debugrun
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [Path(sys.executable).with_name("debugrun"), "gcore", sparse],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "a core dump is not for a terminal" in done.stderr
    assert f"try: debugrun gcore {sparse} -o core" in done.stderr


@pytest.mark.slow
def test_a_core_of_a_full_gigabyte_and_more_is_whole(
    engine: docker.APIClient, toolbox: str, debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    with big(engine, 1300) as container:
        core = tmp_path / "core"
        done = debugrun("gcore", container, "-o", str(core), status=0, timeout=300)
        assert "No space left" not in done.stderr
        assert core.stat().st_blocks * 512 > 1300 << 20
        assert "truncated" not in read_by_gdb(engine, toolbox, core)
        assert goes_on(engine, container)


@pytest.mark.parametrize("place", ["ours", "the tool's own"])
def test_a_trace_comes_to_the_caller(
    target: Callable[[str], str], debugrun: Callable[..., Completed], tmp_path: Path, place: str
) -> None:
    trace = tmp_path / "trace"
    words = ["-o", str(trace)] if place == "ours" else ["--", "-f", "-o", str(trace)]
    done = debugrun("strace", target("u1000"), "--duration", "1", *words)
    assert "nanosleep" in trace.read_text()
    assert "nanosleep" not in done.stdout + done.stderr
    assert trace.stat().st_mode & 0o777 == 0o600


def test_gdbs_log_is_the_callers(
    target: Callable[[str], str], debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    done = debugrun("gdb", target("u1000"), "-o", str(log), "--", "-batch", "-ex", "bt", status=0)
    assert "worker.c" in log.read_text()
    assert log.read_text() == done.stdout


def test_a_trace_with_stacks_of_other_files_is_refused(
    target: Callable[[str], str], debugrun: Callable[..., Completed]
) -> None:
    done = debugrun("strace", target("u1000"), "--duration", "1", "--", "-f", "-k", status=2)
    assert "names wrong functions" in done.stderr
