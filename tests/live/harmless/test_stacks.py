"""`debugrun stacks` on real containers: every frame by name, whatever the target is made of; nothing of it changes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import docker
import pytest

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]
SERVES = ["pause_100_ms", "work", "serve"]


def processes(debugrun: Callable[..., Completed], *args: str) -> list[dict[str, Any]]:
    done = debugrun("stacks", *args, "--json", status=0)
    found: list[dict[str, Any]] = json.loads(done.stdout)["processes"]
    assert all(each["error"] == "" and 0 < each["stood_still"] < 5 for each in found), done.stdout
    return found


def chains(process: dict[str, Any]) -> dict[str, list[str]]:
    """Functions of the target's own program by thread name, the newest first."""
    return {
        thread["name"]: [frame["function"] for frame in thread["frames"] if frame["file"]]
        for thread in process["threads"]
    }


@pytest.mark.parametrize(
    ("name", "main"),
    [
        ("root", "worker"),
        ("hard", "worker"),
        ("undump1000", "worker"),
        ("static", "worker"),
        ("buildid", "worker"),
        ("trap", "strace"),
        ("abslink2", "worker"),
    ],
)
def test_all_frames_by_name(  # noqa: PLR0913, PLR0917 - fixtures
    name: str,
    main: str,
    toolbox: str,
    target: Callable[[str], str],
    debugrun: Callable[..., Completed],
    assert_harmless: Callable[[str], None],
) -> None:
    assert toolbox
    (process,) = processes(debugrun, target(name))
    found = chains(process)
    assert sorted(found) == sorted(["alpha", "beta", main])
    for functions in found.values():
        named = [each for each in functions if each in SERVES]
        assert named in (SERVES, SERVES[1:]), found  # the innermost one may be of libc's file with symbols
    assert found[main][-1] == "main"
    assert_harmless(target(name))


def test_all_processes_of_several_users(
    toolbox: str,
    target: Callable[[str], str],
    debugrun: Callable[..., Completed],
    assert_harmless: Callable[[str], None],
) -> None:
    assert toolbox
    found = processes(debugrun, target("multiuid"))
    assert [each["name"] for each in found] == ["supervisor", "worker"]
    assert set(chains(found[1])) == {"alpha", "beta", "worker"}
    refused = debugrun("stacks", target("multiuid"), "--consistent", status=125)
    assert "different users" in refused.stderr
    assert_harmless(target("multiuid"))


def test_processes_that_stand_still_together_say_the_same_time(
    toolbox: str,
    target: Callable[[str], str],
    debugrun: Callable[..., Completed],
    assert_harmless: Callable[[str], None],
) -> None:
    assert toolbox
    found = processes(debugrun, target("many"), "--consistent")
    assert sorted(each["name"] for each in found) == ["cron", "queue", "supervisor", "web"]
    assert len({each["stood_still"] for each in found}) == 1
    assert_harmless(target("many"))


def test_python_frames_follow_the_native_ones(
    toolbox: str,
    target: Callable[[str], str],
    debugrun: Callable[..., Completed],
    assert_harmless: Callable[[str], None],
) -> None:
    assert toolbox
    page = debugrun("stacks", target("python"), "--full", status=0).stdout
    assert "work (" in page.replace("worker.py", ""), page
    assert page.index("nanosleep") < page.index("serve (")
    (process,) = processes(debugrun, target("python"))
    functions = {tuple(f["function"] for f in each["frames"] if f["module"] == "python") for each in process["threads"]}
    assert ("work", "serve", "main", "<module>") in functions
    assert any(each[:2] == ("work", "serve") and "main" not in each for each in functions)
    assert_harmless(target("python"))


def test_bt_shows_arguments_and_locals(
    toolbox: str,
    target: Callable[[str], str],
    debugrun: Callable[..., Completed],
    assert_harmless: Callable[[str], None],
) -> None:
    assert toolbox
    page = debugrun("bt", target("u1000"), status=0).stdout
    assert "name = 0x" in page
    assert "local step = " in page
    assert '"alpha"' in page
    assert_harmless(target("u1000"))


def test_lines_for_flame_graph_programs(
    toolbox: str, target: Callable[[str], str], debugrun: Callable[..., Completed], engine: docker.APIClient
) -> None:
    assert toolbox
    name = engine.inspect_container(target("u1000"))["Name"].removeprefix("/")
    lines = debugrun("stacks", target("u1000"), "1", "--folded", status=0).stdout.splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == 3
    assert all(line.startswith(f"{name} worker/1;") and ";serve;work;" in line for line in lines)


@pytest.mark.parametrize(
    ("args", "said"),
    [((), "which containers?"), (("u1000", "999"), "no PID 999"), (("u1000", "--max-grant", "none"), "")],
)
def test_what_cannot_be(
    args: tuple[str, ...], said: str, toolbox: str, target: Callable[[str], str], debugrun: Callable[..., Completed]
) -> None:
    assert toolbox
    words = [target(each) if each == "u1000" else each for each in args]
    done = debugrun("stacks", *words)
    assert said in done.stderr
    assert (done.returncode != 0) == bool(said), done.stderr
