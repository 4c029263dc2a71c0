"""What comes from a tool becomes the caller's file, whole or told; whoever speaks in its place gains nothing."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debugrun.attach import output
from debugrun.attach.output import Core, OutputError
from debugrun.core.ask.request import Request
from debugrun.core.know.tool_output import Output, misled, taken
from debugrun.errors import UsageError
from debugrun.toolbox import catalog
from tests.cases import NOBODYS_FOLDER


def record(letter: bytes, size: int, body: bytes = b"") -> bytes:
    return letter + struct.pack("<Q", size) + body


def announced(size: int, data: int = 0) -> bytes:
    text = f'{{"size": {size}, "data": {data}}}'.encode()
    return record(b"B", len(text), text)


WHOLE = announced(12) + record(b"D", 3, b"abc") + record(b"Z", 8) + record(b"D", 1, b"d") + record(b"E", 0)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    made = os.open(tmp_path / "core", os.O_RDWR | os.O_CREAT)
    yield made
    os.close(made)


def content(fd: int) -> bytes:
    return os.pread(fd, 1 << 20, 0)


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=9))
def test_a_core_is_the_same_however_its_records_are_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("cut") / "core"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    core = Core(fd, "core")
    edges = sorted({0, *cuts, len(WHOLE)})
    for start, end in itertools.pairwise(edges):
        core.feed(WHOLE[start:end])
    core.check(0)
    assert content(fd) == b"abc" + bytes(8) + b"d"
    os.close(fd)


def test_a_hole_at_the_end_counts(fd: int) -> None:
    Core(fd, "core").feed(announced(1 << 30) + record(b"Z", 1 << 30) + record(b"E", 0))
    assert os.fstat(fd).st_size == 1 << 30
    assert os.fstat(fd).st_blocks < 64


def test_a_pipe_gets_its_zeros() -> None:
    read, write = os.pipe()
    Core(write, "core").feed(WHOLE)
    assert os.read(read, 100) == b"abc" + bytes(8) + b"d"
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    "came",
    [
        b"#!/bin/sh\necho\n",
        announced(12) + record(b"Z", 13),
        announced(12) + record(b"D", 1 << 62),
        announced(12) + record(b"E", 0),
        announced(-1),
        record(b"B", 1 << 40),
        record(b"B", 2, b"[]"),
        WHOLE + record(b"D", 1, b"x"),
        WHOLE + announced(1 << 40),
    ],
)
def test_what_is_not_a_core_is_refused(fd: int, came: bytes) -> None:
    with pytest.raises(OutputError, match="not a core"):
        Core(fd, "core").feed(came)


def test_a_core_that_ends_early_is_not_whole(fd: int) -> None:
    core = Core(fd, "core")
    core.feed(WHOLE[:-9])
    with pytest.raises(OutputError, match="not whole: 12 of 12"):
        core.check(0)


def test_a_core_without_room_is_refused_before_its_first_byte(fd: int) -> None:
    with pytest.raises(OutputError, match=r"there is room for \d+ MB, and 1000000000000 MB are needed"):
        Core(fd, "core").feed(announced(1 << 61, 10**18))
    assert content(fd) == b""


def asked(tool: str, *args: str, **more: object) -> Request:
    made = Request(tool=tool, container="web", args=args, **more)  # type: ignore[arg-type] # one of its fields
    return output.settled(made, catalog.load(tool, NOBODYS_FOLDER).mode(None))


def test_what_is_not_whole_leaves_no_file(tmp_path: Path) -> None:
    request = asked("gcore", output=tmp_path / "core")
    with output.opened(request, catalog.load("gcore", NOBODYS_FOLDER).mode(None)) as make:
        assert make is not None
        make().feed(WHOLE[:-9])
    assert list(tmp_path.iterdir()) == []


def test_a_whole_core_has_its_name_and_is_its_owners_alone(tmp_path: Path) -> None:
    request = asked("gcore", output=tmp_path / "core")
    with output.opened(request, catalog.load("gcore", NOBODYS_FOLDER).mode(None)) as make:
        assert make is not None
        make().feed(WHOLE)
    assert [(each.name, each.stat().st_mode & 0o777) for each in tmp_path.iterdir()] == [("core", 0o600)]


@pytest.mark.parametrize(
    ("args", "file", "rest"),
    [
        (("-f", "-o", "x"), "x", ("-f",)),
        (("-ox", "-f"), "x", ("-f",)),
        (("--output=x", "-c"), "x", ("-c",)),
        (("--output", "x"), "x", ()),
        (("-e", "trace=open", "-c"), None, ("-e", "trace=open", "-c")),
        (("-o", "x", "-o", "y"), "y", ()),
    ],
)
def test_the_tools_own_option_is_taken_for_ours(args: tuple[str, ...], file: str | None, rest: tuple[str, ...]) -> None:
    found = taken(args, Output(kind="stdout", args=("-o", "-"), options=("-o", "--output")))
    assert found == (file, rest)


def test_an_output_typed_after_the_dashes_is_the_callers(tmp_path: Path) -> None:
    request = asked("strace", "-f", "-o", str(tmp_path / "trace"))
    assert (request.output, request.args) == (tmp_path / "trace", ("-f",))


def test_a_tool_that_writes_no_file_says_so() -> None:
    with pytest.raises(UsageError, match="lsof list writes no file"):
        asked("lsof", output=Path("x"))


@pytest.mark.parametrize(
    ("args", "is_misled"),
    [
        (("-x", "*@libc.so.6"), True),
        (("-xmalloc",), True),
        (("-e", "malloc@MAIN-free"), True),
        (("-e",), True),
        (("-l", "libc.so.6"), True),
        (("--library=libc.so.6",), True),
        (("-x", "*@MAIN"), False),
        (("-emalloc@MAIN-free@MAIN",), False),
        (("-S", "-f"), False),
    ],
)
def test_a_value_can_be_what_misleads(args: tuple[str, ...], is_misled: bool) -> None:  # noqa: FBT001 - a column
    entries = catalog.load("ltrace", NOBODYS_FOLDER).mode(None).misleading
    assert (misled(args, entries) is not None) == is_misled


@pytest.mark.parametrize(
    ("args", "is_misled"),
    [
        (("-f", "-k"), True),
        (("-fk",), True),
        (("--stack-trace=full",), True),
        (("-e", "kill"), False),
        (("-f",), False),
    ],
)
def test_an_option_that_would_name_wrong_functions_is_seen(args: tuple[str, ...], is_misled: bool) -> None:  # noqa: FBT001 - a column
    entries = catalog.load("strace", NOBODYS_FOLDER).mode(None).misleading
    assert (misled(args, entries) is not None) == is_misled


@pytest.mark.parametrize(
    ("tool", "args", "vanishes"),
    [
        ("gdb", ("-batch", "-ex", "generate-core-file /tmp/c"), True),
        ("gdb", ("-batch", "-ex", "gcore"), True),
        ("gdb", ("--ex=set logging enabled on",), True),
        ("gdb", ("-ex", "dump binary memory x 0 1"), True),
        ("gdb", ("-ex", "dump binary memory /dev/stdout 0 1"), False),
        ("gdb", ("-batch", "-ex", "bt", "-ex", "info registers"), False),
        ("gdb", ("-ex",), False),
        ("lldb", ("-b", "-o", "process save-core /tmp/c"), True),
        ("lldb", ("-b", "-o", "bt"), False),
    ],
)
def test_a_command_whose_file_would_go_with_the_sidecar_is_seen(
    tool: str,
    args: tuple[str, ...],
    vanishes: bool,  # noqa: FBT001 - a column
) -> None:
    mode = catalog.load(tool, NOBODYS_FOLDER).mode(None)
    assert (misled(args, mode.misleading) is not None) == vanishes
