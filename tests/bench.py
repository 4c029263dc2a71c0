"""Timings as ratios: a finished backtrace by debugrun against what an expert types, in paired runs.

Run by `make bench`. Needs the compose targets up, and the docker command line tool for the baselines.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

RUNS = 15
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
    seconds(ours, expect), seconds(theirs, expect)  # warm up
    pairs = [(seconds(ours, expect), seconds(theirs, expect)) for _ in range(runs)]
    first, second = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:<58} {first:7.0f} ms {second:7.0f} ms   {ratio:5.2f}")


def host_pid(container: str) -> str:
    """PID 1 of the container as the host counts."""
    argv = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="a running container without gdb")
    parser.add_argument("--owngdb", required=True, help="a running container that holds gdb")
    parser.add_argument("--image", default="debugrun-toolbox:latest", help="the image an expert would name")
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    backtrace = ["-batch", "-ex", "bt"]
    print(f"{'median of ' + str(options.runs) + ' paired runs':<58} {'debugrun':>10} {'theirs':>10}   ratio")
    if shutil.which("docker"):
        run = ["docker", "run", "--rm", f"--pid=container:{options.target}", "--cap-add", "SYS_PTRACE", options.image]
        ours = [DEBUGRUN, "gdb", options.target, "--", *backtrace]
        pair("(a) docker run --rm --pid --cap-add SYS_PTRACE gdb -p 1", ours, [*run, "gdb", "-p", "1", *backtrace], "#0", options.runs)
        here = ["docker", "exec", options.owngdb, "gdb", "-p", "1", *backtrace]
        pair("(b) docker exec gdb -p 1", [DEBUGRUN, "gdb", options.owngdb, "--", *backtrace], here, "#0", options.runs)
        if os.geteuid() == 0 and shutil.which("gdb"):
            pid = host_pid(options.target)
            floor = ["nsenter", "-t", pid, "-p", "gdb", "-iex", f"set sysroot /proc/{pid}/root", "-p", pid, *backtrace]
            pair("(c) the floor: nsenter with the host's gdb", ours, floor, "#0", options.runs)
    else:
        print("no docker command line tool: (a), (b) and (c) need one (apt-get install docker.io or docker-cli)")
    pair("debugrun --help against python -c 'import typer'", [DEBUGRUN, "--help"], [PYTHON, "-c", "import typer; print('--help')"], "--help", options.runs)


if __name__ == "__main__":
    main()
