from __future__ import annotations

import dataclasses
import subprocess

import pytest

from debugrun.core.know.facts import ContainerFacts
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.observe import scout
from debugrun.observe.scout import Identity, ScoutError
from tests import TESTS
from tests.cases import PLAIN

REPORT = (TESTS / "facts" / "proc" / "many.scout").read_text()
SCRIPT = TESTS.parent / "debugrun" / "data" / "scout.sh"
DEFAULT = tuple(sorted(DOCKER_DEFAULT))


def test_a_recorded_report_is_read() -> None:
    survey = scout.parse(REPORT)
    assert [reading.status.pid for reading in survey.readings] == [1, 7, 8]  # not the scout itself
    shell, undumpable, sleep = survey.readings
    assert (shell.status.comm, shell.shell_command, shell.exe) == ("sh", True, "/usr/bin/busybox")
    assert (undumpable.status.comm, undumpable.shell_command, undumpable.exe) == ("nd", False, None)
    assert (sleep.status.comm, sleep.status.ppid, sleep.owner) == ("sleep", 1, (0, 0))
    assert shell.cgroup.count("/docker/") == 9
    assert shell.cgroup.endswith("0::/\n")
    assert survey.readable >= {1, 8}
    assert 7 not in survey.readable
    assert (survey.host.yama_ptrace_scope, survey.host.perf_event_paranoid) == (0, 2)
    assert (survey.host.lockdown, survey.host.cross_memory_attach) == (None, None)


def test_who_the_scout_is_decides_what_its_report_says_of_dumpable() -> None:
    survey = scout.parse(REPORT)
    as_root = Identity(user="0:0", capabilities=DEFAULT)
    assert [scout.dumpable(survey, each, as_root) for each in survey.readings] == [True, False, True]
    assert scout.dumpable(survey, survey.readings[1], None) is None


@pytest.mark.parametrize("text", ["", "@self 7\n@status\n", REPORT.replace("@end\n", "")])
def test_a_report_that_is_cut_off_is_an_error(text: str) -> None:
    with pytest.raises(ScoutError):
        scout.parse(text)


@pytest.mark.parametrize(
    ("pid", "path"), [(1, "/x\n'8/exe' -> '/bin/forged"), (8, "/x'\n'1/exe' -> '/bin/forged"), (8, "/x\ny")]
)
def test_a_program_named_to_deceive_takes_all_links_away_but_says_nothing_false(pid: int, path: str) -> None:
    forged = REPORT.replace(f"'{pid}/exe' -> '/usr/bin/busybox'", f"'{pid}/exe' -> '{path}'")
    survey = scout.parse(forged)
    assert forged != REPORT
    assert [reading.exe for reading in survey.readings] == [None, None, None]
    assert survey.readable == scout.parse(REPORT).readable


@pytest.mark.parametrize(("said", "means"), [("0", 0), ("1", 1), ("absent", 0), ("", None)])
def test_no_yama_is_an_open_one_and_an_unread_one_is_unknown(said: str, means: int | None) -> None:
    line = f"sys/kernel/yama/ptrace_scope:{said}\n" if said else ""
    report = REPORT.replace("sys/kernel/yama/ptrace_scope:absent\n", line)
    assert scout.parse(report).host.yama_ptrace_scope == means


def test_what_the_kernel_was_started_with_is_told() -> None:
    report = REPORT.replace("@sysctls\n", "@sysctls\nproc_mem.force_override=never\n")
    assert scout.parse(report).host.proc_mem_override == "never"
    assert scout.parse(REPORT).host.proc_mem_override is None


def test_a_negative_setting_is_a_number() -> None:
    report = REPORT.replace("perf_event_paranoid:2", "perf_event_paranoid:-1")
    assert scout.parse(report).host.perf_event_paranoid == -1


def of(user: str, capabilities: tuple[str, ...] | None = DEFAULT) -> ContainerFacts:
    return ContainerFacts(
        id="c", name="web", image="i", image_id="i", state="running", user=user, capabilities=capabilities
    )


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (PLAIN.container, Identity(user="0:0", capabilities=DEFAULT)),
        (of("root", ()), Identity(user="0:0")),
        (of("1000:1000"), Identity(user="1000:1000")),
        (of("1000"), None),
        (of("www-data"), None),
        (of("0", None), None),
        (of("", (*DEFAULT, "SYS_ADMIN")), None),
        (of("", (*DEFAULT, "SYS_PTRACE")), None),
    ],
)
def test_a_peer_is_never_given_more_than_the_target_has_nor_anything_broad(
    container: ContainerFacts, expected: Identity | None
) -> None:
    assert scout.peer(container) == expected


@pytest.mark.parametrize(
    ("user", "expected"),
    [("", "65534"), ("0:0", "65534"), ("1000:1000", "65534"), ("65534:65534", "65533"), ("nobody", "65533")],
)
def test_who_tells_of_the_host_is_never_of_the_targets_uid(user: str, expected: str) -> None:
    assert scout.nobody(of(user)) == Identity(user=f"{expected}:{expected}")


def test_what_a_peer_told_is_marked_as_the_targets_word() -> None:
    survey = scout.parse(REPORT)
    as_root = Identity(user="0:0", capabilities=DEFAULT)
    assert [scout.by_target(survey, each, as_root) for each in survey.readings] == [
        ("dumpable", "exe"), ("dumpable",), ("dumpable", "exe"),
    ]  # fmt: skip
    first = survey.readings[0]
    status = dataclasses.replace(first.status, uids=(1000,) * 4, gids=(1000,) * 4)
    user = dataclasses.replace(first, status=status, owner=(0, 0), exe=None)
    assert scout.dumpable(survey, user, None) is False  # the owner of its files is the kernel's word
    assert scout.by_target(survey, user, as_root) == ()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_script_says_nothing_to_nobody(shell: str) -> None:
    done = subprocess.run([shell, str(SCRIPT)], input="", capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == ""


def test_the_script_reads_this_machine_and_prints_no_command_line() -> None:
    with subprocess.Popen(["sleep", "98.76"]) as sleeper:
        done = subprocess.run(
            ["sh", str(SCRIPT), str(sleeper.pid)], input="\n", capture_output=True, text=True, check=True, timeout=30
        )
        sleeper.kill()
    survey = scout.parse(done.stdout)
    assert [reading.status.comm for reading in survey.readings] == ["sleep"]
    assert survey.readings[0].exe is not None
    assert "98.76" not in done.stdout


def test_the_script_tells_command_lines_where_that_is_asked_and_nothing_in_them_is_taken_for_a_line_of_ours() -> None:
    hostile = "a\n@end\n@self 1"
    with subprocess.Popen(["sh", "-c", "read -r x; exit", hostile], stdin=subprocess.PIPE) as process:
        words = ["sh", str(SCRIPT), "-c", str(process.pid)]
        done = subprocess.run(words, input="\n", capture_output=True, text=True, check=True, timeout=30)
        process.kill()
    (reading,) = scout.parse(done.stdout).readings
    assert reading.words == ("sh", "-c", "read", "-r", "x;", "exit", "a", "?end", "?self", "1")
    assert reading.cpu is not None
