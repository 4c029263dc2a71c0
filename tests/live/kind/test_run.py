"""`debugrun run` on a real engine: what `docker run` promises a program holds under every tool, with no more given."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pexpect
import pytest

from debugrun.attach import leftovers
from debugrun.core.know import kinds
from debugrun.core.say.launch_report import Decided
from debugrun.engine import ownership
from debugrun.engine.engine import connect
from debugrun.launch import create, start
from debugrun.launch.options import RunOptions
from debugrun.toolbox import catalog, volume
from tests.conftest import Completed

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("toolbox", "docker_compose_command", "clean")]

PROGRAM = Path(sys.executable).with_name("debugrun")
SUBJECT = {
    "debugrun-test/app": "/opt/app/subject",  # glibc, no shell
    "debugrun-test/musl": "/opt/app/subject",  # musl, no shell
    "debugrun-test/static": "/subject",  # scratch: this file only
    "debugrun-test/full": "/opt/app/subject",  # Debian, with a gdb and a strace of its own
}
IMAGES = ["debugrun-test/app", "debugrun-test/musl", "debugrun-test/static"]
USERS = ["0:0", "1000:1000"]
# What each tool prints of a program that ends with 7, and how it ends itself.
SAYS = {
    "gdb": (r"exited with code 07", 7),
    "strace": (r"\+\+\+ exited with 7 \+\+\+", 7),
    "ltrace": (r"\+\+\+ exited \(status 7\) \+\+\+", 0),
    "perf": (r"cycles|cpu-clock|^$", 7),
}


@pytest.fixture
def clean(engine: docker.APIClient) -> Iterator[None]:
    """Nothing is left of a run: no container of ours, but for those that others use meanwhile."""
    before = {each["Id"] for each in engine.containers(all=True, filters={"label": "debugrun.tool"})}
    yield
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        after = engine.containers(all=True, filters={"label": "debugrun.tool"})
        left = [each["Names"] for each in after if each["Id"] not in before and "debugrun.target" not in each["Labels"]]
        if not left:
            return
        time.sleep(0.1)
    assert left == []


Run = Callable[..., Completed]


@pytest.fixture
def run(debugrun: Callable[..., Completed]) -> Run:
    """run(tool, image, *options, does=(words of the subject), status=N)."""

    def starting(tool: str, image: str, *options: str, does: tuple[str, ...], status: int | None = None) -> Completed:
        return debugrun("run", tool, image, *options, "--", SUBJECT[image], *does, status=status)

    return starting


def test_a_debugger_in_an_image_of_one_file(run: Run) -> None:
    done = run("gdb", "debugrun-test/static", does=("exit", "7"), status=7)
    assert "exited with code 07" in done.stdout
    assert done.stderr.startswith(
        "debugrun: run as 65532:0, the container's own capabilities, default seccomp; gdb of "
    )


def test_a_program_that_dies_leaves_its_stack_and_its_status(run: Run) -> None:
    done = run("gdb", "debugrun-test/app", "-u", "1000:1000", does=("raise", "11"), status=139)
    assert re.search(r"#\d+ .*main \(argc=3", done.stdout)


def test_a_tracer_under_musl_sees_the_first_call_and_passes_the_signal_on(run: Run) -> None:
    done = run("strace", "debugrun-test/musl", does=("raise", "9"), status=137)
    assert done.stderr.splitlines()[1].startswith("execve(") or "execve(" in done.stderr
    assert "+++ killed by SIGKILL +++" in done.stderr


def stack(run: Run, tool: str, image: str, *options: str) -> str:
    done = run(tool, image, *options, does=("stack",), status=0)
    found = re.search(r"stack (0x[0-9a-f]+)", done.stdout)
    assert found, done.stdout
    return found[1]


def test_addresses_are_the_same_in_every_run_when_asked_for_and_else_not(run: Run) -> None:
    fixed = {stack(run, "gdb", "debugrun-test/static", "--no-aslr") for _ in range(2)}
    assert len(fixed) == 1
    assert stack(run, "gdb", "debugrun-test/static") not in fixed


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["gdb", "strace", "perf"])
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("user", USERS)
def test_addresses_under_every_tool(tool: str, image: str, user: str, run: Run) -> None:
    fixed = {stack(run, tool, image, "-u", user, "--no-aslr") for _ in range(2)}
    assert len(fixed) == 1
    assert stack(run, tool, image, "-u", user) not in fixed


@pytest.mark.slow
@pytest.mark.parametrize("tool", SAYS)
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("user", USERS)
def test_every_tool_on_every_kind_of_image(tool: str, image: str, user: str, run: Run) -> None:
    if (tool, image) == ("ltrace", "debugrun-test/static"):
        done = run(tool, image, "-u", user, does=("exit", "7"), status=1)
        assert "Couldn't find .dynsym" in done.stderr  # there is nothing to trace
        return
    says, status = SAYS[tool]
    done = run(tool, image, "-u", user, does=("exit", "7"), status=status)
    assert re.search(says, done.stdout + done.stderr, re.MULTILINE)
    assert f"run as {user}, " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("user", USERS)
def test_a_debugger_elsewhere_by_the_stub(image: str, user: str, engine: docker.APIClient) -> None:
    """gdb of the test image speaks to `debugrun run gdbserver` in another one, by a pipe of the client's machine."""
    gdb = next((path for path in ("/usr/bin/gdb", "/usr/local/bin/gdb") if Path(path).exists()), None)
    if gdb is None:
        pytest.skip("no gdb on this machine: apt-get install gdb")
    assert engine is not None
    stub = f"{PROGRAM} run gdbserver {image} -u {user} -- {SUBJECT[image]} exit 7"
    words = ["-ex", f"target remote | {stub}", "-ex", "break main", "-ex", "continue", "-ex", "bt", "-ex", "continue"]
    done = subprocess.run(
        [gdb, "-q", "-nx", "-batch", "-iex", "set sysroot target:", *words],
        capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert re.search(r"#0 +main \(argc=3", done.stdout), done
    assert "exited with code 07" in done.stdout


def test_gdb_neither_loads_what_the_image_offers_nor_advises_to(debugrun: Callable[..., Completed]) -> None:
    """Scripts for the program, and a libthread_db: nine lines how to switch the protection off came for each."""
    script = "-batch -ex 'break main' -ex run -ex bt"
    done = debugrun("run", "gdb", "debugrun-test/evil", "--tool-args", script, timeout=120)
    assert re.search(r"#0 +main \(argc=1", done.stdout), done
    said = done.stdout + done.stderr
    assert not re.search(
        "has been declined|set auto-load|safe-path|libthread_db matching|TAKEN OVER by (lib|.deb)", said
    )


def test_samples_of_a_program_in_a_read_only_container(run: Run) -> None:
    done = run("perf", "debugrun-test/static", "--read-only", "--mode", "stat", does=("exit", "7"), status=7)
    assert "task-clock" in done.stderr
    assert "default seccomp + perf_event_open" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("user", USERS)
def test_a_report_of_samples_in_a_read_only_container(image: str, user: str) -> None:
    worker = SUBJECT[image].replace("subject", "worker")
    name = f"debugrun-run-{uuid.uuid4().hex[:8]}"
    process = started("perf", image, "--read-only", "-u", user, "--name", name, words=(worker, "busy"))
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == b"tick 10":
            break
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert b"work" in out, errors
    assert process.returncode == 143, errors


def started(tool: str, image: str, *options: str, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [PROGRAM, "run", tool, image, *options, "--", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@contextlib.contextmanager
def serving(tool: str, image: str, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A program that says that it is ready and waits for a signal: (the client, the container's name)."""
    name = f"debugrun-run-{uuid.uuid4().hex[:8]}"
    process = started(tool, image, "--name", name, *options, words=(SUBJECT[image], "serve"))
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == b"ready":
                break
        else:
            pytest.fail(f"never ready: {process.communicate()}")
        yield process, name
    finally:
        if process.poll() is None:
            process.kill()
            docker.from_env().api.remove_container(name, force=True)
        process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 5), (signal.SIGINT, 6)])
def test_a_signal_reaches_the_program_and_it_ends_by_itself(number: signal.Signals, status: int) -> None:
    with serving("strace", "debugrun-test/static") as (process, _):
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
    assert out.decode() == f"got {number}\n"
    assert process.returncode == status
    assert f"+++ exited with {status} +++".encode() in errors


def test_docker_stop_reaches_the_program(engine: docker.APIClient) -> None:
    with serving("ltrace", "debugrun-test/app", "-u", "1000:1000") as (process, name):
        began = time.monotonic()
        engine.stop(name, timeout=30)
        out, _ = process.communicate(timeout=30)
        assert time.monotonic() - began < 20
    assert out.decode() == "got 15\n"


@pytest.mark.slow
def test_who_insists_is_heard() -> None:
    deaf = "-batch -ex 'handle SIGINT nopass nostop' -ex run"
    with serving("gdb", "debugrun-test/app", "--tool-args", deaf) as (process, _):
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(1)
        process.communicate(timeout=30)
    assert process.returncode == 137


def test_at_a_terminal(engine: docker.APIClient) -> None:
    assert engine is not None
    words = ["run", "gdb", "debugrun-test/static", "-u", "1000:1000", "--", "/subject", "serve"]
    child = pexpect.spawn(str(PROGRAM), words, dimensions=(31, 97), timeout=60, encoding=None)
    prompt = b"(gdb) "
    child.expect_exact(prompt)
    child.sendline(b"run")
    child.expect_exact(b"ready")
    child.sendintr()  # to the foreground: gdb stops the program
    child.expect_exact(b"received signal SIGINT")
    child.expect_exact(prompt)
    child.setwinsize(40, 101)
    child.sendline(b"python import os; print(os.get_terminal_size())")
    child.expect_exact(b"columns=101, lines=40")
    child.expect_exact(prompt)
    child.sendline(b"signal SIGTERM")
    child.expect_exact(b"got 15")
    child.expect_exact(b"exited with code 05")
    child.expect_exact(prompt)
    child.sendline(b"quit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.mark.slow
def test_who_leaves_a_terminal_lets_it_run_on(engine: docker.APIClient) -> None:
    name = f"debugrun-run-{uuid.uuid4().hex[:8]}"
    words = ["run", "strace", "debugrun-test/static", "--name", name, "--", "/subject", "serve"]
    child = pexpect.spawn(str(PROGRAM), words, timeout=60, encoding=None)
    child.expect_exact(b"ready")
    child.send(b"\x10\x11")
    child.expect_exact(b"and it runs on: docker attach " + name.encode())
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert engine.inspect_container(name)["State"]["Running"]
    engine.stop(name, timeout=30)


def test_options_of_docker_reach_the_container_and_no_value_is_shown(engine: docker.APIClient, tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("FROM_FILE=one\n")
    (tmp_path / "data").mkdir()
    options = [
        "-e", "SECRET=hunter2", "--env-file", str(tmp_path / "vars"), "-v", f"{tmp_path}/data:/data:ro",
        "--mount", "type=tmpfs,target=/scratch,tmpfs-size=1m", "-p", "127.0.0.1::8080/tcp", "-w", "/data",
        "-m", "300m", "--cpus", "0.5", "--cap-drop", "ALL", "--read-only", "-u", "7:8",
    ]  # fmt: skip
    with serving("strace", "debugrun-test/app", *options) as (process, name):
        seen = engine.inspect_container(name)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert b"hunter2" not in errors.split(b"\n")[0]
    config, host = seen["Config"], seen["HostConfig"]
    assert {"SECRET=hunter2", "FROM_FILE=one"} <= set(config["Env"])
    assert (config["User"], config["WorkingDir"]) == ("7:8", "/data")
    assert (host["Memory"], host["NanoCpus"], host["ReadonlyRootfs"]) == (300 << 20, 500_000_000, True)
    assert host["Binds"] == [f"{tmp_path}/data:/data:ro"]
    assert host["CapDrop"] == ["ALL"]
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    mounts = {each["Destination"]: each for each in seen["Mounts"]}
    assert mounts["/.debugrun"]["RW"] is False
    assert any(each["Target"] == "/scratch" for each in host["Mounts"])
    assert process.returncode == 5


def test_the_programs_words_and_variables_are_as_they_would_be(debugrun: Callable[..., Completed]) -> None:
    words = ["a  b", "$HOME;x", "it's", "new\nline", "", "*"]
    done = debugrun("run", "gdb", "debugrun-test/static", "--", "/subject", "args", *words, status=0)
    assert "\n".join(f"[{word}]" for word in words) in done.stdout
    names = ("SHELL", "GCONV_PATH", "LINES", "COLUMNS", "LD_LIBRARY_PATH", "MINE")
    done = debugrun("run", "gdb", "debugrun-test/static", "-e", "MINE=m n", "--", "/subject", "env", *names, status=0)
    assert "SHELL=-\nGCONV_PATH=-\nLINES=-\nCOLUMNS=-\nLD_LIBRARY_PATH=-\nMINE=m n\n" in done.stdout


def test_a_tool_of_the_image_and_an_entrypoint_that_is_a_script(debugrun: Callable[..., Completed]) -> None:
    words = ("--entrypoint", "/opt/app/start", "--", "/opt/app/subject", "exit", "7")
    done = debugrun("run", "gdb", "debugrun-test/full", *words, status=7)
    assert "gdb of the image" in done.stderr
    assert "is executing new program: /opt/app/subject" in done.stdout


def test_the_plan_starts_nothing_and_its_line_works(debugrun: Callable[..., Completed], tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    told = debugrun(
        "run", "gdb", "debugrun-test/app", "--no-aslr", "-e", "KEY=hunter2", "--json", "--save-profile", str(profile),
        "--", "/opt/app/subject", "stack", status=0,
    )  # fmt: skip
    assert "hunter2" not in told.stdout
    plan = json.loads(told.stdout)
    assert plan["options"][plan["chosen"]]["grant"] == "seccomp"
    assert plan["options"][plan["chosen"]]["security_opt"] == ["seccomp=default+personality(0x40000)"]
    assert profile.stat().st_mode & 0o777 == 0o600
    assert "-e KEY" in plan["options"][plan["chosen"]]["command"]


@pytest.mark.parametrize(
    ("tool", "image", "words", "loses"),
    [
        ("gdb", "debugrun-test/static", ("/subject", "stack"), "Error disabling address space randomization"),
        pytest.param("strace", "debugrun-test/musl", ("/opt/app/subject", "stack"), "", marks=pytest.mark.slow),
    ],
)
def test_without_the_one_rule_addresses_move_again(tool: str, image: str, words: tuple[str, ...], loses: str) -> None:
    wish = start.Wish(tool=tool, image=image, command=words, aslr=False)
    with connect() as connection:
        decided = start.decide(connection, wish, catalog.user_directory())
        assert decided.plan.option is not None
        assert decided.plan.option.opened_calls == ("personality(0x40000)",)
        volume.fill(connection, toolbox_id(connection.client))
        told = [output(connection.client, decided) for _ in range(2)]
    assert loses in told[0]
    stacks = {re.search(r"stack (\S+)", each)[1] for each in told}  # type: ignore[index]
    assert len(stacks) == 2


def test_without_the_one_rule_nothing_is_counted() -> None:
    wish = start.Wish(tool="perf", image="debugrun-test/static", mode="stat", command=("/subject", "exit", "0"))
    with connect() as connection:
        decided = start.decide(connection, wish, catalog.user_directory())
        assert decided.plan.option is not None
        assert decided.plan.option.opened_calls == ("perf_event_open",)
        assert "No permission to enable" in output(connection.client, decided)


def toolbox_id(client: docker.APIClient) -> str:
    return str(client.images(name="debugrun-toolbox:latest")[0]["Id"])


def output(client: docker.APIClient, decided: Decided) -> str:
    """What the same container prints without the grant."""
    with connect() as connection:
        container = create.create(
            connection,
            create.Making(
                image=decided.image,
                options=RunOptions(),
                labels={},
                entrypoint=decided.under.entrypoint,
                command=decided.under.command,
                mounts=decided.under.mounts,
            ),
        )
    try:
        client.start(container)
        client.wait(container, timeout=60)
        return client.logs(container).decode()
    finally:
        client.remove_container(container, force=True)


def test_a_container_that_shall_stay_stays_and_is_no_leftover(run: Run, engine: docker.APIClient) -> None:
    name = f"debugrun-run-{uuid.uuid4().hex[:8]}"
    run("strace", "debugrun-test/static", "--no-rm", "--name", name, does=("exit", "7"), status=7)
    try:
        assert engine.inspect_container(name)["State"]["ExitCode"] == 7
        with connect() as connection:
            assert name not in {each.name for each in leftovers.leftovers(connection)}
    finally:
        engine.remove_container(name, force=True)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("gdb", "no-such-image-here"), 125, "no image no-such-image-here on this engine"),
        (("gdb", "debugrun-test/static", "--", "/nothing"), 127, "debugrun-test/static holds no program '/nothing'"),
        (("tcpdump", "debugrun-test/static"), 2, "tcpdump starts no programs"),
        (("gdb", "debugrun-test/static", "--mode", "fly"), 2, "--mode with one of: run"),
        (("gdb", "debugrun-test/static", "--mount", "type=bind,colour=red"), 2, "'colour' is none of"),
        (("gdb", "debugrun-test/static", "-p", "eighty"), 2, "-p: Invalid port"),
        (("gdb", "debugrun-test/static", "--tool-args", "'"), 2, "--tool-args: No closing quotation"),
        (("perf", "debugrun-test/static", "--max-grant", "none"), 126, "blocks perf_event_open"),
        (("valgrind", "debugrun-test/static"), 127, "the image holds no valgrind"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    words: tuple[str, ...], status: int, says: str, debugrun: Callable[..., Completed]
) -> None:
    done = debugrun("run", *words, status=status)
    assert says in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.slow
def test_the_volume_is_copied_once_also_when_many_want_it(
    engine: docker.APIClient, debugrun: Callable[..., Completed]
) -> None:
    debugrun("gc", status=0)
    words = [str(PROGRAM), "run", "strace", "debugrun-test/static", "--", "/subject", "exit", "7"]
    many = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    said = [each.communicate(timeout=120)[1] for each in many]
    assert [each.returncode for each in many] == [7, 7, 7], said
    image = toolbox_id(engine)
    listed = engine.volumes(filters={"label": kinds.LABEL_VOLUME})["Volumes"]
    assert [each["Name"] for each in listed] == [volume.name_of(image)]
    assert listed[0]["Name"] in debugrun("gc", status=0).stdout
    assert not engine.volumes(filters={"label": kinds.LABEL_VOLUME})["Volumes"]


@pytest.mark.slow
def test_a_volume_that_was_left_half_copied_is_made_anew(
    engine: docker.APIClient, run: Run, debugrun: Callable[..., Completed]
) -> None:
    debugrun("gc", status=0)
    image = toolbox_id(engine)
    name = volume.name_of(image)
    engine.create_volume(name, labels=ownership.marked(kinds.VOLUME, name, {kinds.LABEL_VOLUME: image}))
    run("strace", "debugrun-test/static", does=("exit", "7"), status=7)
