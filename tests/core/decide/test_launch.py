"""Starting programs under a tool: golden decisions, and what becomes of the program's own words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.ask.request import ceiling
from debugrun.core.decide import launch
from debugrun.core.decide.launch import MOUNT, Program, Source
from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.say import launch_report
from debugrun.errors import EngineError, ToolError
from debugrun.toolbox import catalog
from tests import TESTS, cases
from tests.cases import NOBODYS_FOLDER

GOLDEN = sorted((TESTS / "launches").glob("*/*.toml"))
FIRST = TESTS.parent / "debugrun/data/run/first.py"
VOLUME = Source(in_image=False, volume="tools", architecture="x86_64")
LAUNCHED = [name for name in catalog.names() if catalog.load(name, NOBODYS_FOLDER).launches]


def base_of(facts: Facts) -> Option:
    uid, gid = facts.process.uids[1], facts.process.gids[1]
    held = facts.container.capabilities or ()
    return Option(
        placement=Placement.RUN,
        grant=Grant.NONE,
        user=f"{uid}:{gid}",
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_add=held,
        no_new_privileges=False,
        image="web:1",
    )


def outcome(case: Mapping[str, object]) -> dict[str, object]:
    tool = catalog.load(str(case["tool"]), NOBODYS_FOLDER)
    changes = case.get("facts", {})
    assert isinstance(changes, dict)
    facts = cases.vary(cases.PLAIN, changes)
    base = base_of(facts)
    way = tool.launch(str(case["mode"]) if "mode" in case else None)
    limit = ceiling(str(case.get("max_grant", "seccomp")), None)
    decision = launch.decide(tool, launch.wanted(way, aslr=case.get("aslr") is not False), facts, limit, base)
    chosen = decision.option
    return {
        "chosen": f"{chosen.grant.value}: {launch_report.what(chosen, base)}" if chosen else "nothing",
        "args": list(chosen.tool_args) if chosen else [],
        "lost": list(chosen.lost) if chosen else [],
        "rejected": [
            f"{launch_report.what(option, base)}: "
            + "; ".join(dict.fromkeys(gate.fact for gate in option.closed_gates))
            for option in decision.narrower()
        ],
    }


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_decision(path: Path) -> None:
    case = cases.read(path)
    found = outcome(case)
    assert found == case.get("expect"), f"paste into {path.name} if it is right:\n\n{cases.as_toml(found)}"


def started(
    name: str, program: Program, source: Source = VOLUME, *, aslr: bool = True, terminal: bool = False
) -> launch.Under:
    tool = catalog.load(name, NOBODYS_FOLDER)
    return launch.under(tool, tool.launch(None), program, source, aslr=aslr, terminal=terminal)


def groups(under: launch.Under) -> list[list[str]]:
    """The groups of words that data/run/first.py is given."""
    words, found = list(under.command), []
    words = words[words.index("-c") + 3 :]
    while words:
        size = int(words[0])
        found.append(words[1 : size + 1])
        words = words[size + 1 :]
    return found


@given(argv=st.lists(st.text(max_size=12), min_size=1, max_size=6), name=st.sampled_from(LAUNCHED), aslr=st.booleans())
def test_the_program_keeps_every_word(argv: list[str], name: str, aslr: bool) -> None:  # noqa: FBT001 - hypothesis
    environment, argv_of_tool, *_ = groups(started(name, Program(argv=tuple(argv)), aslr=aslr))
    assert argv_of_tool[-len(argv) :] == argv
    assert all("=" in each for each in environment)


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_tool_of_the_toolbox_asks_nothing_of_the_image(name: str) -> None:
    under = started(name, Program(argv=("/app",)))
    assert under.entrypoint == (f"{MOUNT}/lib64/ld-linux-x86-64.so.2",)
    for words in groups(under)[1:]:
        assert words[0].startswith(MOUNT)
        assert words[words.index("--argv0") + 2].startswith(f"{MOUNT}/bin/")
    volume = under.mounts[0]
    assert (volume["Type"], volume["Target"], volume["ReadOnly"]) == ("volume", MOUNT, True)
    assert volume["VolumeOptions"] == {"NoCopy": True}


def test_a_tool_of_the_image_is_left_at_home() -> None:
    source = Source(in_image=True, volume=None, architecture="riscv64")
    under = started("gdb", Program(argv=("/app", "a b")), source)
    assert under.entrypoint == ("gdb",)
    assert under.command[-3:] == ("--args", "/app", "a b")
    assert under.mounts == ()


def test_where_no_image_holds_the_tool() -> None:
    with pytest.raises(ToolError, match="the image holds no strace, and there is no toolbox"):
        started("strace", Program(argv=("/app",)), Source(in_image=False, volume=None, architecture="x86_64"))
    with pytest.raises(EngineError, match="not made for riscv64"):
        started("strace", Program(argv=("/app",)), Source(in_image=False, volume="v", architecture="riscv64"))
    no_toolbox = Source(in_image=True, volume=None, architecture="x86_64")
    with pytest.raises(ToolError, match="strace itself can't turn address space randomisation off"):
        started("strace", Program(argv=("/app",)), no_toolbox, aslr=False)


def test_a_debugger_gets_the_interpreter_of_a_script_and_a_tracer_the_script() -> None:
    program = Program(argv=("entry.sh", "nginx"), interpreter=("/bin/sh", "-e", "/usr/bin/entry.sh"))
    assert groups(started("gdb", program))[1][-4:] == ["/bin/sh", "-e", "/usr/bin/entry.sh", "nginx"]
    assert groups(started("strace", program))[1][-2:] == ["entry.sh", "nginx"]


def test_variables_of_the_tool_are_kept_from_the_program_and_its_own_are_left() -> None:
    environment, argv, *_ = groups(started("gdb", Program(argv=("/app",))))
    assert [each.partition("=")[0] for each in environment] == ["SHELL", "GCONV_PATH"]
    assert {"unset environment SHELL", "unset environment GCONV_PATH"} <= set(argv)
    environment, argv, *_ = groups(started("gdb", Program(argv=("/app",), variables=frozenset({"SHELL"}))))
    assert [each.partition("=")[0] for each in environment] == ["GCONV_PATH"]
    assert "unset environment SHELL" not in argv


def test_address_space_randomisation_is_the_tools_own_switch_or_inherited() -> None:
    program = Program(argv=("/app",))
    assert "set disable-randomization off" in groups(started("gdb", program))[1]
    assert "set disable-randomization on" in groups(started("gdb", program, aslr=False))[1]
    assert launch.FIXED_ADDRESSES not in groups(started("strace", program))[1]
    assert launch.FIXED_ADDRESSES in groups(started("strace", program, aslr=False))[1]


def test_a_terminal_gets_the_prompt_and_a_script_the_run() -> None:
    program = Program(argv=("/app",))
    assert "run" not in groups(started("gdb", program, terminal=True))[1]
    assert "run" in groups(started("gdb", program))[1]


def test_files_of_a_tool_go_to_a_scratch_folder_of_its_own() -> None:
    under = started("perf", Program(argv=("/app", "{scratch}")))
    _, record, report = groups(under)
    assert f"{launch.SCRATCH}/perf.data" in record
    assert f"{launch.SCRATCH}/perf.data" in report
    assert record[-1] == "{scratch}"  # the program's own word
    assert [each["Target"] for each in under.mounts] == [MOUNT, launch.SCRATCH]


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 7", 7),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
        ("[ \"$A\" = 'b c' ]", 0),
        ("nothing-of-that-name", 127),
    ],
)
def test_the_first_process_ends_as_the_tool_does(script: str, status: int) -> None:
    words = ["1", "1", "A=b c", "3", "sh", "-c", script]
    assert subprocess.run([sys.executable, FIRST, *words], check=False).returncode == status


def test_the_first_process_runs_what_follows_and_keeps_the_first_status() -> None:
    words = ["1", "0", "3", "sh", "-c", "echo one; exit 3", "2", "echo", "two"]
    done = subprocess.run([sys.executable, FIRST, *words], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "one\ntwo\n")


def test_a_command_that_cannot_be_started_is_said_as_docker_says_it() -> None:
    done = subprocess.run(
        [sys.executable, FIRST, "1", "0", "1", "/nowhere"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (127, "debugrun: /nowhere: No such file or directory\n")
    done = subprocess.run([sys.executable, FIRST, "1", "0", "1", "/etc"], check=False, capture_output=True, text=True)
    assert done.returncode == 126
