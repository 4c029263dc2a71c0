"""A container that does not run: how it came to that, and the command that helps."""

from __future__ import annotations

from typing import Any

import pytest

from debugrun.core.know.kinds import LABEL_RECORD as LABEL
from debugrun.core.say.not_running import refusal

LIKE = "debugrun run --like web gdb"


def inspected(name: str = "web", memory: int = 0, labels: tuple[str, ...] = (), **state: object) -> dict[str, Any]:
    return {
        "Name": f"/{name}",
        "State": {"Pid": 0, "OOMKilled": False, "Error": "", **state},
        "HostConfig": {"Memory": memory},
        "Config": {"Labels": dict.fromkeys(labels, "{}")},
    }


@pytest.mark.parametrize(
    ("told", "says", "hint"),
    [
        (inspected(Status="exited", ExitCode=0), "it ended with exit status 0", "docker start web"),
        (inspected(Status="exited", ExitCode=143), "it ended of SIGTERM (exit status 143)", "docker start web"),
        (inspected(Status="exited", ExitCode=3), "it ended with exit status 3", LIKE),
        (inspected(Status="exited", ExitCode=139), "it ended of SIGSEGV (exit status 139)", LIKE),
        (
            inspected(Status="exited", ExitCode=137, OOMKilled=True, memory=20 << 20),
            "it ran out of memory: its limit is 20 MiB (exit status 137)",
            LIKE,
        ),
        (inspected(Status="exited", ExitCode=127, Error="exec: no such file"), "127: exec: no such file", LIKE),
        (inspected(Status="restarting", ExitCode=1, Pid=0), "again and again, the last time with exit status 1", LIKE),
        (inspected(Status="created", ExitCode=0), "was never started", "docker start web"),
        (inspected(Status="paused", ExitCode=0, Pid=7), "is paused", "docker unpause web"),
        (inspected(Status="dead", ExitCode=0), "it is dead", "docker start web"),
        (
            inspected("web.debugrun-original", Status="exited", ExitCode=0),
            "half of a recreate of web",
            "wait for it, or `debugrun restore web`",
        ),
        (inspected(Status="created", ExitCode=0, labels=(LABEL,)), "half of a recreate", "`debugrun restore web`"),
    ],
)
def test_the_end_of_a_container_is_told_with_what_helps(told: dict[str, Any], says: str, hint: str) -> None:
    found = refusal(told)
    assert found is not None
    assert says in found.message
    assert hint in found.hint


def test_one_that_runs_is_not_refused() -> None:
    assert refusal(inspected(Status="running", Pid=7)) is None
