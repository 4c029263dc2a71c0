"""What the exports for Podman make there: its own client runs the line, and its own generator's line of the unit."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.conftest import Completed
from tests.host import engines, matrix
from tests.host.state import HostError, lane

pytestmark = [pytest.mark.live, pytest.mark.slow]
Run = Callable[..., Completed]
ENGINE = "podman-5.8"
# As its service runs it (tests.host.engines): a client of the same containers, and no remote one.
PODMAN = ("podman", "--cgroup-manager=cgroupfs", "--events-backend=file", "--root", "/mnt/engine/data",
          "--runroot", "/run/containers")  # fmt: skip
# Not uid 1000, of which other tests may have more processes than Podman's own limit for a user lets it start.
TARGETS: dict[str, dict[str, Any]] = {
    "user": {"user": "1234:1234"},
    "undump": {"command": ["/opt/app/worker", "undumpable"]},
}
WITHIN = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Podman:
    """The engine: its address, its targets by kind, a folder (here, and as the engine sees it), its service's PID."""

    host: str
    client: docker.APIClient
    targets: dict[str, str]
    folder: Path
    inside: str
    service: int

    def within(self, *words: str, stdin: str = "") -> Completed:
        """Run it where Podman's files are."""
        enter = ("nsenter", "-t", str(self.service), "-m", "-r", "--", "sh", "-c", 'cd "$0" && exec "$@"', self.inside)
        return subprocess.run(
            [*enter, *words], input=stdin, capture_output=True, text=True, errors="replace", check=False, timeout=WITHIN
        )


@pytest.fixture(scope="module")
def podman(engine: docker.APIClient) -> Iterator[Podman]:
    assert engine is not None  # the images are taken from there
    if os.geteuid() != 0:
        pytest.skip("Podman's own client is run in the engine's namespaces: run it as root")
    with ExitStack() as stack:
        try:
            host = stack.enter_context(matrix.brought_up(ENGINE))
        except HostError as error:
            pytest.skip(str(error))
        client = stack.enter_context(closing(docker.APIClient(base_url=host, version="auto", timeout=120)))
        home = lane() / "engines" / ENGINE
        folder = home / "work" / "export"
        folder.mkdir()
        stack.callback(shutil.rmtree, folder)
        made = {}
        for kind, given in TARGETS.items():
            config = client.create_host_config(network_mode="none")
            made[kind] = str(client.create_container("debugrun-test/app", host_config=config, **given)["Id"])
            stack.callback(client.remove_container, made[kind], force=True)
            client.start(made[kind])
        yield Podman(
            host=host, client=client, targets=made, folder=folder, inside="/mnt/engine/work/export",
            service=service_of(home),
        )  # fmt: skip


def service_of(home: Path) -> int:
    """The PID of the engine's own process."""
    mark = f"{engines.MARKER}={home}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if {b"system", b"service"} <= set(words) and mark in (process / "environ").read_bytes().split(b"\0"):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(home)


def planned(debugrun: Run, podman: Podman, tool: str, kind: str) -> dict[str, Any]:
    plan = json.loads(debugrun("plan", tool, podman.targets[kind], "--json", DOCKER_HOST=podman.host, status=0).stdout)
    option: dict[str, Any] = plan["options"][plan["chosen"]]
    return option


def holds_what_was_planned(podman: Podman, container: str, option: dict[str, Any]) -> None:
    """By Podman's own word."""
    (seen,) = json.loads(podman.within(*PODMAN, "inspect", container).stdout)
    assert set(seen["EffectiveCaps"] or []) == {f"CAP_{name}" for name in option["cap_add"]}
    assert set(seen["BoundingCaps"] or []) == {f"CAP_{name}" for name in option["cap_add"]}
    host = seen["HostConfig"]
    assert (host["Privileged"], host["ReadonlyRootfs"], host["NetworkMode"]) == (False, True, "none")
    assert host["PidMode"].startswith("container:")
    opened = {each.split("=")[0] for each in host["SecurityOpt"]}
    assert "no-new-privileges" in opened
    assert ("seccomp" in opened) is any("seccomp" in each for each in option["security_opt"])
    assert seen["Config"]["User"] == option["user"]


def until_it_says(podman: Podman, container: str, words: str) -> str:
    deadline = time.monotonic() + WITHIN
    while words not in (said := podman.within(*PODMAN, "logs", container)).stdout + said.stderr:
        assert time.monotonic() < deadline, said.stdout + said.stderr
        time.sleep(0.2)
    return said.stdout


@pytest.mark.parametrize(("tool", "kind"), [("gdb", "user"), ("gdb", "undump"), ("perf", "user")])
def test_a_line_for_podman_runs_there(podman: Podman, debugrun: Run, tool: str, kind: str) -> None:
    option = planned(debugrun, podman, tool, kind)
    file = podman.folder / "line.sh"
    debugrun("export", tool, podman.targets[kind], "--to", "podman", "-o", str(file), DOCKER_HOST=podman.host, status=0)
    words = shlex.split(file.read_text())
    assert words[:2] == ["podman", "run"]
    rest = [word for word in words[2:] if word not in {"-it", "-i", "--rm"}]
    # perf samples for as long as the program behind its options runs.
    work = ("--", "busybox", "sleep", "1") if tool == "perf" else ()
    made = podman.within(*PODMAN, "create", "-i", *rest, *work).stdout.strip()
    try:
        holds_what_was_planned(podman, made, option)
        done = podman.within(*PODMAN, "start", "-a", "-i", made, stdin="bt\ndetach\nquit\n")
        assert done.returncode == 0, done
        assert tool == "perf" or "serve (name=" in done.stdout, done
    finally:
        podman.within(*PODMAN, "rm", "-f", made)


@pytest.mark.parametrize("kind", ["user", "undump"])
def test_a_unit_for_podman_runs_as_its_generator_has_it(podman: Podman, debugrun: Run, kind: str) -> None:
    option = planned(debugrun, podman, "gdb", kind)
    file = podman.folder / "x.container"
    line = ("export", "gdb", podman.targets[kind], "--to", "quadlet", "-o", str(file))
    debugrun(*line, DOCKER_HOST=podman.host, status=0)
    generated = podman.within("env", f"QUADLET_UNIT_DIRS={podman.inside}", "/usr/libexec/podman/quadlet", "-dryrun")
    file.unlink()
    start = next(each for each in generated.stdout.splitlines() if each.startswith("ExecStart="))
    words = started(start.removeprefix("ExecStart="))
    assert words[:2] == ["/usr/bin/podman", "run"]
    # systemd is who reads the notification and owns the cgroup; a unit's gdb is told what to do by Exec=.
    rest = [word for word in words[2:] if not word.startswith(("--sdnotify", "--cgroups"))]
    done = podman.within(*PODMAN, "run", *rest, "-batch", "-ex", "bt", "-ex", "shell sleep 600")
    assert done.returncode == 0, done
    made = done.stdout.strip()
    try:
        assert "serve (name=" in until_it_says(podman, made, "serve (name=")
        holds_what_was_planned(podman, made, option)
    finally:
        podman.within(*PODMAN, "rm", "-f", made)


def started(line: str) -> Sequence[str]:
    """The words of ExecStart= as systemd starts them: systemd.service(5) "Command Lines"."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', line)
    return [
        re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), word.strip('"'))
        .replace("$$", "$")
        .replace("%N", "debugrun-export-test")
        for word in words
    ]
