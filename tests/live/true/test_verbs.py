"""`judge`, `why`, `syscalls` and `doctor` on a real engine: what they say is what then happens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import docker
import pytest
from docker.errors import APIError

from debugrun.core.ask import dockerline
from debugrun.core.ask.attempt import Attempt
from debugrun.core.ask.request import Request
from debugrun.core.decide import judge_attempt
from debugrun.core.grants import Option, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Tool
from debugrun.engine.engine import Engine, connect
from debugrun.engine.stream import Frames, Stream
from debugrun.observe.target import look
from debugrun.toolbox import catalog
from tests.conftest import Completed
from tests.live.victims import mapped

pytestmark = pytest.mark.live

TARGETS = ("root", "u1000", "hard", "rootcap", "undump", "undump1000")
TYPED_AT = ("root", "u1000", "undump1000")  # test_judge holds verdicts on all of them
FLAGS = (
    "",
    "--user 1000",
    "--user 1000:1000",
    "--user 1000:1000 --cap-drop ALL --security-opt no-new-privileges",
    "--user 1000:1000 --cap-drop ALL --cap-add SYS_PTRACE",
    "--cap-drop ALL --cap-add SYS_PTRACE",
    "--cap-drop ALL --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH",
    "--cap-drop ALL --cap-add SYS_PTRACE --cap-add DAC_OVERRIDE --cap-add KILL",
    "--cap-drop AUDIT_WRITE",
    "--cap-drop SYS_PTRACE --cap-add SYS_PTRACE",
    "--cap-add SYS_ADMIN",
    "--cap-add PERFMON --cap-add SYS_PTRACE",
    "--security-opt seccomp=unconfined",
    "--privileged",
)
# gdb must be able to signal its target, or it can't stop it again: one backtrace alone would not show that.
SIGNAL = "python import os; os.kill(1, 0); print('may signal')"


# gdb of its own memory: programs of the toolbox are closed to everybody, and that is not about the target.
OWN_MEMORY = "warning: opening /proc/self/mem file failed: Permission denied (13)"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A tool as people type it, and what its output holds, or lacks, when it did its job.

    `bounded`: it is interrupted after a moment.
    """

    tool: str
    argv: str
    shows: str
    bounded: bool = False
    lacks: str = "Operation not permitted|Permission denied|Cannot access memory"

    def command(self) -> list[str]:
        words = shlex.split(self.argv)
        return ["busybox", "timeout", "-s", "INT", "0.5", *words] if self.bounded else words

    def done(self, output: str) -> bool:
        output = output.replace(OWN_MEMORY, "")
        return re.search(self.shows, output) is not None and re.search(self.lacks, output) is None


WORK = (
    Work(
        tool="gdb",
        argv=f"gdb -nx -batch -iex 'set sysroot /proc/1/root' -p 1 -ex bt -ex {shlex.quote(SIGNAL)}",
        shows="(?s)#0 .*may signal",
    ),
    Work(tool="strace", argv="strace -f -p 1", bounded=True, shows="attached", lacks="Could not attach|attach: "),
    Work(
        tool="strace",
        argv="/usr/lib/debugrun/caps/sys_ptrace/strace -f -p 1",
        bounded=True,
        shows="attached",
        lacks="Could not attach|attach: ",
    ),
    Work(
        tool="perf",
        argv="perf stat -e task-clock:u -p 1 busybox sleep 0.1",
        shows="seconds time elapsed",
        lacks="Operation not permitted|Permission denied|<not supported>",  # the latter of a call that does not exist
    ),
    Work(tool="lsof", argv="lsof -n -P -l -p 1", shows="cwd", lacks="readlink: Permission|opendir: Permission"),
)


@pytest.fixture(scope="module")
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


def observe(connection: Engine, container: str, tool: Tool) -> Facts:
    return look(connection, Request(tool=tool.name, container=container), tool)


def client_of(engine: docker.APIClient) -> str:
    """The program whose lines are typed at that engine: Docker's reads some options before it sends them."""
    names = {each["Name"] for each in engine.version().get("Components", [])}
    return "podman" if "Podman Engine" in names else "docker"


REFUSED = (
    "unknown capability|unable to apply caps|cannot be dropped and added|"
    "privileged mode is incompatible with user namespaces"
)


@contextlib.contextmanager
def sidecar(engine: docker.APIClient, typed: Attempt, image: str) -> Iterator[str | None]:
    """The container that the line would start, waiting; None when the engine refuses it."""
    opts = [f"seccomp={typed.seccomp}"] if typed.seccomp != "default" else []
    opts += ["no-new-privileges"] if typed.no_new_privileges else []
    created = None
    try:
        host = engine.create_host_config(
            cap_add=list(typed.cap_add), cap_drop=list(typed.cap_drop), security_opt=opts, privileged=typed.privileged,
            pid_mode=typed.pid_mode, init=False,
        )  # fmt: skip
        created = engine.create_container(
            image, ["busybox", "sleep", "120"], user=typed.user, host_config=host, network_disabled=True
        )["Id"]
        engine.start(created)
        yield created
    except APIError as error:
        if re.search(REFUSED, str(error)) is None:
            raise
        yield None
    finally:
        if created:
            engine.remove_container(created, force=True)


def run(engine: docker.APIClient, container: str, argv: list[str], user: str = "") -> str:
    """What it says. It waits for us to listen: Podman loses, now and then, what was said before."""
    waiting = ["sh", "-c", 'read -r _ && exec "$@"', "sh", *argv]
    # A gdb that is typed writes its modules, compiled, into the target: no test is to count that as ours.
    plain = {"PYTHONDONTWRITEBYTECODE": "1"}
    made = str(engine.exec_create(container, waiting, user=user, stdin=True, environment=plain)["Id"])
    frames, output = Frames(), b""
    with contextlib.closing(Stream(engine.exec_start(made, socket=True))) as stream:
        stream.send_all(b"\n")
        while stream.wait(30) and (data := stream.receive()) != b"":
            output += b"".join(part for _, part in frames.feed(data or b""))
    return output.decode(errors="replace")


def judged(line: str, tool: Tool, facts: Facts) -> Option:
    parsed = dockerline.parse(shlex.split(line))
    mode = tool.mode(dockerline.mode_of(parsed.argv, tool.modes, tool.default_mode))
    return judge_attempt.judged(parsed.attempt, tool, mode, facts)


BLIND = "whether PID 1 is dumpable can't be read"


def undoubted(facts: Facts) -> Facts:
    """With the one fact that can't be seen from outside of the target's user namespace: it is dumpable."""
    assert facts.process.dumpable is None
    return dataclasses.replace(facts, process=dataclasses.replace(facts.process, dumpable=True))


@pytest.mark.parametrize("name", TYPED_AT)
def test_the_verdict_on_a_typed_line_is_what_then_happens(
    name: str, connection: Engine, engine: docker.APIClient, target: Callable[[str], str], toolbox: str
) -> None:
    container, counts, wrong = target(name), Counter[str](), []
    data = {work.tool: catalog.load(work.tool) for work in WORK}
    facts = {tool: observe(connection, container, each) for tool, each in data.items()}
    if name == "root" and mapped(engine, container):
        facts = {tool: undoubted(each) for tool, each in facts.items()}
    for flags in FLAGS:
        start = f"{client_of(engine)} run --rm -i --pid container:{container} {flags} {toolbox}"
        typed = dockerline.parse(shlex.split(f"{start} true")).attempt
        with sidecar(engine, typed, toolbox) as place:
            for work in WORK:
                said = judged(f"{start} {work.argv}", data[work.tool], facts[work.tool])
                output = run(engine, place, work.command()) if place else ""
                worked = work.done(output)
                counts[said.verdict.value] += 1
                if said.verdict is not (Verdict.OPEN if worked else Verdict.CLOSED):
                    wrong.append((flags, work.tool, said.verdict, [g.fact for g in said.closed_gates], output[-300:]))
    print(f"{name}: {dict(counts)}, {len(wrong)} wrong")
    assert wrong == []


@pytest.mark.parametrize("name", ["owngdb", "owngdb1000"])
@pytest.mark.parametrize("user", ["", "--user 0", "--user 1000:1000"])
def test_the_verdict_on_an_exec_is_what_then_happens(
    name: str, user: str, debugrun: Callable[..., Completed], engine: docker.APIClient, target: Callable[[str], str]
) -> None:
    container, work = target(name), WORK[0]
    line = shlex.split(f"docker exec {user} {container} {work.argv}")
    said = debugrun("judge", "--json", "--", *line)
    worked = work.done(run(engine, container, work.command(), user.removeprefix("--user ")))
    option = json.loads(said.stdout)["options"][0]
    open_ = 0
    if name == "owngdb" and mapped(engine, container):  # it is dumpable, and that can't be seen from out here
        assert [gate["fact"] for gate in option["gates"] if gate["verdict"] == "unknown"] == [BLIND]
        open_ = 125
    assert said.returncode == (open_ if worked else 126), said.stdout
    assert option["placement"] == "here"


@pytest.mark.parametrize("name", TARGETS)
def test_what_stops_people_is_named_and_the_fix_works(
    name: str, debugrun: Callable[..., Completed], target: Callable[[str], str]
) -> None:
    found = debugrun("why", "gdb", target(name), "--json", status=0)
    why: Mapping[str, object] = json.loads(found.stdout)
    text = debugrun("why", "gdb", target(name), status=0).stdout
    assert "Yama" in text or "yama" in text  # acquitted by name, or to blame
    if why["refusals"]:
        fixed = debugrun("gdb", target(name), "--", "-batch", "-ex", "bt", status=0)
        assert "#0 " in fixed.stdout
        assert "  debugrun gdb " in text


def test_an_error_of_the_engine_itself_is_explained(
    debugrun: Callable[..., Completed], engine: docker.APIClient, target: Callable[[str], str]
) -> None:
    with pytest.raises(APIError) as caught:
        engine.create_container("debugrun-toolbox:latest", host_config=engine.create_host_config(cap_add=["NONSENSE"]))
    told = debugrun("why", "gdb", target("root"), "--from-error", str(caught.value))
    assert "stopped by engine: there is no capability NONSENSE" in told.stdout


def test_the_reference_and_the_page_about_this_engine(
    debugrun: Callable[..., Completed], engine: docker.APIClient
) -> None:
    version = engine.version()["Version"]
    assert version in debugrun("syscalls", "ptrace", status=0).stdout
    page = json.loads(debugrun("doctor", "--json").stdout)
    said = {each["name"]: each for each in page["checks"]}
    assert version in said["engine"]["value"]
    assert page["tools"]["gdb"]["root"]["grant"] is not None
    assert {"works", "tools", "checks", "schema"} == set(page)


@pytest.fixture
def for_u1000(engine: docker.APIClient, targets: Mapping[str, str]) -> Iterator[str]:
    """An image with gdb that runs as uid 1000 by itself."""
    assert targets  # the images are there
    name = f"debugrun-test/user-{os.urandom(4).hex()}"
    made = engine.create_container("debugrun-test/full:latest")
    engine.commit(made, repository=name, changes=["USER 1000:1000"])
    engine.remove_container(made)
    yield name
    engine.remove_image(name)


def test_a_line_runs_as_its_image_says_and_what_that_holds(
    engine: docker.APIClient, target: Callable[[str], str], debugrun: Callable[..., Completed], for_u1000: str
) -> None:
    """Both ways: the same line is open on one target and closed on the other, and so it is when it is run."""
    for name, status in (("u1000", 0), ("root", 126)):
        words = ["gdb", "-p", "1", "-batch", "-ex", "bt"]
        line = ["docker", "run", "--pid", f"container:{target(name)}", for_u1000, *words]
        said = debugrun("judge", "--", *line, status=status)
        assert "as 1000:1000" in said.stdout
        host = engine.create_host_config(pid_mode=f"container:{target(name)}", network_mode="none")
        made = engine.create_container(for_u1000, words, host_config=host)
        try:
            engine.start(made)
            engine.wait(made, timeout=60)
            seen = engine.logs(made)
        finally:
            engine.remove_container(made, force=True)
        assert (b"(process 1) detached" in seen) is (status == 0), seen


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("run --pid container:{t} debugrun-test/app gdb -p 1", 126, "holds no gdb: the line ends with status 127"),
        ("run --pid container:{t} debugrun-test/full:latest sh -c 'py-spy dump --pid 1'", 126, "holds no py-spy"),
        ("run --pid container:{t} --entrypoint gdb -u nosuch debugrun-test/full:latest -p 1", 126, "no user 'nosuch'"),
        ("run --pid container:{t} -u 1000:1000 debugrun-test/absent:1 gdb -p 1", 125, "does not have debugrun-test"),
        ("exec -u nosuch {own} gdb -p 1", 126, "has no user 'nosuch'"),
        ("exec -u 1000 {t} gdb -p 1", 126, "holds no gdb: the line ends with status 126 or 127"),
        ("exec --cap-add SYS_PTRACE {own} gdb -p 1", 2, "docker exec has no --cap-add"),
        ("exec --security-opt=seccomp=unconfined {own} gdb -p 1", 2, "docker exec has no --security-opt"),
    ],
)  # fmt: skip
def test_what_a_line_asks_for_and_is_not_there_is_said(
    line: str, status: int, says: str, target: Callable[[str], str], debugrun: Callable[..., Completed]
) -> None:
    words = shlex.split(line.format(t=target("u1000"), own=target("owngdb")))
    said = debugrun("judge", "--", "docker", *words, status=status)
    assert says in said.stdout + said.stderr


def test_no_flag_of_run_is_dropped_for_an_exec(
    target: Callable[[str], str], debugrun: Callable[..., Completed]
) -> None:
    said = debugrun(
        "judge", "gdb", target("owngdb"), "--placement", "here", "--cap-add", "SYS_PTRACE", status=2
    )  # fmt: skip
    assert "docker exec has no --cap-add" in said.stderr
