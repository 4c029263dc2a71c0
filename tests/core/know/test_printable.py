"""Whatever a target calls itself, no printer of ours moves a cursor, turns the writing round or begins a line by it."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import os
import subprocess
import sys
import typing
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core import package_data
from debugrun.core.decide.plan import plan
from debugrun.core.grants import Ceiling
from debugrun.core.know import facts as shapes
from debugrun.core.know.facts import Facts
from debugrun.core.know.printable import cleaned, lines, printable
from debugrun.core.say import record, report
from debugrun.streams import Printing
from debugrun.toolbox import catalog

FACTS = record.load((Path(__file__).parents[2] / "records" / "debian-13.json").read_text()).facts["root"]
EVIL = "\x1b[2J\x1b]0;t\x07\n\r\u202e\u2066\x9b\x00\u2028\udcff\U000e0041"
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def poisoned(facts: Facts, text: str) -> Facts:
    """The facts with the text in every free text: not those that are one of a few words, or a number."""
    free = {
        "engine": ("operating_system",), "container": ("name", "image", "user", "orchestrator", "runtime", "apparmor"),
        "process": ("comm", "exe", "label"),
    }  # fmt: skip
    told: dict[str, Any] = {}
    for part, names in free.items():
        value = getattr(facts, part)
        told[part] = dataclasses.replace(value, **{each: text for each in names if hasattr(value, each)})
    return dataclasses.replace(facts, **told)


def bad(text: str) -> list[str]:
    return [each for each in text if each != "\n" and unicodedata.category(each) in FORBIDDEN]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\nb"),
        ("\x9b31m", "\\x9b31m"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}txt.exe", "\\u202etxt.exe"),
        (b"\xff".decode(errors="surrogateescape"), "\\xff"),
    ],
)
def test_what_a_terminal_acts_on_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_only_printable_characters_are_left(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert bad(lines(text).replace("\t", "")) == []
    if text.isprintable():
        assert printable(text) == text


@given(st.text(st.characters(), max_size=12))
def test_facts_are_printable_as_soon_as_there_are_any(text: str) -> None:
    facts = poisoned(FACTS, text)
    for part in typing.get_type_hints(Facts):
        value = getattr(facts, part)
        assert cleaned(value) == value
    assert bad(report.facts_text(facts)) == []


@pytest.mark.parametrize("tool", ["gdb", "strace", "perf"])
def test_every_page_has_the_lines_that_it_has_for_a_harmless_target(tool: str) -> None:
    made = catalog.load(tool)
    pages = []
    for text in ("harmless", EVIL):
        decision = plan(made, made.mode(None), poisoned(FACTS, text), Ceiling())
        told = [report.plan_text(decision), report.announce(decision), report.facts_text(decision.facts)]
        told += [*report.danger(decision), *report.refusal(decision), report.plan_json(decision)]
        pages.append(told)
    for harmless, evil in zip(*pages, strict=True):
        assert bad(evil) == []
        assert evil.count("\n") == harmless.count("\n")


@pytest.mark.parametrize("words", [("plan", "gdb"), ("why", "gdb"), ("judge", "gdb"), ("plan", "gdb", "--json")])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_no_verb_lets_it_through_to_a_terminal(tmp_path: Path, words: tuple[str, ...], locale: str) -> None:
    path = tmp_path / "facts.json"
    text = shapes.dump(FACTS).replace('"worker"', '"\\u001b[2J\\n\\u202eé\\udcff"')
    assert text != shapes.dump(FACTS)
    path.write_text(text)
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "debugrun", *words, "--facts", str(path)], env=environment, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode in {0, 125, 126}, done.stderr
    assert b"Traceback" not in done.stderr
    assert bad((done.stdout + done.stderr).decode()) == []
    assert done.stdout.isascii() or locale != "C"


@given(st.text(st.characters(), max_size=20), st.sampled_from(["ascii", "latin-1", "utf-8"]))
def test_a_stream_writes_any_text(text: str, encoding: str) -> None:
    raw = io.BytesIO()
    stream = Printing(raw, encoding, "backslashreplace", newline="\n")
    assert stream.write(text) == len(text)
    stream.flush()
    assert bad(raw.getvalue().decode(encoding).replace("\t", "")) == []


@given(text=st.text(st.characters(), max_size=20))
@pytest.mark.parametrize("debugger", ["gdb", "lldb"])
def test_what_speaks_in_a_sidecar_itself_says_one_harmless_line(text: str, debugger: str) -> None:
    """Its `say` alone: the rest needs the debugger's own module."""
    source = package_data.text(f"{debugger}/prelude.py")
    (function,) = (each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef) and each.name == "say")
    names: dict[str, Any] = {"sys": sys}
    exec(compile(ast.Module([function], []), debugger, "exec"), names)  # noqa: S102 - our own
    with contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO(), "utf-8", "strict")) as said:
        names["say"](text)
        said.flush()
        line = said.buffer.getvalue().decode()
    assert bad(line) == []
    assert line.count("\n") == 1
