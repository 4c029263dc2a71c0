"""What people type first works, or the answer names what does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from debugrun.cli import first_words
from debugrun.cli.app import VERBS
from debugrun.toolbox import catalog


def debugrun(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "debugrun", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        ("strace -c web", "debugrun strace web -- -c"),
        ("strace web -c", "debugrun strace web -- -c"),
        ("strace web 7 -e openat --duration 3", "debugrun strace web 7 --duration 3 -- -e openat"),
        ("perf web -e cycles", "debugrun perf web -- -e cycles"),
        ("perf web -e cycles -- -g", "debugrun perf web -- -e cycles -g"),
        ("gdb web --batch", "debugrun gdb web -- --batch"),
        ("gdb --name worker web -ex bt", "debugrun gdb --name worker web -- -ex bt"),
    ],
)
def test_a_tools_own_option_is_sent_behind_the_dashes(words: str, ending: str) -> None:
    done = debugrun(*words.split())
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"debugrun: debugrun has no option {wrong(words)}; {words.split(maxsplit=1)[0]}'s own options go behind --",
        f"debugrun: try: {ending}",
    ]


def wrong(words: str) -> str:
    return next(each for each in words.split() if each in {"-c", "-e", "-F", "--batch", "-ex"})


@pytest.mark.parametrize("typed", [["-h"], ["--help"], ["help", "gdb"], ["gdb", "-h"], ["help", "plan"]])
def test_every_way_to_ask_for_help_gives_it(typed: list[str]) -> None:
    done = debugrun(*typed)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: debugrun ")


@pytest.mark.parametrize("typed", ["version", "-V", "--version"])
def test_every_way_to_ask_for_the_version_gives_it(typed: str) -> None:
    assert debugrun(typed).stdout.startswith("debugrun 0.")


@pytest.mark.parametrize(
    ("word", "says"),
    [("bash", "a shell is no debug tool"), ("dump", "debugrun gcore"), ("restart", "debugrun restore"), ("gbd", "gdb")],
)
def test_a_word_for_something_else_names_what_does_it(word: str, says: str) -> None:
    done = debugrun(word, "web")
    assert done.returncode == 127
    assert says in done.stderr
    assert done.stderr.startswith(f"debugrun: {word} is neither a tool nor a verb")


def test_no_meaning_hides_a_tool_or_a_verb_and_each_leads_somewhere() -> None:
    known = {*VERBS, *catalog.names()}
    assert set(first_words.meanings()) & known == set()
    for word, entry in first_words.meanings().items():
        named = entry["instead"].split()
        assert named[0] == "docker" or named[1] in known, word
