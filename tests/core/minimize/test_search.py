"""Delta debugging: what is found is 1-minimal, and in few runs."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.minimize import line as lines
from debugrun.core.minimize.search import Outcome, Search
from debugrun.errors import UsageError

PARTS = [f"p{number}" for number in range(16)]


def search(needed: set[str]) -> Search:
    """What passes with all of these and fails without one."""

    def run(held: frozenset[str]) -> Outcome:
        lacking = sorted(needed - held)
        return Outcome(passed=not lacking, said=f"lacks {' '.join(lacking)}")

    return Search(run=run)


@given(st.sets(st.sampled_from(PARTS)), st.integers(1, 16))
def test_exactly_what_is_needed_is_found(needed: set[str], count: int) -> None:
    parts = PARTS[:count]
    needed &= set(parts)
    found = search(needed)
    assert set(found.smallest(parts)) == needed
    assert all(found.failed[part] == f"lacks {part}" for part in needed)


@given(st.sets(st.sampled_from(PARTS), min_size=1))
def test_what_is_known_to_be_needed_saves_a_run(needed: set[str]) -> None:
    one, other = search(needed), search(needed)
    assert one.smallest(PARTS) == other.smallest(PARTS, some=True)
    assert other.runs == one.runs - 1


@given(st.lists(st.sets(st.sampled_from(PARTS), min_size=1, max_size=4), min_size=1, max_size=3))
def test_what_is_found_is_minimal_where_one_of_several_sets_is_enough(ways: list[set[str]]) -> None:
    def passes(held: frozenset[str]) -> bool:
        return any(way <= held for way in ways)

    found = Search(run=lambda held: Outcome(passed=passes(held)))
    result = frozenset(found.smallest(PARTS))
    assert passes(result)
    assert not any(passes(result - {part}) for part in result)


def test_the_median_of_runs_is_at_most_the_parts_and_two() -> None:
    """Sets of the sizes that workloads have: most take none, one or two parts, some four."""
    counts = []
    for size in (0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4):
        for start in range(16 - size):
            found = search(set(PARTS[start : start + size]))
            found.smallest(PARTS)
            counts.append(found.runs)
    assert statistics.median(counts) <= len(PARTS) + 2


def held(*words: str) -> tuple[str, ...]:
    return lines.parse(["docker", "run", *words, "image", "command", "-x"]).parts


OWN = ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
       "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), {*(f"cap:{name}" for name in OWN), "root"}),
        (("--cap-drop", "ALL", "-u", "1000"), set()),
        (("--cap-drop=all", "--cap-add", "cap_sys_ptrace", "-u0"), {"cap:SYS_PTRACE", "root"}),
        (("--cap-drop", "ALL", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor:unconfined",
          "--user", "5"), {"seccomp", "apparmor"}),
        (("--cap-drop", "ALL", "--pid", "host", "--net=host", "--ipc", "private", "-u", "5"), {"--pid", "--network"}),
        (("--cap-drop", "ALL", "-u", "5", "-v", "/run/docker.sock:/s", "--device", "/dev/fuse"),
         {"socket:/run/docker.sock:/s", "device:/dev/fuse"}),
    ],
)  # fmt: skip
def test_the_parts_of_a_line(words: tuple[str, ...], parts: set[str]) -> None:
    assert set(held(*words)) == parts


def test_privileged_is_split_into_what_it_stands_for() -> None:
    found = held("--privileged")
    assert {"privileged", "seccomp", "cap:SYS_ADMIN", "cap:CHOWN", "root"} <= set(found)
    assert "cap:SYS_ADMIN" not in held()


def test_a_line_is_put_together_again_and_options_of_others_stay() -> None:
    line = lines.parse(
        [
            "docker",
            "run",
            "-it",
            "--rm",
            "--name",
            "x",
            "-e",
            "A=b c",
            "-p80:80",
            "--cap-add",
            "SYS_PTRACE",
            "--init",
            "i",
            "c",
        ]
    )
    assert lines.plain_words(line) == ["-e", "A=b c", "-p", "80:80", "--init"]
    assert lines.words(line, ["cap:SYS_PTRACE"]) == [
        "--cap-drop", "ALL", "--cap-add", "SYS_PTRACE", "--user", "65534:65534",
    ]  # fmt: skip
    assert line.rest == ("i", "c")


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (("-v", "data:/d"), ("data",)),
        (("-v", "/srv:/d:ro"), ()),
        (("-v", "/d"), ()),
        (("--mount", "type=bind,src=/srv,dst=/d"), ("/srv",)),
        (("--mount", "type=bind,src=/srv,dst=/d,readonly"), ()),
        (("--mount", "type=tmpfs,dst=/d"), ()),
        (("-v", "/var/run/docker.sock:/var/run/docker.sock"), ()),
    ],
)
def test_what_every_run_would_write_to_is_known(words: tuple[str, ...], written: tuple[str, ...]) -> None:
    assert lines.parse(["docker", "run", *words, "image"]).writable == written


@pytest.mark.parametrize(
    "words", [[], ["ls"], ["docker", "ps"], ["docker", "run"], ["docker", "run", "--nonsense", "x"]]
)
def test_what_is_no_line_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        lines.parse(words)
