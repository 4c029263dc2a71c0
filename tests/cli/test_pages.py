"""What a person sees: whole words from 40 columns on, no empty column, verdicts in colour on a terminal only."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import sys
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer.main
from rich.console import Console

from debugrun import pages
from debugrun.cli import app as cli
from debugrun.core.know import facts
from debugrun.core.oncall.waits import Words
from debugrun.core.say import report
from debugrun.oncall import first_look
from debugrun.streams import Printing
from tests.cases import PLAIN
from tests.core.oncall.test_waits import census, process, thread

COLOUR = re.compile(r"\x1b\[(\d+)m(.*?)\x1b\[0m", re.DOTALL)
COMMANDS = ("docker ", "kubectl ", "debugrun ")
SHUT = dataclasses.replace(
    PLAIN,
    engine=dataclasses.replace(PLAIN.engine, version="20.10.24"),
    host=dataclasses.replace(PLAIN.host, yama_ptrace_scope=2),
)
VERBS = [
    ["plan", "gdb"],
    ["plan", "perf"],
    ["why", "gdb"],
    ["judge", "gdb"],
    ["judge", "perf"],
    ["facts"],
    ["tools"],
    ["syscalls", "--engine", "docker:20.10.24"],
]


@contextmanager
def standard_output(monkeypatch: pytest.MonkeyPatch, folder: Path, *, terminal: bool) -> Iterator[list[str]]:
    """What is printed meanwhile, on a real terminal or into a file; one text, once it is over."""
    shown = list[str]()
    file = folder / "printed"
    reading, writing = os.openpty() if terminal else (None, os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    if reading is not None:
        tty.setraw(writing)  # no carriage return before a line end
    parts = list[bytes]()
    reader = threading.Thread(target=_read, args=(reading, parts))
    reader.start()
    with monkeypatch.context() as patch, os.fdopen(writing, "wb") as raw:
        stream = Printing(raw, "utf-8", "backslashreplace")
        patch.setattr(sys, "stdout", stream)
        yield shown
        stream.flush()
        stream.detach()
    reader.join()
    if reading is not None:
        os.close(reading)
    shown.append(b"".join(parts).decode() if terminal else file.read_text())


def _read(terminal: int | None, parts: list[bytes]) -> None:
    """All that is written to a terminal until its other side is closed (EIO, pty(7))."""
    with contextlib.suppress(OSError):
        while terminal is not None and (part := os.read(terminal, 65536)):
            parts.append(part)


def printed(
    words: Sequence[str], columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, terminal: bool = False
) -> str:
    """What a verb prints over recorded facts, byte for byte."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("DEBUGRUN_TOOLS", str(tmp_path))
    file = tmp_path / "facts.json"
    file.write_text(facts.dump(SHUT))
    with standard_output(monkeypatch, tmp_path, terminal=terminal) as shown:
        if words == ["facts"]:
            pages.text(report.facts_text(SHUT))
        else:
            typed = [*words, *(["--facts", str(file)] if words[0] in {"plan", "why", "judge"} else [])]
            group = typer.main.get_command(cli.application(typed))
            group.main(args=typed, prog_name="debugrun", standalone_mode=False)
    return shown[0]


def fits(text: str, columns: int) -> Iterator[str]:
    """The lines that are wider, though they hold a place to break."""
    for line in text.splitlines():
        if len(line) > columns and not line.strip().startswith(COMMANDS) and " " in line.strip():
            yield line


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_lines_break_at_words_and_no_word_is_lost(
    verb: list[str], columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = printed(verb, columns, tmp_path, monkeypatch)
    assert list(fits(narrow, columns)) == []
    wide = printed(verb, 4000, tmp_path, monkeypatch)
    whole = set(re.findall(r"[\w.-]{3,}", wide)) - {"tool", "call"}  # heads of what begins a paragraph
    assert whole <= set(re.findall(r"[\w.-]{3,}", narrow))
    assert "…" not in narrow
    assert "\x1b" not in narrow


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_fits_and_has_no_empty_column(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    pages.table(("tool", "", "never said", "why"), [("gdb", "no: seccomp", "", "a b " * 40), ("", "open", "", "c")])
    shown = capsys.readouterr().out
    assert "never said" not in shown
    assert "no: seccomp" in shown
    assert list(fits(shown, columns)) == []


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_ps_leaves_out_columns_that_say_nothing(columns: int) -> None:
    found = census(process(1, thread(1, None)), process(2, thread(2, None), parent=1001))
    tree = first_look.rows(found.processes, Words(census=found, hosts={}))
    out = io.StringIO()
    Console(file=out, width=columns).print(first_look.table(tree, Words(census=found, hosts={}), columns))
    lines = [line for line in out.getvalue().splitlines() if line.strip()]
    assert all(len(line) <= columns for line in lines)
    assert lines[0].startswith((" PID", "PID", "  PID"))  # no column of marks where nothing is marked
    assert "COMMAND" in lines[0]


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        (["plan", "gdb"], {("32", "open"), ("31", "closed")}),
        (["judge", "gdb"], {("31", "closed")}),
        (["why", "gdb"], {("31", "stopped by")}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_verdicts_have_their_colour_on_a_terminal(
    verb: list[str],
    expected: set[tuple[str, str]],
    columns: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = printed(verb, columns, tmp_path, monkeypatch, terminal=True)
    found = {(code, " ".join(word.split())) for code, word in COLOUR.findall(text)}
    assert expected <= found
    assert found <= {("32", "open"), ("31", "closed"), ("33", "unknown"), ("31", "stopped by"), ("31", "then by")}
    assert COLOUR.sub(r"\2", text) == printed(verb, columns, tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "")])
@pytest.mark.parametrize("verb", [["plan", "gdb"], ["syscalls", "--engine", "docker:20.10.24"]], ids=" ".join)
def test_no_colour_where_it_is_not_wanted(
    verb: list[str], name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    assert not re.search(r"\x1b\[(\d+;)*[34]\d", printed(verb, 80, tmp_path, monkeypatch, terminal=True))


def test_a_name_of_others_brings_no_colour_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with standard_output(monkeypatch, tmp_path, terminal=True) as shown:
        pages.text("open: \x1b[41mevil\x1b[0m\nwebopen: x")
    assert shown == ["\x1b[32mopen\x1b[0m: \\x1b[41mevil\\x1b[0m\nwebopen: x\n"]
