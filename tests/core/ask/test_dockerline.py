"""Pasted docker lines: read as docker reads them, and judged as the planner judges its own options."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from debugrun.core.ask import dockerline
from debugrun.core.ask.attempt import Attempt
from debugrun.core.decide import judge_attempt
from debugrun.core.decide.plan import Plan
from debugrun.core.decide.widen_profile import profile_json
from debugrun.core.grants import Option, Placement, Verdict
from debugrun.core.know.inspection import PODMAN_DEFAULT
from debugrun.errors import UsageError
from debugrun.toolbox import catalog
from tests import TESTS, cases

GOLDEN = sorted((TESTS / "plans").glob("*/*.toml"))
UID_1000 = {"uids": [1000] * 4, "gids": [1000] * 4, "permitted": [], "effective": []}


def parse(line: str) -> dockerline.Line:
    return dockerline.parse(shlex.split(line))


def judged(line: str, tool: str = "gdb", /, **facts: Mapping[str, object]) -> Option:
    decision = cases.decide({"tool": tool, "facts": facts})
    return judge_attempt.judged(parse(line).attempt, decision.tool, decision.mode, decision.facts)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("docker run --pid container:web i gdb -p 1", Attempt(placement=Placement.SIDECAR)),
        ("docker run --pid=container:web --rm -it i gdb -p 1", Attempt(placement=Placement.SIDECAR)),
        ("docker run -itu 1000 --pid container:web i gdb -p 1", Attempt(placement=Placement.SIDECAR, user="1000")),
        ("docker run -u=1000:2 --pid container:web i gdb -p 1", Attempt(placement=Placement.SIDECAR, user="1000:2")),
        (
            (
                "sudo docker -H far container run --cap-add=CAP_SYS_PTRACE --cap-add sys_admin,bpf --cap-drop all "
                "-v /a:/b -eA=b -m1g --pid container:web i gdb -p 1"
            ),
            Attempt(
                placement=Placement.SIDECAR, cap_add=("SYS_PTRACE", "SYS_ADMIN", "BPF"), cap_drop=("ALL",)
            ),
        ),
        (
            (
                "docker run --security-opt seccomp:unconfined --security-opt apparmor=unconfined "
                "--security-opt no-new-privileges:true --pid container:web i gdb -p 1"
            ),
            Attempt(
                placement=Placement.SIDECAR, seccomp="unconfined", apparmor="unconfined", no_new_privileges=True
            ),
        ),
        (
            "docker run --security-opt seccomp=p.json --privileged=false --pid container:web i gdb -p 1",
            Attempt(placement=Placement.SIDECAR, seccomp="custom", profile_file="p.json"),
        ),
        (
            "podman run --privileged --net host --pid container:web i gdb -p 1",
            Attempt(placement=Placement.SIDECAR, privileged=True, network="host"),
        ),
        (
            "docker run --cap-add KILL,BPF --cap-drop KILL,MKNOD --pid container:web i gdb -p 1",
            Attempt(placement=Placement.SIDECAR, cap_add=("KILL", "BPF"), cap_drop=("MKNOD",)),
        ),
        (
            "docker run --cap-add ALL,KILL --cap-drop KILL,ALL --pid container:web i gdb -p 1",
            Attempt(placement=Placement.SIDECAR, cap_add=("ALL", "KILL"), cap_drop=("KILL",)),
        ),
        (
            "podman run --cap-add KILL --cap-drop KILL --pid container:web i gdb -p 1",
            Attempt(placement=Placement.SIDECAR, cap_add=("KILL",), cap_drop=("KILL",)),
        ),
        (
            "docker run --entrypoint gdb --some-option=of-the-future --pid container:web i -p 1",
            Attempt(placement=Placement.SIDECAR, entrypoint="gdb"),
        ),
    ],
)  # fmt: skip
def test_what_a_run_line_says(line: str, expected: Attempt) -> None:
    found = parse(line)
    wanted = dataclasses.replace(expected, image="i", pid_mode="container:web", argv=("gdb", "-p", "1"))
    assert found.attempt == wanted
    assert found.container == "web"


def test_what_an_exec_line_says() -> None:
    found = parse("docker exec -it -u 0 -e TOKEN=secret --privileged -w / web sh -c 'gdb -p 7'")
    assert found.container == "web"
    assert found.attempt.placement is Placement.HERE
    assert (found.attempt.user, found.attempt.privileged) == ("0", True)
    assert found.argv == ("gdb", "-p", "7")
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ls -l", "is not a docker command"),
        ("docker ps", "only `docker run` and `docker exec`"),
        ("docker run --pid", "--pid needs a value"),
        ("docker run --rm -it", "names no image"),
        ("docker run --magic i gdb", "--magic is not an option"),
    ],
)
def test_a_wrong_line_is_named(line: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse(line)


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_the_table_has_every_option_of_the_docker_at_hand(verb: str) -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker command line tool here: apt-get install docker-cli (or docker.io) would run it")
    text = subprocess.run(["docker", verb, "--help"], capture_output=True, text=True, check=True).stdout
    for short, name, kind in re.findall(r"(?m)^ +(?:(-\w), )?(--[a-z0-9-]+)( \S+)?", text):
        table = dockerline.known_options("values" if kind.strip() else "switches")
        assert name in table
        assert not short or short in table


@pytest.mark.parametrize(
    ("argv", "tool", "mode", "pid"),
    [
        ("gdb -p 7", "gdb", "attach", 7),
        ("gdb --pid=7", "gdb", "attach", None),
        ("gdb -p7 -batch", "gdb", "attach", 7),
        ("perf record -g -p 12 -F 99", "perf", "record", 12),
        ("perf stat -p 3", "perf", "stat", 3),
        ("py-spy top --pid 9", "py-spy", "top", 9),
        ("gdbserver --attach :2345 11", "gdbserver", "attach", 11),
        ("tcpdump -i any", "tcpdump", "capture", None),
    ],
)
def test_mode_and_pid_by_the_words(argv: str, tool: str, mode: str, pid: int | None) -> None:
    words, data = argv.split(), catalog.load(tool, cases.NOBODYS_FOLDER)
    found = dockerline.mode_of(words, data.modes, data.default_mode)
    assert found == mode
    if pid is not None:
        assert dockerline.pid_of(words, data.mode(found)) == pid


def options(path: Path) -> list[tuple[Plan, Option]]:
    decision = cases.decide(cases.read(path))
    return [(decision, option) for option in decision.options]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_line_of_every_option_of_a_plan_is_judged_as_the_planner_did(path: Path) -> None:
    for decision, option in options(path):
        line = parse(option.command.rpartition(" && ")[2])
        typed = line.attempt
        if typed.profile_file:
            typed = dataclasses.replace(typed, profile=profile_json(option, decision.facts))
        if option.image is None and option.placement is Placement.SIDECAR:
            continue  # its line names no image
        found = judge_attempt.judged(typed, decision.tool, decision.mode, decision.facts)
        assert found.verdict is option.verdict, (option.command, found.closed_gates)
        assert dockerline.mode_of(line.argv, [decision.mode], "") == decision.mode.name


# Each seen on a real engine: target uid 1000, gdb's backtrace.
@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        ("", Verdict.CLOSED),
        ("--user 1000", Verdict.CLOSED),  # the group is root's then
        ("--user 1000:1000", Verdict.OPEN),
        ("--user 1000:1000 --cap-drop ALL", Verdict.OPEN),
        ("--cap-drop ALL --cap-add SYS_PTRACE", Verdict.CLOSED),  # no memory
        ("--cap-drop SYS_PTRACE --cap-add SYS_PTRACE", Verdict.OPEN),
        ("--cap-add SYS_PTRACE --user 1000:1000", Verdict.OPEN),
        ("--cap-drop ALL --cap-add SYS_PTRACE,DAC_READ_SEARCH,KILL", Verdict.CLOSED),
        ("--cap-drop ALL --cap-add SYS_PTRACE,DAC_OVERRIDE,KILL", Verdict.OPEN),
        ("--security-opt seccomp=unconfined", Verdict.CLOSED),
        ("--privileged", Verdict.OPEN),
    ],
)
def test_lines_for_a_target_of_uid_1000(flags: str, verdict: Verdict) -> None:
    line = f"docker run --pid container:web {flags} i gdb -p 1"
    assert judged(line, process=UID_1000).verdict is verdict


# Each tried on Podman 4.3 and 5.8.
@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ("--cap-drop SYS_PTRACE --cap-add SYS_PTRACE", "SYS_PTRACE"),
        ("--cap-drop ALL --cap-add ALL", "ALL"),
        ("--cap-drop ALL,SYS_PTRACE --cap-add SYS_PTRACE", None),
        ("--cap-drop NET_RAW --cap-add ALL,NET_RAW", None),
        ("--privileged --cap-drop SYS_PTRACE --cap-add SYS_PTRACE", None),
    ],
)
def test_podman_refuses_to_give_what_is_dropped(flags: str, refused: str | None) -> None:
    line = f"podman run --pid container:web {flags} i gdb -p 1"
    engine = {"name": "podman", "version": "5.8.6", "default_runtime": "crun"}
    facts = [gate.fact for gate in judged(line, engine=engine).closed_gates if "drops it too" in gate.fact]
    assert facts == ([f"Podman gives no container that adds {refused} and drops it too"] if refused else [])
    by_docker = judged(line.replace("podman", "docker"), engine=engine)
    assert not any("drops it too" in gate.fact for gate in by_docker.closed_gates)


def test_a_line_that_does_not_join_the_target_is_closed_by_that() -> None:
    gates = judged("docker run --cap-add SYS_PTRACE i gdb -p 1").closed_gates
    assert [gate.fact for gate in gates] == [
        "without --pid container:web it has a PID namespace of its own: PID 1 there is the tool itself"
    ]
    gates = judged("docker run --pid container:web i tcpdump", "tcpdump").closed_gates
    assert [gate.fact for gate in gates] == [
        "without --network container:web it sees the packets of a network of its own"
    ]


def test_a_network_of_its_own_only_costs_lsof_the_names_of_sockets() -> None:
    own = judged("docker run --pid container:web i lsof -p 1", "lsof")
    assert own.verdict is Verdict.OPEN
    assert own.lost == ("its network is not that of web: sockets stay without a name",)
    assert judged("docker run --pid container:web --network container:web i lsof -p 1", "lsof").lost == ()


def test_a_profile_of_ones_own_decides() -> None:
    closed = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}'
    line = f"docker run --pid container:web --security-opt seccomp='{closed}' i gdb -p 1"
    assert [gate.fact for gate in judged(line).closed_gates] == ["the given profile blocks ptrace"]
    assert judged(line.replace("ptrace", "perf_event_open")).verdict is Verdict.OPEN
    broken = judged("docker run --pid container:web --security-opt seccomp='{]' i gdb -p 1")
    assert broken.verdict is Verdict.CLOSED


@pytest.mark.parametrize(
    ("version", "verdict"), [("26.1.5", Verdict.OPEN), ("27.0.1", Verdict.CLOSED), ("28.5.2", Verdict.CLOSED)]
)
def test_a_privileged_container_keeps_a_named_profile_from_27_on(version: str, verdict: Verdict) -> None:
    closed = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}'
    line = f"docker run --privileged --pid container:web --security-opt seccomp='{closed}' i gdb -p 1"
    assert judged(line, engine={"version": version}).verdict is verdict


def test_a_user_by_name_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="'app'"):
        judged("docker run --user app --pid container:web i gdb -p 1")
    assert judged("docker run --user root --pid container:web i gdb -p 1").user == "0:0"


def test_an_exec_has_the_users_the_container_knows() -> None:
    container = {"user": "app", "tools": [["gdb", "/usr/bin/gdb"]]}
    facts: dict[str, Mapping[str, object]] = {"process": UID_1000, "container": container}
    assert judged("docker exec web gdb -p 1", **facts).verdict is Verdict.OPEN
    assert judged("docker exec -u app web gdb -p 1", **facts).user == "1000:1000"
    assert judged("docker exec -u 1000 web gdb -p 1", **facts).user == "1000:1000"
    assert judged("docker exec -u 0 web gdb -p 1", **facts).verdict is Verdict.CLOSED
    nothing = judged("docker exec web gdb -p 1", process=UID_1000)
    assert [gate.fact for gate in nothing.closed_gates][:1] == ["web holds no gdb"]


@pytest.mark.parametrize(
    ("engine", "add", "drop", "expected"),
    [
        ({}, (), (), cases.DOCKER_DEFAULT),
        ({}, ("SYS_PTRACE",), ("ALL",), ("SYS_PTRACE",)),
        ({}, ("KILL",), ("KILL", "MKNOD"), tuple(n for n in cases.DOCKER_DEFAULT if n != "MKNOD")),
        ({"name": "podman"}, (), ("CHOWN",), tuple(sorted(PODMAN_DEFAULT - {"CHOWN"}))),
        ({"capabilities": ["KILL", "SYS_PTRACE", "BPF"]}, ("ALL",), ("KILL",), ("BPF", "SYS_PTRACE")),
    ],
)  # fmt: skip
def test_the_capabilities_of_a_new_container(
    engine: dict[str, object], add: tuple[str, ...], drop: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    about = cases.vary(cases.PLAIN, {"engine": engine}).engine
    typed = Attempt(placement=Placement.SIDECAR, cap_add=add, cap_drop=drop)
    assert judge_attempt.capabilities(typed, about) == expected


@pytest.mark.parametrize(
    ("added", "verdict", "says"),
    [
        ({"typed": ("gdb", "-p", "1"), "argv": ("/entry.sh", "gdb", "-p", "1")}, Verdict.UNKNOWN, "starts /entry.sh"),
        ({"typed": ("gdb", "-p", "1"), "argv": ("/usr/bin/tini", "--", "gdb", "-p", "1")}, Verdict.OPEN, ""),
        ({"typed": ("-p", "1"), "argv": ("gdb", "-p", "1")}, Verdict.OPEN, ""),
        ({"no_image": True}, Verdict.UNKNOWN, "does not have i"),
        ({"missing": "gdb"}, Verdict.CLOSED, "i holds no gdb"),
        ({"runs_as": "1000:1000"}, Verdict.CLOSED, "uid:gid 1000:1000"),
    ],
)
def test_what_the_image_says_counts(added: Mapping[str, object], verdict: Verdict, says: str) -> None:
    decision = cases.decide({"tool": "gdb", "facts": {}})
    attempt = dataclasses.replace(parse("docker run --pid container:target i gdb -p 1").attempt, **added)  # type: ignore[arg-type]
    attempt = dataclasses.replace(attempt, pid_mode=f"container:{decision.facts.container.name}")
    option = judge_attempt.judged(attempt, decision.tool, decision.mode, decision.facts)
    assert option.verdict is verdict
    assert says in " ".join(gate.fact for gate in option.gates)


@pytest.mark.parametrize("flag", ["--userns keep-id", "--uidmap 0:1:1000"])
def test_ids_that_a_line_maps_are_not_taken_for_known(flag: str) -> None:
    line = f"podman run {flag} --pid container:web i gdb -p 1"
    assert judged(line, "gdb").verdict in {Verdict.UNKNOWN, Verdict.CLOSED}
    assert any(gate.verdict is Verdict.UNKNOWN for gate in judged(line).gates)


@pytest.mark.parametrize("flag", ["--cap-add X", "--net host", "-v /a:/a", "--pid=host", "--some-option=of-the-future"])
def test_an_exec_takes_no_option_of_run(flag: str) -> None:
    with pytest.raises(UsageError, match="docker exec has no --"):
        parse(f"docker exec {flag} web gdb -p 1")
