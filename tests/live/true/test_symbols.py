"""What gdb and perf name in a sidecar, on the real kernel: the target's functions, never another file's."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import docker
import pytest
from docker.models.containers import Container

from debugrun.core.know import symbols

pytestmark = pytest.mark.live

BACKTRACE = ("-batch", "-p", "1", "-ex", "bt")
FRAME = re.compile(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+) \(.*?\)(?: (?:at|from) (\S+))?$", re.MULTILINE)
VIEW = "/tmp/root.1/"  # noqa: S108 - in the sidecar


@dataclass(frozen=True, slots=True)
class Output:
    stdout: str
    stderr: str

    def frames(self) -> list[str]:
        return [name for name, _ in FRAME.findall(self.stdout)]


@pytest.fixture(scope="module")
def client(engine: docker.APIClient) -> Iterator[docker.DockerClient]:
    assert engine.ping()
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def sidecar(client: docker.DockerClient, toolbox: str) -> Iterator[Callable[..., Output]]:
    """Runs words beside a target: its user and no capability, or for root SYS_PTRACE; and nothing else."""
    made: list[Container] = []

    def run(target: str, words: tuple[str, ...], *, cap_add: tuple[str, ...] | None = None) -> Output:
        user = client.containers.get(target).attrs["Config"]["User"]
        extra = ("SYS_PTRACE",) if cap_add is None and not user else cap_add or ()
        container = client.containers.create(
            toolbox,
            list(words),
            user=user,
            pid_mode=f"container:{target}",
            network_mode="none",
            cap_drop=["ALL"],
            cap_add=list(extra),
            security_opt=["seccomp=unconfined"] if "perf" in " ".join(words) else [],
            read_only=True,
            tmpfs={"/tmp": "mode=1777,size=64m"},  # noqa: S108 - the sidecar's own
        )
        made.append(container)
        container.start()
        container.wait(timeout=60)
        return Output(*(container.logs(stdout=out, stderr=not out).decode() for out in (True, False)))

    yield run
    for container in made:
        container.remove(force=True)


@pytest.fixture
def start(client: docker.DockerClient, target: Callable[[str], str]) -> Iterator[Callable[..., Container]]:
    """A target of the test's own, to be changed while it runs."""
    assert target("root")  # the images are there
    made: list[Container] = []

    def run(image: str, *words: str, cap_add: tuple[str, ...] = ()) -> Container:
        command, given = list(words) or None, list(cap_add)
        filters = ["seccomp=unconfined"] if given else []  # pivot_root(2) is blocked whatever is given
        made.append(
            client.containers.run(
                f"debugrun-test/{image}", command, cap_add=given, security_opt=filters, detach=True, network_mode="none"
            )
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while b"tick" not in made[-1].logs():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return made[-1]

    yield run
    for container in made:
        container.remove(force=True)


def replace(container: Container, path: str, content: bytes) -> None:
    """Another file at `path`, as an upgrade does it: the running process keeps the removed one."""
    folder, _, name = path.rpartition("/")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    assert container.put_archive(folder, archive.getvalue())


def content_of(container: Container, path: str) -> bytes:
    chunks, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        found = tar.extractfile(tar.getmembers()[0])
        assert found is not None
        return found.read()


def gdb(*words: str) -> tuple[str, ...]:
    return ("gdb", *symbols.gdb_arguments(1), *words)


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("root", ["work", "serve", "main"]),
        ("u1000", ["work", "serve", "main"]),
        ("static", ["work", "serve", "main"]),
        ("debuglink", ["work", "serve", "main"]),
        ("buildid", ["work", "serve", "main"]),
        ("trap", ["pump", "work", "serve", "main"]),
        ("abslink", ["pump", "work", "serve", "main"]),
        ("abslink2", ["pump", "work", "serve", "main"]),
        ("owngdb", ["work", "serve", "main"]),
    ],
)
def test_a_backtrace_names_each_frame_of_the_target(
    name: str, tail: list[str], target: Callable[[str], str], sidecar: Callable[..., Output]
) -> None:
    output = sidecar(target(name), gdb(*BACKTRACE))
    assert output.frames()[-len(tail) :] == tail, output
    assert "debugrun:" not in output.stderr


def test_a_backtrace_by_attach_at_the_prompt_is_the_same(
    target: Callable[[str], str], sidecar: Callable[..., Output]
) -> None:
    output = sidecar(target("abslink"), gdb("-batch", "-ex", "attach 1", "-ex", "bt"))
    assert output.frames()[-4:] == ["pump", "work", "serve", "main"], output


def test_every_line_equals_that_of_gdb_in_place(
    client: docker.DockerClient, target: Callable[[str], str], sidecar: Callable[..., Output]
) -> None:
    words = ("-batch", "-p", "1", "-ex", "thread apply all -s bt", "-ex", "info sharedlibrary", "-ex", "p ticks > 0")
    container = client.containers.get(target("owngdb"))
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    code, inside = container.exec_run(["gdb", "-nx", *words], stderr=False, environment=environment)
    assert code == 0
    assert isinstance(inside, bytes)
    beside = sidecar(target("owngdb"), gdb(*words)).stdout
    seen = [re.sub(r"step@entry=\d+", "step", text) for text in (inside.decode(), beside.replace(VIEW, "/"))]
    assert seen[0] == seen[1]


def test_gdb_in_place_leaves_nothing_behind(start: Callable[..., Container]) -> None:
    container = start("full")
    code, output = container.exec_run(list(gdb(*BACKTRACE)))
    assert code == 0
    assert b" work (step" in output
    assert container.diff() is None


def test_the_plain_settings_serve_a_gdb_without_python(
    target: Callable[[str], str], sidecar: Callable[..., Output]
) -> None:
    output = sidecar(target("buildid"), ("gdb", *symbols.gdb_arguments(1, prelude=False), *BACKTRACE))
    assert output.frames()[-3:] == ["work", "serve", "main"], output


def test_a_replaced_program_is_read_from_the_process(
    start: Callable[..., Container], sidecar: Callable[..., Output]
) -> None:
    container = start("app")
    replace(container, "/opt/app/worker", content_of(container, "/opt/app/supervisor"))
    output = sidecar(container.id, gdb(*BACKTRACE))
    assert output.frames()[-3:] == ["work", "serve", "main"], output
    assert "debugrun:" not in output.stderr


def test_a_replaced_library_is_named_and_gives_no_wrong_names(
    start: Callable[..., Container], sidecar: Callable[..., Output]
) -> None:
    container = start("abslink")
    path = "/opt/versions/2/lib/libpump.so.1"
    replace(container, path, content_of(container, "/usr/lib/x86_64-linux-gnu/libc.so.6"))
    output = sidecar(container.id, gdb(*BACKTRACE, "-ex", "info sharedlibrary"))
    said = [line for line in output.stderr.splitlines() if line.startswith("debugrun:")]
    assert said == [
        "debugrun: libpump.so.1 on disk is not what PID 1 runs (deleted or replaced): no symbols for it",
    ]
    assert output.frames()[-3:] == ["work", "serve", "main"], output
    assert re.search(r"^ +No +/opt/app/current/lib/libpump.so.1$", output.stdout, re.MULTILINE)


def test_nothing_of_the_target_is_executed(start: Callable[..., Container], sidecar: Callable[..., Output]) -> None:
    """The same target takes over a gdb that trusts it: else this test would prove nothing."""
    container = start("evil")
    trusting = ("set sysroot /proc/1/root", "set auto-load safe-path /", "set libthread-db-search-path $pdir")
    taken = sidecar(container.id, ("gdb", *(word for text in trusting for word in ("-iex", text)), *BACKTRACE))
    assert "TAKEN OVER by libthread_db" in taken.stdout
    assert "TAKEN OVER by .debug_gdb_scripts" in taken.stdout
    for prelude in (True, False):
        output = sidecar(container.id, ("gdb", *symbols.gdb_arguments(1, prelude=prelude), *BACKTRACE))
        assert "TAKEN OVER" not in output.stdout + output.stderr
        assert output.frames()[-3:] == ["work", "serve", "main"], output


def test_a_refused_attach_is_told_by_gdb_alone(target: Callable[[str], str], sidecar: Callable[..., Output]) -> None:
    output = sidecar(target("root"), gdb(*BACKTRACE), cap_add=())
    assert "ptrace: Operation not permitted." in output.stderr
    assert "debugrun:" not in output.stderr
    assert "Traceback" not in output.stderr


def test_the_target_is_not_written_to(
    client: docker.DockerClient, target: Callable[[str], str], sidecar: Callable[..., Output]
) -> None:
    for name in ("abslink", "trap"):
        sidecar(target(name), gdb(*BACKTRACE))
        assert client.containers.get(target(name)).diff() is None


JAILED = "import os, time; os.chroot('/opt/app'); print('tick', flush=True); "
ASLEEP, BUSY = JAILED + "time.sleep(1e6)", JAILED + "exec('while True: pass')"
# What a worker needs, in a root of its own.
COPY = """
ldd() { /lib64/ld-linux-x86-64.so.2 --list "$1" | sed -n 's/.* \\(\\/[^ ]*\\) (.*/\\1/p'; }
new=$1; mkdir -p $new/opt/app $new/lib64 $new/old
cp -L /opt/app/worker $new/opt/app/
cp -L /lib64/ld-linux-x86-64.so.2 $new/lib64/
for file in $(ldd /opt/app/worker); do mkdir -p $new${file%/*}; cp -L $file $new$file; done
"""
CHROOT = f"{COPY} exec busybox chroot $new /opt/app/worker"
PIVOT = f"mkdir -p $1; mount -t tmpfs none $1; {COPY} cd $new && busybox pivot_root . old && exec /opt/app/worker"


@pytest.mark.parametrize(
    ("words", "tail"),
    [
        pytest.param(("python3", "-c", ASLEEP), ["Py_RunMain", "Py_BytesMain"], id="changed its root later"),
        pytest.param(("sh", "-c", CHROOT, "sh", "/srv/jail"), ["work", "serve", "main"], id="started in another root"),
        pytest.param(
            ("busybox", "unshare", "-m", "sh", "-c", PIVOT, "sh", "/srv"),
            ["work", "serve", "main"],
            id="in a mount namespace of its own",
        ),
    ],
)  # fmt: skip
def test_a_process_with_another_root_is_named_by_its_own_files(
    words: tuple[str, ...], tail: list[str], start: Callable[..., Container], sidecar: Callable[..., Output]
) -> None:
    container = start("full", *words, cap_add=("SYS_ADMIN",) if "unshare" in words else ())
    output = sidecar(container.id, gdb(*BACKTRACE, "-ex", "info sharedlibrary"))
    frames = output.frames()
    assert [name for name in frames if name in tail] == tail, output
    assert "debugrun:" not in output.stderr
    assert re.search(r"Yes .*/libc\.so\.6$", output.stdout, re.MULTILINE), output
    assert not re.search(r" No +/", output.stdout), output


@pytest.mark.parametrize("name", ["u1000", "abslink2", "a jail"])
def test_a_gdb_elsewhere_gets_the_files_of_the_process_by_the_stub(
    name: str, target: Callable[[str], str], start: Callable[..., Container]
) -> None:
    """As README has it, with the gdb of this machine: the stub has neither the files nor the right to go there."""
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("no gdb on this machine to connect with: apt-get install gdb")
    container = start("full", "python3", "-c", ASLEEP).id if name == "a jail" else target(name)
    words = ["-ex", f"target remote | {sys.executable} -m debugrun gdbserver {container}", "-ex", "bt"]
    done = subprocess.run(
        [gdb, "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set remotetimeout 30", *words],
        capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    found = [name for name, _ in FRAME.findall(done.stdout)]
    wanted = ["Py_RunMain", "Py_BytesMain"] if name == "a jail" else ["work", "serve", "main"]
    assert [each for each in found if each in wanted] == wanted, done
    assert "nanosleep" in " ".join(found), done
    assert "not permitted" not in done.stderr


def test_what_lies_in_the_place_of_a_jailed_library_does_no_harm(
    start: Callable[..., Container], sidecar: Callable[..., Output]
) -> None:
    """A pipe would block who opens it, a link leads into the sidecar, and a file may have no end."""
    library = "/usr/lib/x86_64-linux-gnu/libz.so.1"
    hostile = JAILED.replace("print", "os.chroot('../../../..'); {}; os.chroot('/opt/app'); print", 1)
    for change in (
        f"os.rename('{library}', '/z'); os.mkfifo('{library}')",
        f"os.rename('{library}', '/z'); os.symlink('/dev/zero', '{library}')",
        f"os.rename('{library}', '/z'); os.truncate(os.open('{library}', os.O_CREAT | os.O_RDWR), 1 << 40)",
    ):
        program = "import ctypes; ctypes.CDLL('libz.so.1'); " + hostile.format(change) + "time.sleep(1e6)"
        container = start("full", "python3", "-c", program)
        output = sidecar(container.id, gdb(*BACKTRACE))
        assert "Py_BytesMain" in output.frames(), output
        assert "debugrun:" not in output.stderr  # it is found where it was moved to


def test_perf_names_the_functions_of_a_jailed_process(
    start: Callable[..., Container], sidecar: Callable[..., Output]
) -> None:
    container = start("full", "python3", "-c", BUSY)
    report = ("perf", "report", "--stdio", "-q", "-i", "/tmp/perf.data", "--no-children", "-G")  # noqa: S108
    output = sidecar(container.id, ("sh", "-c", PROFILE, "sh", *symbols.perf_arguments(1), *report))
    assert output.stdout.strip().partition("\n")[0].endswith("[.] _PyEval_EvalFrameDefault"), output


PROFILE = """
perf record -B -q --call-graph dwarf,8192 -e cpu-clock:u -F 4000 -o /tmp/perf.data -p 1 &
sleep 1; kill -INT $!; wait $!
exec "$@"
"""


@pytest.mark.parametrize(
    ("image", "chain"),
    [
        ("app", "main serve work"),
        ("static", "work"),  # perf can't unwind these two, nor does it in place
        ("musl", "work"),
        ("debuglink", "main serve work"),
        ("buildid", "main serve work"),
        ("trap", "main serve work pump pause_100_ms"),
        ("abslink", "main serve work pump pause_100_ms"),
        ("abslink2", "main serve work pump pause_100_ms"),
    ],
)
def test_perf_names_the_functions_of_the_target(
    image: str, chain: str, start: Callable[..., Container], sidecar: Callable[..., Output]
) -> None:
    program = {"static": "/worker", "trap": "/usr/bin/strace"}.get(image, "/opt/app/worker")
    container = start(image, program, "busy")
    report = ("perf", "report", "--stdio", "-q", "-i", "/tmp/perf.data", "--no-children", "-G")  # noqa: S108
    output = sidecar(container.id, ("sh", "-c", PROFILE, "sh", *symbols.perf_arguments(1), *report))
    assert output.stdout.strip().partition("\n")[0].endswith(f"[.] {chain.rsplit(maxsplit=1)[-1]}"), output
    assert chain in " ".join(re.findall(r"(\w+)$", output.stdout, re.MULTILINE)), output


def test_perf_reads_a_replaced_program_from_the_process(
    start: Callable[..., Container], sidecar: Callable[..., Output]
) -> None:
    container = start("app", "/opt/app/worker", "busy")
    replace(container, "/opt/app/worker", content_of(container, "/opt/app/supervisor"))
    script = ("perf", "script", "-i", "/tmp/perf.data", "-F", "ip,sym")  # noqa: S108
    output = sidecar(container.id, ("sh", "-c", PROFILE, "sh", *symbols.perf_arguments(1), *script))
    assert re.search(r"\w+ work\n\s+\w+ serve\n\s+\w+ main\n", output.stdout), output
