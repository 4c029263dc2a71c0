"""The main job from nothing: a target that runs as uid 1000 and has neither a shell nor a debugger.

Shows a backtrace, system calls and a profile of it, and then that it runs on as if nobody had been there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import docker

IMAGE = "debugrun-test/app:latest"
NAME = "debugrun-demo"
DEBUGRUN = str(Path(sys.executable).with_name("debugrun"))


def say(*argv: str) -> None:
    """Run debugrun as a person would, showing the line that was typed."""
    quoted = " ".join(f"'{word}'" if " " in word else word for word in argv)
    print(f"\n$ debugrun {quoted}", flush=True)
    done = subprocess.run([DEBUGRUN, *argv], stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        sys.exit(f"demo: debugrun ended with {done.returncode}")


def state(client: docker.DockerClient) -> tuple[str, int, bool]:
    """(started at, restarts, running) of the target."""
    target = client.containers.get(NAME).attrs
    return target["State"]["StartedAt"], target["RestartCount"], target["State"]["Running"]


def leftovers(client: docker.DockerClient, target: str | None) -> list[object]:
    """Sidecars of the target that are still there a moment later: the engine removes them behind us."""
    deadline = time.monotonic() + 5
    while left := client.containers.list(all=True, filters={"label": f"debugrun.target={target}"}):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return list(left)


def remove(client: docker.DockerClient) -> None:
    """Remove the target of this or an earlier demo."""
    for old in client.containers.list(all=True, filters={"name": f"^/{NAME}$"}):
        old.remove(force=True)


def main() -> None:
    """Show the main job."""
    client = docker.from_env()
    remove(client)
    print(f"$ docker run -d --name {NAME} --user 1000:1000 {IMAGE} /opt/app/worker busy")
    target = client.containers.run(IMAGE, ["/opt/app/worker", "busy"], name=NAME, user="1000:1000", detach=True)
    try:
        before = state(client)
        ticks = target.logs().count(b"tick")
        say("gdb", NAME, "--", "-batch", "-ex", "thread apply all bt")
        say("strace", NAME, "--duration", "1", "--", "-f", "-c")
        say("perf", NAME, "--duration", "2", "--", "-F", "999", "-e", "cpu-clock:u")
        say("plan", "gdb", NAME)
        after = state(client)
        if after != before:
            sys.exit(f"demo: the target was disturbed: {before} became {after}")
        print(f"\nthe target runs on: started {after[0]}, restarted {after[1]} times,", end=" ")
        print(f"{target.logs().count(b'tick') - ticks} ticks meanwhile")
        status = client.api.top(NAME, "-o pid,stat,comm")["Processes"]
        print("untraced:", ", ".join(f"{comm} {flags}" for _, flags, comm in status))
        print(f"left behind: {len(leftovers(client, target.id))} containers")
    finally:
        remove(client)


if __name__ == "__main__":
    main()
