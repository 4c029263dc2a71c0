"""The command line on real containers: lines to paste, clear refusals, facts that travel."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

pytestmark = pytest.mark.live

Run = Callable[..., subprocess.CompletedProcess[str]]
Target = Callable[[str], str]


@pytest.mark.skipif(not shutil.which("docker"), reason="needs the docker command line tool (apt-get install docker.io)")
@pytest.mark.parametrize("name", ["root", "u1000", "hard", "undump", "owngdb"])
def test_the_line_of_a_plan_can_be_pasted(
    name: str, debugrun: Run, target: Target, toolbox: str, tmp_path: Path
) -> None:
    assert toolbox
    found = json.loads(debugrun("plan", "gdb", target(name), "--json", status=0).stdout)
    line = found["options"][found["chosen"]]["command"]
    assert " -it " in line
    pasted = subprocess.run(
        ["sh", "-c", line.replace(" -it ", " -i ", 1)],
        input="bt\nquit\n", capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    assert "#0 " in pasted.stdout, pasted
    assert "serve" in pasted.stdout


def test_facts_decide_the_same_elsewhere(debugrun: Run, target: Target, toolbox: str, tmp_path: Path) -> None:
    assert toolbox
    saved = tmp_path / "facts.json"
    saved.write_text(debugrun("facts", target("u1000"), "--json", status=0).stdout)
    there = debugrun("plan", "gdb", target("u1000"), "--json", status=0)
    replayed = debugrun("plan", "gdb", "--facts", str(saved), "--json", DOCKER_HOST="unix:///nonexistent", status=0)
    first, second = json.loads(there.stdout), json.loads(replayed.stdout)
    assert second["options"][second["chosen"]] == first["options"][first["chosen"]]


def test_no_environment_and_no_arguments_in_facts(
    engine: docker.APIClient, debugrun: Run, request: pytest.FixtureRequest
) -> None:
    created = engine.create_container(
        "debugrun-test/app:latest", ["/opt/app/worker", "topsecretargument"], environment={"TOKEN": "topsecretvalue"}
    )
    request.addfinalizer(lambda: engine.remove_container(created["Id"], force=True))
    engine.start(created["Id"])
    for verb in (
        ["facts", created["Id"], "--json"],
        ["facts", created["Id"]],
        ["plan", "gdb", created["Id"], "--json"],
    ):
        done = debugrun(*verb)
        assert "topsecret" not in done.stdout + done.stderr


@pytest.fixture
def stopped(engine: docker.APIClient) -> Iterator[str]:
    created = engine.create_container("debugrun-test/app:latest", name=f"debugrun-test-stopped-{os.getpid()}")
    yield str(created["Id"])
    engine.remove_container(created["Id"], force=True)


def namespaced(status: Path) -> int:
    """A thread's id in its own PID namespace: the last of NSpid in proc_pid_status(5)."""
    return int(re.findall(r"^NSpid:.*\s(\d+)$", status.read_text(), re.MULTILINE)[0])


def test_refusals_name_what_is_wrong_and_what_to_type(
    debugrun: Run, target: Target, stopped: str, engine: docker.APIClient
) -> None:
    web = target("root")
    inspected = engine.inspect_container(web)
    name = str(inspected["Name"]).removeprefix("/")
    thread = max(namespaced(path) for path in Path(f"/proc/{inspected['State']['Pid']}/task").glob("*/status"))
    cases: list[tuple[list[str], int, str, str]] = [
        (["gdb", "nothere-at-all"], 125, "nothere-at-all", "docker ps"),
        (["gdb", name[:-1]], 125, name[:-1], name),
        (["gdb", stopped], 125, "was never started", "docker start"),
        (["gdb", web, "4711"], 125, "4711", ""),
        (["gdb", web, str(thread)], 125, "thread", "1"),
        (["gdb", web, "--name", "nobody"], 125, "nobody", "worker"),
        (["gdb", target("undump"), "--max-grant", "none"], 126, "not dumpable", "--max-grant caps"),
        (["ltrace", web], 126, "has 3 threads", "--may-kill"),
    ]
    for args, status, says, hint in cases:
        done = debugrun(*args, status=status)
        assert done.stdout == ""
        assert says in done.stderr, done
        assert hint in done.stderr, done
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "args", "comm"), [("many", ["--name", "queue"], "queue"), ("init", [], "worker")])
def test_the_process_that_is_meant(name: str, args: list[str], comm: str, debugrun: Run, target: Target) -> None:
    found = json.loads(debugrun("plan", "gdb", target(name), *args, "--json", status=0).stdout)
    assert found["target"]["comm"] == comm
    assert found["target"]["pid"] != 1


def test_a_paused_container_is_not_touched(engine: docker.APIClient, debugrun: Run, stopped: str) -> None:
    engine.start(stopped)
    engine.pause(stopped)
    done = debugrun("gdb", stopped, status=125)
    engine.unpause(stopped)
    assert "docker unpause" in done.stderr


@pytest.mark.parametrize(
    "word", ["a 'quoted' \"word\"", "two\nlines", "--leading-dashes", "$(false) `false`", "ümlaut"]
)
def test_arguments_reach_the_tool_as_they_are(word: str, debugrun: Run, target: Target, toolbox: str) -> None:
    assert toolbox
    echo = f"python print({word!r})"
    done = debugrun("gdb", target("u1000"), "--", "-batch", "-ex", echo, status=0)
    assert done.stdout.splitlines()[-len(word.splitlines()) - 1 :][: len(word.splitlines())] == word.splitlines()


def test_standard_output_is_the_tools_alone(debugrun: Run, target: Target, toolbox: str) -> None:
    assert toolbox
    args = ("-batch-silent", "-ex", "python import sys; sys.__stdout__.buffer.write(bytes(range(256)) * 300)")
    done = subprocess.run(
        [debugrun("--version").args[0], "gdb", target("u1000"), "--", *args], capture_output=True, check=False
    )
    assert bytes(range(256)) * 300 in done.stdout


def test_the_tools_exit_status_is_ours(debugrun: Run, target: Target, toolbox: str) -> None:
    assert toolbox
    debugrun("gdb", target("u1000"), "--", "-batch", "-ex", "quit 42", status=42)


@pytest.mark.parametrize("name", ["owngdb", "owngdb1000"])
def test_in_place_works_and_leaves_nothing(
    name: str, debugrun: Run, target: Target, assert_harmless: Callable[[str], None]
) -> None:
    done = debugrun("gdb", target(name), "--via", "here", "--", "-batch", "-ex", "bt", status=0)
    assert "serve" in done.stdout
    assert "here as" in done.stderr
    assert_harmless(target(name))


def test_a_seccomp_profile_is_written_for_its_owner_only(debugrun: Run, target: Target, tmp_path: Path) -> None:
    path = tmp_path / "perf.json"
    debugrun("profile", "perf", target("u1000"), "-o", str(path), status=0)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "perf_event_open" in path.read_text()


def test_an_error_of_the_users_own_command_takes_no_more(debugrun: Run, target: Target, toolbox: str) -> None:
    assert toolbox
    done = debugrun("gdb", target("u1000"), "--", "-batch", "-ex", "x/1x 0", "-ex", "bt")
    assert "Cannot access memory at address 0x0" in done.stderr
    assert done.stderr.count("debugrun: sidecar as") == 1
    assert "refused" not in done.stderr


def test_a_compose_service_is_a_name_of_its_container(
    engine: docker.APIClient, debugrun: Run, request: pytest.FixtureRequest
) -> None:
    service = f"shop{os.getpid()}"

    def start(number: int) -> str:
        made = engine.create_container(
            "debugrun-test/app:latest", name=f"{service}-{number}", labels={"com.docker.compose.service": service}
        )
        request.addfinalizer(lambda: engine.remove_container(made["Id"], force=True))
        engine.start(made["Id"])
        return f"{service}-{number}"

    first = start(1)
    done = debugrun("facts", service, "--json", status=0)
    assert json.loads(done.stdout)["container"]["name"] == first
    assert f"debugrun: {service} is the Compose service that {first} runs" in done.stderr
    assert debugrun("ps", service, status=0).stdout
    assert f"debugrun gdb {service}" in debugrun(service, status=127).stderr
    second = start(2)
    done = debugrun("facts", service, status=125)
    assert f"the Compose service {service} runs in 2 containers" in done.stderr
    assert f"name one of: {first}, {second}" in done.stderr


def test_timing_tells_where_the_time_went_and_nothing_else(debugrun: Run, target: Target, toolbox: str) -> None:
    assert toolbox
    done = debugrun("gdb", target("u1000"), "--timing", "--", "-batch", "-ex", "bt", status=0)
    assert "serve" in done.stdout
    assert "timing" not in done.stdout
    told = done.stderr[done.stderr.index("debugrun: timing, in ms:") :].splitlines()
    rows = [re.fullmatch(r" *(\d+) +(\d+)  (.+)", line) for line in told[2:-1]]
    assert all(rows), told
    named = [row[3] for row in rows if row]
    for part in ("start Python", "import the flow", "observe", "decide", "request: ", "the tool: gdb", "the place"):
        assert any(each.startswith(part) for each in named), part
    whole = re.fullmatch(r" +(\d+)  in all; \d+ of processor time", told[-1])
    assert whole
    assert all(int(row[1]) + int(row[2]) <= int(whole[1]) + 1 for row in rows if row)
