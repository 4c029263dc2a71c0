"""What a look at /proc is worth: the words for each wait, who is suspected, and the order of the tree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from debugrun.core.oncall import processes
from debugrun.core.oncall.processes import Census, Process
from debugrun.core.oncall.suspicion import suspect
from debugrun.core.oncall.waits import Words, cycle, describe
from debugrun.oncall import first_look

TCP = {"kind": "tcp", "state": "ESTABLISHED", "port": 40000, "peer": "10.0.0.2", "peer_port": 5432}
CLIENT = {"kind": "tcp", "state": "ESTABLISHED", "port": 8000, "peer": "10.0.0.9", "peer_port": 33000}
LEFT = {**CLIENT, "state": "CLOSE_WAIT"}
CALLS = {**TCP, "state": "SYN_SENT", "peer": "10.9.9.9"}
DOOR = {"kind": "tcp", "state": "LISTEN", "port": 8000, "peer": "0.0.0.0", "peer_port": 0}  # noqa: S104 - as /proc says it


def thread(tid: int, wait: dict[str, Any] | None, *, state: str = "S", idle: float | None = 5.0) -> list[object]:
    return [tid, f"t{tid}", state, 0, idle, "", wait]


def process(pid: int, *threads: list[object], parent: int = 0, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "pid": pid + 1000, "inner": pid, "parent": parent, "comm": "worker", "state": "S", "cpu": 0.0, "age": 9.0,
        "rss": 1 << 20, "uid": 0, "gid": 0, "tracer": 0, "threads": len(threads), "seen": list(threads), "files": 3,
        "files_limit": 1024, "command": "worker\0", "listening": [8000], "container": "c", **more,
    }  # fmt: skip


def census(*found: dict[str, Any], pipes: dict[str, list[object]] | None = None) -> Census:
    return processes.parse(json.dumps({"schema": 1, "processes": found, "pipes": pipes or {}}))


def words(found: Census) -> Words:
    return Words(census=found, hosts={"10.0.0.2": "db", "10.0.0.9": "web"})


@pytest.mark.parametrize(
    ("wait", "said"),
    [
        ({"call": "poll", "fds": [{"fd": 3, **TCP}]}, "poll <- tcp db:5432"),
        ({"call": "sendto", "fds": [{"fd": 3, **TCP}]}, "sendto -> tcp db:5432"),
        ({"call": "recvfrom", "fds": [{"fd": 3, **CLIENT}]}, "recvfrom <- tcp client web"),
        ({"call": "recvfrom", "fds": [{"fd": 3, **LEFT}]}, "recvfrom <- tcp client web, which has closed it"),
        ({"call": "accept4", "fds": [{"fd": 3, **DOOR}]}, "accept4 <- tcp :8000"),
        ({"call": "epoll_wait", "fds": [{"fd": 3, **DOOR}, {"fd": 4, **TCP}]}, "epoll_wait <- tcp db:5432 +1"),
        ({"call": "connect", "fds": [{"fd": 3, **CALLS}]}, "connect -> tcp 10.9.9.9:5432"),
        ({"call": "read", "fds": [{"fd": 0, "kind": "pipe", "inode": "7"}]}, "read <- pipe of worker/8"),
        ({"call": "read", "fds": [{"fd": 0, "kind": "pipe", "inode": "8"}]}, "read <- pipe"),
        ({"call": "flock", "fds": [{"fd": 5, "kind": "file", "path": "/run/\x1block"}]}, "flock on /run/\\x1block"),
        ({"call": "read", "fds": [{"fd": 9, "kind": "unknown"}]}, "read"),
        ({"call": "futex", "futex": {"address": 16}}, "futex"),
        ({"call": "futex", "futex": {"address": 16, "holder": 2}}, "futex held by thread 2"),
        ({"call": "futex", "futex": {"address": 16, "holder": 999}}, "futex"),
        ({"call": "wait4", "child": 8}, "wait4 <- child 8"),
        ({"call": "waitid", "child": -1}, "waitid <- any child"),
        ({"call": "clock_nanosleep", "fds": []}, "sleep"),
    ],
)  # fmt: skip
def test_words(wait: dict[str, Any], said: str) -> None:
    found = census(
        process(1, thread(1, wait), thread(2, None)),
        process(8, thread(8, None)),
        pipes={"7": [[1001, 0, False], [1008, 1, True]], "8": [[1001, 0, False]]},
    )
    assert describe(found.processes[0].threads[0], found.processes[0], words(found)) == said


def one(*threads: list[object], **more: Any) -> tuple[Process, Words]:  # noqa: ANN401 - JSON
    found = census(process(1, *threads, **more))
    return found.processes[0], words(found)


def lock(holder: int) -> dict[str, Any]:
    return {"call": "futex", "futex": {"address": 4096, "holder": holder}}


def test_threads_that_wait_for_each_other_are_a_deadlock() -> None:
    found, names = one(thread(1, None), thread(5, lock(7)), thread(7, lock(5)), thread(9, lock(7)))
    assert cycle(found) == (5, 7)
    assert suspect(found, names).reason == "deadlock: threads 5, 7 wait for each other"


def test_a_lock_that_its_own_waiter_holds_is_no_ring() -> None:
    assert cycle(one(thread(5, lock(5)), thread(6, lock(5)))[0]) == ()


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("postgres: shop shop 10.0.0.3(40000) UPDATE waiting\0", "waits for a lock, as PostgreSQL says"),
        ("postgres: shop shop 10.0.0.3(40000) idle in transaction\0", "holds a transaction open"),
        ("postgres: shop shop 10.0.0.3(40000) idle\0", ""),
        ("rm waiting\0", ""),
    ],
)
def test_titles_of_postgresql(title: str, reason: str) -> None:
    found = suspect(*one(thread(1, {"call": "epoll_wait", "fds": [{"fd": 3, **CLIENT}]}), command=title))
    assert found.reason.startswith(reason)
    assert bool(found.score) == bool(reason)


@pytest.mark.parametrize(
    ("wait", "idle", "suspected"),
    [
        ({"call": "recvfrom", "fds": [{"fd": 3, **TCP}]}, 5.0, True),
        ({"call": "recvfrom", "fds": [{"fd": 3, **TCP}]}, 0.01, False),
        ({"call": "recvfrom", "fds": [{"fd": 3, **CLIENT}]}, 500.0, False),
        ({"call": "accept", "fds": [{"fd": 3, **DOOR}]}, 500.0, False),
        ({"call": "clock_nanosleep", "fds": []}, 500.0, False),
    ],
)
def test_who_waits_for_an_answer_is_suspected_and_who_waits_for_work_is_not(
    *, wait: dict[str, Any], idle: float, suspected: bool
) -> None:
    assert bool(suspect(*one(thread(1, wait, idle=idle))).score) == suspected


def test_the_tree_shows_the_stuck_branch_first_and_loses_none_in_a_circle() -> None:
    stuck = {"call": "recvfrom", "fds": [{"fd": 3, **TCP}]}
    found = census(
        process(1, thread(1, None)),
        process(2, thread(2, None), parent=1001),
        process(3, thread(3, None), parent=1001),
        process(4, thread(4, stuck), parent=1003),
        process(5, thread(5, None), parent=1006),
        process(6, thread(6, None), parent=1005),
    )
    tree = first_look.rows(found.processes, words(found))
    assert [(row.process.pid, row.depth) for row in tree] == [(1, 0), (3, 1), (4, 2), (2, 1), (5, 0), (6, 0)]


@pytest.mark.parametrize("printed", ["", "{", "[]", '{"schema": 2}'])
def test_a_census_that_was_cut_off_is_an_error(printed: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what json says is its own
        processes.parse(printed)


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0K"), (2048, "2K"), (21 << 20, "21M"), (3 << 29, "1.5G"), (24 << 30, "24G")]
)
def test_sizes_fit(count: int, said: str) -> None:
    assert first_look.size(count) == said
