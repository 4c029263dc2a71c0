"""Timings as ratios: a finished backtrace by debugrun against what an expert types, in paired runs; and how long a
service is down while its container gets a grant, by the engine's events.

Run by `make bench`; RUNS says how many. The baselines need the docker command line tool, the floor root and gdb.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker
import docker.models.containers

RUNS = 15
BARE = "debugrun-test/app:latest"
WITH_GDB = "debugrun-test/full:latest"
TOOLBOX = "debugrun-toolbox:latest"
SERVICE = "debugrun-bench-service"
BACKTRACE = ("-batch", "-ex", "bt")
GDB = ("gdb", "-p", "1", *BACKTRACE)
PYTHON = sys.executable
DEBUGRUN = str(Path(PYTHON).with_name("debugrun"))


def seconds(argv: Sequence[str], expect: str) -> float:
    """Wall time of one run. Raises when it did not do its job: a fast failure is no figure."""
    start = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    taken = time.perf_counter() - start
    if expect not in done.stdout + done.stderr:
        raise SystemExit(f"{argv[0]} failed: {done.stdout}{done.stderr}")
    return taken


def pair(name: str, ours: Sequence[str], theirs: Sequence[str], expect: str, runs: int) -> None:
    """Both in turn, A B A B; prints the medians and the median of the pairwise ratios."""
    for argv in (ours, theirs):  # warm up
        seconds(argv, expect)
    pairs = [(seconds(ours, expect), seconds(theirs, expect)) for _ in range(runs)]
    show(name, *zip(*pairs, strict=True))


def show(name: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """One row."""
    first, second = (statistics.median(column) * 1000 for column in (ours, theirs))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"{name:<58} {first:7.0f} ms {second:7.0f} ms   {ratio:5.2f}")


def pause(client: docker.DockerClient, began: float) -> float:
    """Seconds between the end of the service and its new start, of what the engine has reported since `began`."""
    filters = {"label": SERVICE, "event": ["die", "start"]}
    told = client.api.events(since=int(began), until=int(time.time()) + 1, decode=True, filters=filters)
    times = [(each["Action"], each["timeNano"]) for each in told if each["timeNano"] >= began * 1e9]
    ends, starts = ([at for each, at in times if each == action] for action in ("die", "start"))
    return float(max(starts) - min(ends)) / 1e9


def pauses(runs: int) -> None:
    """A service that ends at once when told to gets SYS_PTRACE, by us and by hand; then the way back, which is ours."""
    client = docker.from_env()
    words = ["--name", SERVICE, "--label", SERVICE, WITH_GDB, "tini", "/opt/app/worker", "undumpable"]
    ours, back, theirs = [], [], []
    try:
        run(["docker", "run", "-d", *words])
        for _ in range(runs):
            began = time.time()
            run([DEBUGRUN, "strace", SERVICE, "--name", "worker", "--via", "recreate", "--yes", "--duration", "1"])
            ours.append(pause(client, began))
            began = time.time()
            run([DEBUGRUN, "restore", SERVICE])
            back.append(pause(client, began))
            began = time.time()
            for line in (["docker", "stop", SERVICE], ["docker", "rm", SERVICE]):
                run(line)
            run(["docker", "run", "-d", "--cap-add", "SYS_PTRACE", *words])
            theirs.append(pause(client, began))
            run(["docker", "rm", "-f", SERVICE])
            run(["docker", "run", "-d", *words])
    finally:
        run([DEBUGRUN, "restore", SERVICE], check=False)
        run(["docker", "rm", "-f", SERVICE], check=False)
    show("(d) down: recreate against docker stop, rm and run", ours, theirs)
    show("    down: restore against docker stop, rm and run", back, theirs)


def run(argv: Sequence[str], *, check: bool = True) -> None:
    """Run a step that is not timed itself."""
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{argv[0]} failed: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def targets() -> Iterator[tuple[docker.models.containers.Container, docker.models.containers.Container]]:
    """Two running containers, both root: one without a debugger, one that holds gdb."""
    client = docker.from_env()
    made = [client.containers.run(image, detach=True) for image in (BARE, WITH_GDB)]
    try:
        yield made[0], made[1]
    finally:
        for container in made:
            container.remove(force=True)


def main() -> None:
    """Print the table."""
    runs = int(os.environ.get("RUNS", RUNS))
    print(f"{f'median of {runs} paired runs':<58} {'debugrun':>10} {'theirs':>10}   ratio")
    with targets() as (bare, with_gdb):
        ours = [DEBUGRUN, "gdb", str(bare.name), "--", *BACKTRACE]
        if shutil.which("docker"):
            docker_run = ["docker", "run", "--rm", f"--pid=container:{bare.name}", "--cap-add", "SYS_PTRACE", TOOLBOX]
            pair("(a) docker run --rm --pid --cap-add SYS_PTRACE gdb -p 1", ours, [*docker_run, *GDB], "#0", runs)
            here = ["docker", "exec", str(with_gdb.name), *GDB]
            same = [DEBUGRUN, "gdb", str(with_gdb.name), "--", *BACKTRACE]
            pair("(b) docker exec gdb -p 1, where the image holds gdb", same, here, "#0", runs)
            pauses(max(3, runs // 3))
        else:
            print("no docker command line tool, so no (a) and (b); try: apt-get install docker.io (or docker-cli)")
        if os.geteuid() == 0 and shutil.which("gdb"):
            bare.reload()
            pid = str(bare.attrs["State"]["Pid"])
            # Not its PID namespace: gdb reads /proc, which is the host's.
            floor = ["nsenter", "-t", pid, "-n", "gdb", "-iex", f"set sysroot /proc/{pid}/root", "-p", pid, *BACKTRACE]
            pair("(c) nsenter with the host's gdb, the floor", ours, floor, "#0", runs)
        else:
            print("no (c): it needs root and a gdb on the host; try: apt-get install gdb")
    loads_typer = [PYTHON, "-c", "import typer; print('--help')"]
    pair("debugrun --help against python -c 'import typer'", [DEBUGRUN, "--help"], loads_typer, "--help", runs)


if __name__ == "__main__":
    main()
