"""Stacks that were copied: folded, with an interpreter's frames in place of its own, fit for a page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from debugrun.core.oncall.stacks import Frame, Stack, folded, folded_lines, parse, shown_frames, with_interpreted, words


def frame(function: str, module: str = "", **more: Any) -> Frame:  # noqa: ANN401 - a frame's fields
    return Frame(function=function, module=module, **more)


def stack(tid: int, *functions: str) -> Stack:
    return Stack(tid=tid, name=f"t{tid}", frames=tuple(frame(each) for each in functions))


def test_equal_stacks_are_one_and_the_odd_one_comes_first() -> None:
    stacks = [stack(tid, "poll", "loop", "main") for tid in range(2, 2001)]
    groups = folded([*stacks[:900], stack(9000, "lock", "main"), *stacks[900:]])
    assert [(len(group.stacks), group.frames[0].function) for group in groups] == [(1, "lock"), (1999, "poll")]


def test_lines_for_flame_graph_programs_are_outermost_first_and_count() -> None:
    lines = folded_lines(
        "web app;x/1", [stack(1, "poll", "ma;in\n"), stack(2, "poll", "ma;in\n"), stack(3, "", "main")]
    )
    assert lines == ["web app:x/1;ma:in ;poll 2", "web app:x/1;main;[unknown] 1"]


LIBPYTHON = "libpython3.13.so.1.0"
POLL, PQEXEC, EVAL = frame("poll", "libc.so.6"), frame("PQexec", "libpq.so.5"), frame("_PyEval_EvalFrameDefault")
PYTHON = [frame("handle", "python", file="app.py", line=3), frame("<module>", "python", file="app.py", line=9)]


@pytest.mark.parametrize(
    ("native", "called"),
    [
        ([POLL, PQEXEC, EVAL], ["poll", "PQexec"]),
        ([POLL, frame("", LIBPYTHON), frame("Py_Main", LIBPYTHON)], ["poll"]),
        ([EVAL, frame("main")], []),
    ],
)
def test_interpreted_frames_follow_the_native_ones_that_they_called(native: list[Frame], called: list[str]) -> None:
    merged = with_interpreted(Stack(tid=1, name="", frames=tuple(native), cut="torn"), PYTHON)
    assert [each.function for each in merged.frames] == [*called, "handle", "<module>"]
    assert merged.cut == ""


def test_a_thread_without_interpreted_frames_keeps_its_own() -> None:
    native = stack(1, "worker", "start_thread")
    assert with_interpreted(native, ()) is native


def test_frames_without_names_of_one_library_are_shown_once() -> None:
    frames = [
        frame("", "libc.so.6"),
        frame("", "libc.so.6"),
        frame("", "libm.so.6"),
        frame("main"),
        frame("", "libc.so.6"),
    ]
    assert [words(each) for each in shown_frames(frames)] == [
        "?? (libc.so.6)",
        "?? (libm.so.6)",
        "main",
        "?? (libc.so.6)",
    ]


def test_what_was_printed_is_decoded() -> None:
    printed = {
        "schema": 1,
        "processes": [
            {
                "pid": 7, "still": 0.001, "late": [9],
                "threads": [{"tid": 7, "name": "a", "cut": "", "frames": [
                    {"function": "recv", "library": "libc.so.6", "address": 1, "file": "", "line": 0, "inlined": False},
                    {"function": "_PyEval_EvalFrameDefault", "library": "", "variables": [["x", "1", True]]},
                ]}],
                "python": [{"os_thread_id": 7, "frames": [{"name": "ask", "filename": "/app.py", "line": 3}]}],
            },
            {"pid": 8, "error": "ptrace: Operation not permitted."},
        ],
    }  # fmt: skip
    one, other = parse(json.dumps(printed).encode())
    assert [words(each) for each in one.stacks[0].frames] == ["recv (libc.so.6)", "ask (/app.py:3)"]
    assert (one.still, one.late, one.error, other.error) == (0.001, (9,), "", "ptrace: Operation not permitted.")


@pytest.mark.parametrize("printed", [b"", b"{", b"[]", b'{"schema": 9, "processes": []}'])
def test_what_was_cut_off_is_an_error(printed: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what json says is its own
        parse(printed)
