from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.ask.selection import Ambiguous, Row, Wanted, is_supervisor, select, table, workers
from debugrun.errors import TargetError

APP = Row(pid=1, comm="app", host_pid=5001)
TINI = Row(pid=1, comm="tini", host_pid=5001)
SHELL = Row(pid=1, comm="sh", shell_command=True, host_pid=5001)


def child(pid: int, comm: str = "worker", *, ppid: int = 1, state: str = "S", own: bool = True) -> Row:
    return Row(pid=pid, ppid=ppid, comm=comm, state=state, host_pid=5000 + pid, own=own)


def pick(rows: list[Row], wanted: Wanted = Wanted(), main: int = 1) -> int | list[int]:  # noqa: B008 - frozen
    chosen = select(rows, wanted, main=main, container="web")
    return [row.pid for row in chosen.rows] if isinstance(chosen, Ambiguous) else chosen.pid


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([APP], 1),
        ([APP, child(7)], 1),
        ([TINI], 1),
        ([TINI, child(7)], 7),
        ([TINI, child(7), child(8, state="Z")], 7),
        ([TINI, child(8), child(7)], [7, 8]),
        ([TINI, child(7), child(9, ppid=7)], 7),
        ([TINI, child(7), child(9, ppid=0)], 7),  # an exec is nobody's child
        ([TINI, child(7), child(9, own=False)], 7),  # a sidecar's orphan
        ([SHELL], 1),
        ([SHELL, child(7)], 7),
        ([SHELL, child(7), child(8)], [7, 8]),
        ([TINI, Row(pid=7, ppid=1, comm="bash", shell_command=True), child(9, ppid=7)], 9),
        ([Row(pid=1, comm="bash"), child(7)], 1),  # a shell that runs a script, or a person
        ([Row(pid=1, comm="s6-svscan"), child(2, "s6-supervise"), child(3, ppid=2)], 3),
    ],
)
def test_without_a_word_it_is_the_main_process_or_what_its_init_started(
    rows: list[Row], expected: int | list[int]
) -> None:
    assert pick(rows) == expected


def test_the_main_process_need_not_be_pid_1() -> None:
    assert pick([Row(pid=1, comm="systemd"), child(4321, "app")], main=4321) == 4321


@pytest.mark.parametrize(
    ("comm", "expected"),
    [
        ("worker", 7),
        ("work", [7, 8]),  # another container's count only where no own one has the name
        ("worker-2", 8),
        ("a-very-long-process-name", 9),
        ("dead", 10),
        ("worker-else", 11),
    ],
)
def test_a_name_is_exact_first_then_a_beginning(comm: str, expected: int | list[int]) -> None:
    rows = [
        APP,
        child(7),
        child(8, "worker-2"),
        child(9, "a-very-long-pro"),
        child(10, "dead"),
        child(12, "dead", state="Z"),
        child(11, "worker-else", own=False),
    ]
    assert pick(rows, Wanted(comm=comm)) == expected


@pytest.mark.parametrize(
    ("wanted", "code", "says"),
    [
        (Wanted(pid=99), "no-such-pid", "99"),
        (Wanted(pid=5007), "host-pid-given", "7 'worker'"),
        (Wanted(pid=8), "zombie", "zombie"),
        (Wanted(host_pid=8), "not-in-container", "8"),
        (Wanted(comm="wroker"), "no-such-name", "wroker"),
        (Wanted(comm="gone"), "zombie", "zombie"),
    ],
)
def test_who_is_not_there_is_an_error_that_says_what_to_do(wanted: Wanted, code: str, says: str) -> None:
    with pytest.raises(TargetError) as caught:
        pick([APP, child(7), child(8, "gone", state="Z")], wanted)
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.hint


def test_a_misspelt_name_gets_the_near_one() -> None:
    with pytest.raises(TargetError) as caught:
        pick([APP, child(7)], Wanted(comm="wroker"))
    assert caught.value.hint == "--name worker"


def test_host_pids_need_a_local_engine() -> None:
    assert pick([APP, child(7)], Wanted(host_pid=5007)) == 7
    with pytest.raises(TargetError) as caught:
        pick([Row(pid=1, comm="app")], Wanted(host_pid=5001))
    assert caught.value.code == "host-pid-unseen"


def test_names_in_errors_can_not_write_on_the_terminal() -> None:
    with pytest.raises(TargetError) as caught:
        pick([APP, child(7, "\x1b[31mred")], Wanted(pid=5007))
    assert "\x1b" not in caught.value.message
    assert "\x1b" not in "".join(table([child(7, "\x1b[31mred")]))


SERVICE = [
    Row(pid=1, comm="nginx", command="nginx: master process nginx -g daemon off;", cpu=0.0, host_pid=5001),
    Row(pid=7, ppid=1, comm="nginx", command="nginx: worker process", cpu=61.5, host_pid=5007),
    Row(pid=8, ppid=1, comm="nginx", command="nginx: cache manager process", cpu=0.25),
    Row(pid=9, ppid=1, comm="nginx", state="Z"),
]


@pytest.mark.parametrize(
    ("comm", "expected"),
    [
        ("nginx", [1, 7, 8]),
        ("nginx: worker", 7),
        ("cache manager", 8),
        ("nginx: master process", 1),
        ("process", [1, 7, 8]),
    ],
)
def test_a_name_may_be_a_part_of_the_command_line(comm: str, expected: int | list[int]) -> None:
    assert pick(SERVICE, Wanted(comm=comm)) == expected


def test_a_choice_shows_what_tells_processes_apart_and_leaves_no_column_empty() -> None:
    head, *lines = table(SERVICE)
    assert head.split() == ["PID", "PARENT", "HOST", "PID", "CPU", "STATE", "THREADS", "UID", "COMMAND"]
    assert lines[1].split() == ["7", "1", "5007", "1:01.50", "S", "1", "0", "nginx:", "worker", "process"]
    assert lines[3].split() == ["9", "1", "?", "?", "Z", "1", "0", "[nginx]"]
    assert len({line.index("nginx") for line in lines[:3]}) == 1


def test_the_workers_of_a_supervisor_come_with_the_busiest_first() -> None:
    assert [row.pid for row in workers(SERVICE, 1)] == [7, 8]
    assert workers(SERVICE, 7) == ()
    assert workers([APP, child(7)], 1) == ()


@pytest.mark.parametrize(
    "comm", ["nginx", "php-fpm8.4", "gunicorn: maste", "supervisord", "postgres", "PM2 v5.4.2: God"]
)
def test_supervisors_are_known_by_their_names(comm: str) -> None:
    assert is_supervisor(comm)
    assert not is_supervisor(f"my-{comm}")


@pytest.mark.parametrize("comm", ["su", "sudo", "runuser", "runsvdir", "dumb-init"])
def test_who_only_starts_another_one_is_not_taken_for_it(comm: str) -> None:
    assert pick([Row(pid=1, comm=comm), child(7)]) == 7


rows_of_trees = st.lists(
    st.builds(
        Row,
        pid=st.integers(min_value=2, max_value=30),
        ppid=st.integers(min_value=0, max_value=30),
        comm=st.sampled_from(["app", "tini", "worker", "sh"]),
        state=st.sampled_from("SRTZ"),
        shell_command=st.booleans(),
        own=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda row: row.pid,
)


@given(rows_of_trees, st.sampled_from([APP, TINI, SHELL]))
def test_whatever_the_tree_a_live_process_of_it_is_chosen(rows: list[Row], main: Row) -> None:
    chosen = select([main, *rows], Wanted(), main=1, container="web")
    found = chosen.rows if isinstance(chosen, Ambiguous) else (chosen,)
    assert found
    assert all(row in [main, *rows] and row.state != "Z" for row in found)
    assert not isinstance(chosen, Ambiguous) or len(found) > 1
