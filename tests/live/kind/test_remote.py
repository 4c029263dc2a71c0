"""Engines that are not on this machine's own socket: ssh by the ssh client and by paramiko, TLS; what a plan asks."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import docker
import pexpect
import pytest

from debugrun.core.know.facts import load
from tests.host import remote
from tests.host.state import HostError
from tests.live.victims import Victim, released, victims

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]
PROMPT = r"\(gdb\) $"
WAYS = ["tls", "ssh", pytest.param("paramiko", marks=pytest.mark.slow)]  # unix is what all other tests use
PROGRAM = str(Path(sys.executable).with_name("debugrun"))


@pytest.fixture(scope="module")
def socket_path(toolbox: str) -> str:
    """The engine's unix socket."""
    assert toolbox
    url = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not url.startswith("unix://"):
        pytest.skip("the ways end at the engine's unix socket: use an engine on this machine, DOCKER_HOST=unix://...")
    return url.removeprefix("unix://")


@pytest.fixture(scope="module")
def ssh_way(socket_path: str) -> Iterator[remote.Way]:
    try:
        with remote.sshd(socket_path) as way:
            yield way
    except HostError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tls_way(socket_path: str) -> Iterator[remote.Way]:
    with remote.tls(socket_path) as way:
        yield way


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, socket_path: str, tmp_path_factory: pytest.TempPathFactory) -> remote.Way:
    """Each kind of connection that docker-py or we make."""
    made: remote.Way = request.getfixturevalue("tls_way" if request.param == "tls" else "ssh_way")
    if request.param == "paramiko":
        if importlib.util.find_spec("paramiko") is None:
            pytest.skip("paramiko is an extra: pip install '.[paramiko]' would run it")
        # No ssh client: of PATH only what the program itself needs.
        empty = tmp_path_factory.mktemp("path")
        url = made.environment["DOCKER_HOST"].removesuffix(socket_path)
        return remote.Way(environment={**made.environment, "DOCKER_HOST": url, "PATH": str(empty)}, log=made.log)
    return made


@pytest.fixture
def victim(engine: docker.APIClient, toolbox: str) -> Iterator[Victim]:
    assert toolbox
    with victims(engine) as made:
        yield made


def run(way: remote.Way, *words: str, stdin: str | None = "", **more: str) -> Completed:
    """Without input (None) a tool starts with its sidecar, else by an exec in it."""
    environment = {**os.environ, **way.environment, **more}
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run(
        [PROGRAM, *words], env=environment, capture_output=True, text=True, check=False, timeout=90, **given
    )


@contextlib.contextmanager
def terminal(way: remote.Way, *words: str) -> Iterator[pexpect.spawn[str]]:
    environment = {**os.environ, **way.environment, "TERM": "dumb"}
    child = pexpect.spawn(PROGRAM, list(words), env=environment, encoding="utf-8", timeout=60, dimensions=(33, 111))
    try:
        yield child
    finally:
        child.close(force=True)


def clients_of(way: remote.Way) -> list[int]:
    """PIDs of ssh clients that still run on the way's behalf."""
    home = way.environment.get("HOME", "/nonexistent").encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes()
            if home in words and b"dial-stdio" in words:
                found.append(int(path.parent.name))
    return found


def nothing_left(way: remote.Way) -> None:
    deadline = time.monotonic() + 10
    while clients_of(way) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert clients_of(way) == []
    cache = Path(way.environment.get("HOME", "/nonexistent")) / ".cache/debugrun"
    assert not list(cache.glob("ssh-*"))


def test_a_terminal_with_its_size_its_ctrl_c_and_its_exit_status(way: remote.Way, victim: Victim) -> None:
    with terminal(way, "gdb", victim.name) as child:
        child.expect(PROMPT)
        child.sendline("shell busybox stty size")
        child.expect("33 111")
        child.setwinsize(44, 99)
        size = ""
        deadline = time.monotonic() + 20
        while size != "44 99":
            assert time.monotonic() < deadline, size
            child.expect(PROMPT)
            child.sendline("shell busybox stty size")
            child.expect(r"(\d+ \d+)\r\n")
            assert isinstance(child.match, re.Match)
            size = str(child.match[1])
        child.expect(PROMPT)
        child.sendline("continue")
        child.expect("Continuing")
        while victim.state() not in "RS":
            time.sleep(0.05)
        child.sendintr()
        child.expect("SIGINT")
        child.expect(PROMPT)
        child.sendline("detach")
        child.expect("detached")
        child.expect(PROMPT)
        child.sendline("quit 7")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 7, child.before
    released(victim)
    nothing_left(way)


@pytest.mark.parametrize("stdin", ["", None], ids=["input", "no-input"])
def test_a_batch_run_is_what_it_is_nearby(way: remote.Way, victim: Victim, stdin: str | None) -> None:
    done = run(way, "gdb", victim.name, "--", "-batch", "-ex", "bt", "-ex", "quit 9", stdin=stdin)
    assert done.returncode == 9, done.stderr
    assert re.search(r"^#\d+ .* main \(.*worker\.c:\d+$", done.stdout, re.MULTILINE)
    released(victim)
    nothing_left(way)


def test_the_end_of_our_input_ends_the_tool_and_not_its_output(way: remote.Way, victim: Victim) -> None:
    script = "".join(f"echo line {number}\\n\n" for number in range(2000)) + "bt\n"
    done = run(way, "gdb", victim.name, stdin=script)
    assert done.returncode == 0, done.stderr
    numbers = re.findall(r"line (\d+)", done.stdout)
    assert [int(each) for each in numbers] == list(range(2000))
    assert "worker.c" in done.stdout
    released(victim)


@pytest.mark.slow
@pytest.mark.parametrize("stdin", [subprocess.PIPE, subprocess.DEVNULL], ids=["input", "no-input"])
def test_a_client_that_is_killed_leaves_nothing(way: remote.Way, victim: Victim, stdin: int) -> None:
    commands = ["-ex", "break pause_100_ms if 0", "-ex", "continue"]
    with subprocess.Popen(
        [PROGRAM, "gdb", victim.name, "--", *commands],
        stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **way.environment},
    ) as client:  # fmt: skip
        victim.await_work(client, traced=True)
        client.kill()
    released(victim)
    nothing_left(way)


@pytest.mark.slow
def test_a_login_that_breaks_is_named_and_leaves_the_target_alone(ssh_way: remote.Way, victim: Victim) -> None:
    commands = ["-ex", "break pause_100_ms if 0", "-ex", "continue"]
    with subprocess.Popen(
        [PROGRAM, "gdb", victim.name, "--", *commands],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **ssh_way.environment},
    ) as client:  # fmt: skip
        victim.await_work(client, traced=True)
        for pid in clients_of(ssh_way):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _, said = client.communicate(timeout=60)
    assert client.returncode == 125
    assert b"broke the connection to gdb" in said
    released(victim)
    nothing_left(ssh_way)


def test_one_login_carries_all(ssh_way: remote.Way, victim: Victim) -> None:
    assert ssh_way.log is not None
    before = ssh_way.log.read_text().count("Accepted publickey")
    assert run(ssh_way, "gdb", victim.name, "--", "-batch").returncode == 0
    assert ssh_way.log.read_text().count("Accepted publickey") == before + 1


def test_what_ssh_says_is_what_we_say(ssh_way: remote.Way, tmp_path: Path) -> None:
    home = Path(ssh_way.environment["HOME"])
    url = ssh_way.environment["DOCKER_HOST"]
    refused = run(ssh_way, "plan", "gdb", "web", DOCKER_HOST=url.replace("ssh://root@", "ssh://nobody@"))
    assert refused.returncode == 125
    assert "Permission denied (publickey" in refused.stderr
    nowhere = run(ssh_way, "plan", "gdb", "web", DOCKER_HOST=f"{url}.not-there")
    assert nowhere.returncode == 125
    assert ".not-there" in nowhere.stderr
    known = home / ".ssh/known_hosts"
    text = known.read_text()
    known.write_text(text.replace("AAAA", "AAAB", 1))
    try:
        unknown = run(ssh_way, "plan", "gdb", "web")
    finally:
        known.write_text(text)
    assert "Host key verification failed" in unknown.stderr
    without = run(ssh_way, "plan", "gdb", "web", PATH=str(tmp_path), PYTHONPATH=str(no_paramiko(tmp_path)))
    assert (without.returncode, "openssh-client" in without.stderr) == (125, True)
    nothing_left(ssh_way)


def no_paramiko(folder: Path) -> Path:
    """A folder that hides paramiko from a Python that has it."""
    (folder / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'paramiko' else find(name, *rest)\n"
    )
    return folder


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_web_do_not_replace_the_engines(
    tls_way: remote.Way, victim: Victim, variable: str, tmp_path: Path
) -> None:
    other = tmp_path / "ca"
    other.mkdir()
    remote.certificates(other)
    done = run(tls_way, "plan", "gdb", victim.name, **{variable: str(other / "ca.pem")})
    assert done.returncode == 0, done.stderr
    # And no other authority is believed.
    shutil.copytree(tls_way.environment["DOCKER_CERT_PATH"], tmp_path / "mixed")
    shutil.copy(other / "ca.pem", tmp_path / "mixed/ca.pem")
    wrong = run(tls_way, "plan", "gdb", victim.name, DOCKER_CERT_PATH=str(tmp_path / "mixed"))
    assert (wrong.returncode, "CERTIFICATE_VERIFY_FAILED" in wrong.stderr) == (125, True)


def test_a_context_is_what_the_docker_cli_takes_it_for(
    socket_path: str, tls_way: remote.Way, victim: Victim, tmp_path: Path
) -> None:
    """The precedence of docker 28: --context, DOCKER_HOST, DOCKER_CONTEXT, the configured one."""
    if shutil.which("docker") is None:
        pytest.skip("the docker client makes the contexts: install it")
    here, there = f"unix://{socket_path}", "unix:///nowhere/docker.sock"
    certs = tls_way.environment["DOCKER_CERT_PATH"]
    material = ",".join(f"{name}={certs}/{name}.pem" for name in ("ca", "cert", "key"))
    contexts = {"here": f"host={here}", "there": f"host={there}"}
    contexts["tls"] = f"host={tls_way.environment['DOCKER_HOST']},{material}"
    environment = {**os.environ, "DOCKER_CONFIG": str(tmp_path)}
    environment.pop("DOCKER_HOST", None)
    for name, endpoint in contexts.items():
        command = ["docker", "context", "create", name, "--docker", endpoint]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    def reached(*words: str, **more: str) -> str:
        """The origin of the engine that answered, or of the one that did not."""
        command = [PROGRAM, *words, "plan", "gdb", victim.name]
        done = subprocess.run(command, env={**environment, **more}, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return "answered"
        said = re.search(r"(?<=\()[^)]*|no Docker context \w+", done.stderr)
        return said[0] if said else done.stderr

    assert reached("--context", "here") == "answered"
    assert reached("--context=tls") == "answered"
    assert reached("--context", "here", DOCKER_HOST=there) == "answered"
    assert reached("--context", "there", DOCKER_HOST=here) == "context there"
    assert reached("--context", "default", DOCKER_HOST=here) == "answered"
    assert reached(DOCKER_HOST=here, DOCKER_CONTEXT="there") == "answered"
    assert reached(DOCKER_HOST=there, DOCKER_CONTEXT="here") == "DOCKER_HOST"
    assert reached(DOCKER_CONTEXT="here") == "answered"
    assert reached("--context", "nobody") == "no Docker context nobody"
    assert reached(DOCKER_CONTEXT="default") in {"the default socket", "answered"}
    assert not (tmp_path / "config.json").exists()
    subprocess.run(["docker", "context", "use", "there"], env=environment, check=True, capture_output=True)
    assert reached() == "context there"
    assert reached(DOCKER_CONTEXT="here") == "answered"


# A machine of its own, as far as /proc tells: the engine's processes are not in it, and its settings are others.
ELSEWHERE = """
mount --bind "$1/other" /proc/sys/kernel/perf_event_paranoid
mount -t tmpfs none /proc/sys/kernel/yama 2>/dev/null || true
shift
exec "$@"
"""


def elsewhere(folder: Path) -> list[str]:
    """What to put before a command to run it on a machine where the engine is not."""
    if os.geteuid() != 0:
        pytest.skip("makes a PID namespace: run the tests as root")
    (folder / "other").write_text("7\n")
    return ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-ec", ELSEWHERE, "sh", str(folder)]


def test_an_engine_elsewhere_is_known_by_its_processes_not_by_its_url(
    ssh_way: remote.Way, socket_path: str, victim: Victim, tmp_path: Path
) -> None:
    """By whichever way: our own /proc counts where it shows the container, and nowhere else."""
    paths: dict[str, Mapping[str, str]] = {"unix": {"DOCKER_HOST": f"unix://{socket_path}"}, "ssh": ssh_way.environment}
    for name, environment in paths.items():
        seen = {}
        for place, before in (("near", []), ("far", elsewhere(tmp_path))):
            command = [*before, PROGRAM, "facts", victim.name, "--json"]
            done = subprocess.run(
                command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == 0, (name, place, done.stderr)
            seen[place] = load(done.stdout)
        assert (seen["near"].engine.local, seen["far"].engine.local) == (True, False), name
        near, far = (dataclasses.asdict(seen[place].host) for place in ("near", "far"))
        assert {key: value for key, value in near.items() if far[key] is not None} == {
            key: value for key, value in far.items() if value is not None
        }
        assert far["perf_event_paranoid"] not in {None, 7}
        assert seen["far"].process.uids == seen["near"].process.uids == (1000,) * 4
        assert seen["far"].process.host_pid == victim.pid  # as the engine says


def test_doctor_reads_no_setting_of_the_wrong_machine(socket_path: str, victim: Victim, tmp_path: Path) -> None:
    """Behind a unix socket of ours may be anything: here one that leads to the engine through another process."""
    with remote.watched(socket_path, delay=0) as seen:
        command = [*elsewhere(tmp_path), PROGRAM, "doctor", "--json"]
        environment = {**os.environ, "DOCKER_HOST": seen.url}
        far = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert '"perf_event_paranoid",\n      "value": "can\'t be read"' in far.stdout
        looked = subprocess.run([*command, victim.name], env=environment, capture_output=True, text=True, check=False)
        assert "can't be read" not in looked.stdout.split('"perf_event_paranoid"')[1].split("}")[0]


@pytest.mark.parametrize("where", ["near", "far"])
def test_a_plan_takes_few_round_trips(
    socket_path: str, victim: Victim, tmp_path: Path, where: str, record: Callable[[str], None]
) -> None:
    """The longest chain of requests of which each waited for an answer; what goes on meanwhile costs no time."""
    with remote.watched(socket_path, delay=0.25) as seen:
        before = elsewhere(tmp_path) if where == "far" else []
        environment = {**os.environ, "DOCKER_HOST": seen.url}
        done = subprocess.run(
            [*before, PROGRAM, "plan", "gdb", victim.name], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        record(f"{where}: {len(seen.asked)} requests, {seen.depth()} deep")
        assert 0 < seen.depth() <= {"near": 2, "far": 3}[where], "\n".join(
            map(str, sorted(seen.asked, key=lambda each: each.came))
        )


@pytest.fixture
def record(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="")

    return say
