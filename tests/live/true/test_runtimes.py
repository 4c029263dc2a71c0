"""What is no ordinary process of the engine's kernel: gVisor's, and what an emulator runs. A TLS port of dockerd's."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from debugrun.core.know.facts import Facts, load
from tests.host import private, remote
from tests.host.state import HostError, folder

pytestmark = [pytest.mark.live, pytest.mark.slow]

Completed = subprocess.CompletedProcess[str]
PROGRAM = str(Path(sys.executable).with_name("debugrun"))
FULL = "debugrun-test/full"


@pytest.fixture(scope="module")
def second(engine: docker.APIClient) -> Iterator[private.Private]:
    """An engine with gVisor's runtime and a TLS port."""
    try:
        with private.engine() as made:
            with contextlib.closing(docker.APIClient(made.host, timeout=120)) as client:
                private.copy_images((FULL,), engine, client)
            yield made
    except HostError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def client(second: private.Private) -> Iterator[docker.APIClient]:
    with contextlib.closing(docker.APIClient(second.host, timeout=120)) as made:
        yield made


@contextlib.contextmanager
def started(client: docker.APIClient, runtime: str = "runsc", **options: object) -> Iterator[str]:
    """A container of that runtime; its name."""
    name = f"debugrun-runtime-{uuid.uuid4().hex[:8]}"
    host = client.create_host_config(
        network_mode="none", runtime=runtime, cap_add=list(options.pop("cap_add", ())) or None  # type: ignore[call-overload]
    )  # fmt: skip
    client.create_container(FULL, ["/opt/app/worker"], name=name, host_config=host, **options)  # type: ignore[arg-type]
    try:
        client.start(name)
        yield name
    finally:
        client.remove_container(name, force=True)


def run(environment: dict[str, str], *words: str, before: tuple[str, ...] = (), stdin: str = "") -> Completed:
    return subprocess.run(
        [*before, PROGRAM, *words],
        input=stdin, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def inside(client: docker.APIClient, name: str, script: str) -> str:
    """What a shell in the container says: gVisor's processes are seen from nowhere else."""
    made = client.exec_create(name, ["sh", "-c", script])
    output: bytes = client.exec_start(made["Id"])
    return output.decode()


STATUS = (
    'while read -r line; do case $line in TracerPid*) echo "$line";; esac; done < /proc/1/status; echo /proc/[0-9]*'
)


def alone(client: docker.APIClient, name: str) -> None:
    """Its process is untraced, and nothing else runs in it but the shell that looks."""
    deadline = time.monotonic() + 30
    while True:
        said = inside(client, name, STATUS)
        if re.search(r"TracerPid:\s*0\n/proc/1 /proc/\d+\n\Z", said):
            break
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    assert client.inspect_container(name)["State"]["Running"]


KINDS = {
    # name: (user, capabilities, what works within the ceiling)
    "root": ("", (), False),
    "uid-1000": ("1000:1000", (), False),
    "root-sys-ptrace": ("", ("SYS_PTRACE",), True),
    "uid-1000-sys-ptrace": ("1000:1000", ("SYS_PTRACE",), False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_in_gvisor_the_verdict_is_what_its_kernel_does(
    second: private.Private, client: docker.APIClient, kind: str
) -> None:
    user, capabilities, works = KINDS[kind]
    there = {"DOCKER_HOST": second.host}
    with started(client, user=user, cap_add=capabilities) as name:
        done = run(there, "gdb", name, "--", "-batch", "-ex", "bt")
        assert done.returncode == (0 if works else 126), done.stderr
        assert ("worker.c" in done.stdout) is works
        assert "runsc runs" in done.stderr
        # What the planner closes is closed: root and the container's own user, by exec.
        for uid in dict.fromkeys((user or "0:0", "0:0")):
            made = client.exec_create(name, ["gdb", "-q", "-batch", "-p", "1", "-ex", "bt"], user=uid)
            plain = client.exec_start(made["Id"]).decode(errors="replace")
            assert ("worker.c" in plain) is works, plain
        alone(client, name)
        if not works:
            # The image's own program, which is given nothing unless a person says where it runs.
            named = ("--via", "here", "--max-grant", "privileged")
            wider = run(there, "gdb", name, *named, "--", "-batch", "-ex", "bt")
            assert wider.returncode == 0, wider.stderr
            assert "worker.c" in wider.stdout
            alone(client, name)


def test_in_gvisor_no_container_is_sent_to_the_hosts_processes(
    second: private.Private, client: docker.APIClient
) -> None:
    """Joining its PID namespace gives the namespace of its runtime: the host's, where PID 1 is the machine's own."""
    with started(client) as name:
        host = client.create_host_config(network_mode="none", pid_mode=f"container:{name}")
        joined = client.create_container(FULL, ["sh", "-c", "read -r me < /proc/1/comm; echo $me"], host_config=host)
        try:
            client.start(joined["Id"])
            client.wait(joined["Id"])
            assert client.logs(joined["Id"]).decode().strip() != "worker"
        finally:
            client.remove_container(joined["Id"], force=True)
        before = {each["Id"] for each in client.containers(all=True)}
        refused = run({"DOCKER_HOST": second.host}, "strace", name, "--via", "sidecar", "--max-grant", "privileged")
        assert refused.returncode == 126
        assert "sees the host's processes" in refused.stderr
        assert {each["Id"] for each in client.containers(all=True)} == before


def test_in_gvisor_a_killed_client_leaves_the_target_alone(second: private.Private, client: docker.APIClient) -> None:
    with started(client, cap_add=("SYS_PTRACE",)) as name:
        words = ["gdb", name, "--", "-ex", "break pause_100_ms if 0", "-ex", "continue"]
        with subprocess.Popen(
            [PROGRAM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "DOCKER_HOST": second.host},
        ) as tool:  # fmt: skip
            assert tool.stdout is not None
            while b"Continuing" not in (line := tool.stdout.readline()):
                assert line
            time.sleep(1)
            tool.kill()
        alone(client, name)


def test_a_dockerds_own_tls_port(second: private.Private, client: docker.APIClient) -> None:
    """Go's TLS, not Python's: a tool's output, its input's end, its exit status."""
    before = tuple(second.inside)
    with started(client, runtime="runc", user="1000:1000") as name:
        words = ("gdb", name, "--image", FULL)
        done = run(second.tls, *words, "--", "-batch", "-ex", "bt", "-ex", "quit 5", before=before)
        assert done.returncode == 5, done.stderr
        assert "worker.c" in done.stdout
        script = "".join(f"echo line {number}\\n\n" for number in range(500)) + "bt\n"
        piped = run(second.tls, *words, before=before, stdin=script)
        assert piped.returncode == 0, piped.stderr
        assert [int(each) for each in re.findall(r"line (\d+)", piped.stdout)] == list(range(500))
        strange = run({**second.tls, "DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": ""}, *words, before=before)
        assert (strange.returncode, "speaks TLS" in strange.stderr) == (125, True)


# --- emulation ---------------------------------------------------------------------------------------------------


def arm64_program() -> bytes:
    """An ELF file that writes "tick" ten times a second, for Linux on arm64."""
    words = [
        0xD2800020,  # mov x0, 1
        _adr(1, 9 * 4),  # adr x1, text
        0xD28000A2,  # mov x2, 5
        0xD2800808,  # mov x8, 64: write
        0xD4000001,  # svc 0
        _adr(0, 7 * 4),  # adr x0, pause
        0xD2800001,  # mov x1, 0
        0xD2800CA8,  # mov x8, 101: nanosleep
        0xD4000001,  # svc 0
        0x14000000 | (-9 & 0x3FFFFFF),  # b to the start
    ]
    code = b"".join(struct.pack("<I", word) for word in words) + b"tick\n\0\0\0" + struct.pack("<qq", 0, 100_000_000)
    size = 0x78 + len(code)
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, size, size, 0x10000) + code


def _adr(register: int, offset: int) -> int:
    """ADR: an address relative to the instruction."""
    return 0x10000000 | (offset & 3) << 29 | (offset >> 2 & 0x7FFFF) << 5 | register


@pytest.fixture(scope="module")
def qemu() -> Path:
    """qemu-user for arm64, of this machine's Debian; its path is also the one in the container."""
    place = folder() / "qemu-user"
    program = place / "usr/bin/qemu-aarch64-static"
    if os.uname().machine != "x86_64":
        pytest.skip("the program that is emulated here is one for arm64: an x86-64 machine would run it")
    if not program.exists():
        try:
            remote.unpack(("qemu-user-static",), place, only="usr/bin/qemu-aarch64-static")
        except HostError as error:
            pytest.skip(str(error))
    return program


@pytest.fixture(scope="module")
def emulated(engine: docker.APIClient, toolbox: str, qemu: Path) -> Iterator[str]:
    """A container of an arm64 image. Its program is started as binfmt_misc would: nothing is registered for that."""
    assert toolbox
    name = f"debugrun-emulated-{uuid.uuid4().hex[:8]}"
    engine.load_image(image(name, {"usr/bin/qemu-aarch64-static": qemu.read_bytes(), "app": arm64_program()}))  # type: ignore[no-untyped-call]
    try:
        host = engine.create_host_config(network_mode="none")
        engine.create_container(f"{name}:latest", name=name, user="1000:1000", host_config=host)
        engine.start(name)
        yield name
    finally:
        engine.remove_container(name, force=True)
        engine.remove_image(f"{name}:latest", force=True)


def image(name: str, files: dict[str, bytes]) -> bytes:
    """What `docker save` writes of an arm64 image with these files."""
    layer = _tar({path: (data, 0o755) for path, data in files.items()})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "arm64",
        "os": "linux",
        "config": {"Entrypoint": ["/usr/bin/qemu-aarch64-static", "/app"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]
    parts = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    return _tar({**{path: (data, 0o644) for path, data in parts.items()}, "layer.tar": (layer, 0o644)})


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, (data, mode) in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(params=["near", "far"])
def look(request: pytest.FixtureRequest) -> Callable[..., Completed]:
    """The command line, here and on a machine where the engine is not."""
    if request.param == "far" and os.geteuid() != 0:
        pytest.skip("makes a PID namespace: run the tests as root")
    before = ("unshare", "--pid", "--fork", "--mount-proc") if request.param == "far" else ()

    def look(*words: str) -> Completed:
        return run({}, *words, before=before)

    return look


def test_an_emulated_target_is_seen_as_one(look: Callable[..., Completed], emulated: str) -> None:
    facts: Facts = load(look("facts", emulated, "--json").stdout)
    assert facts.container.architecture == "aarch64"
    assert facts.process.exe in {None, "/usr/bin/qemu-aarch64-static"}


def test_a_debugger_is_not_started_on_an_emulator(look: Callable[..., Completed], emulated: str) -> None:
    refused = look("gdb", emulated)
    assert refused.returncode == 126
    # From afar a nobody looks, who may not read the exe link of another user's process.
    assert re.search("memory, registers and frames would be those of (qemu-aarch64|an emulator)", refused.stderr)
    assert "--platform linux/amd64" in refused.stderr
    assert "QEMU_GDB" in refused.stderr


def test_calls_of_an_emulated_program_are_its_own(look: Callable[..., Completed], emulated: str) -> None:
    done = look("strace", emulated, "--duration", "2")
    assert done.returncode == 0, done.stderr
    assert re.search(r'write\(1, "tick\\n", 5\)\s+= 5', done.stdout + done.stderr)


def test_the_stub_that_we_name_is_there(qemu: Path, tmp_path: Path) -> None:
    """QEMU_GDB: qemu waits for a debugger, and speaks gdb's remote protocol."""
    program = tmp_path / "app"
    program.write_bytes(arm64_program())
    program.chmod(0o755)
    port = remote.free_port()
    command = [qemu, program]
    with subprocess.Popen(command, env={"QEMU_GDB": str(port)}, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    stub = socket.create_connection(("127.0.0.1", port), timeout=5)
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            with stub:
                stub.sendall(b"+$?#3f")
                answer = b""
                while answer.count(b"#") < 1:
                    answer += stub.recv(4096)
                assert re.search(rb"\$[ST]05", answer)
        finally:
            process.kill()
