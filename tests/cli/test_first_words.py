"""What people type first works, or the answer names what does."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import typer.main

from debugrun.cli import first_words, tool_help
from debugrun.cli.app import TOPICS, VERBS, application
from debugrun.cli.help import topics
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


@pytest.mark.parametrize("topic", ["run", "recreate"])
def test_a_topic_is_not_hidden_by_the_verb_of_its_name(topic: str) -> None:
    done = debugrun("help", topic)
    assert f"`debugrun {topic} --help`" in done.stdout.splitlines()[0]
    assert "\n# " in done.stdout


def test_the_help_of_a_verb_names_the_topic_that_tells_more() -> None:
    for verb, topic in TOPICS.items():
        assert verb in VERBS
        assert topic in topics()
    done = debugrun("help", "export")
    assert "More: debugrun help manifests" in done.stdout
    assert "\n  debugrun export perf --to beats\n" in done.stdout


@pytest.mark.parametrize("name", catalog.names())
def test_the_help_of_a_tool_shows_its_modes_and_lines_that_are_taken(name: str) -> None:
    tool = catalog.load(name)
    text = tool_help.text(tool)
    for mode in (*tool.modes, *(launch.mode for launch in tool.launches)):
        assert f"  {mode.name}" in text
    assert tool.examples
    for typed_line, _ in tool.examples:
        line = typed_line
        if line.startswith("gdb -ex"):
            line = line.removeprefix("gdb -ex 'target remote | ").removesuffix("'")
        words = shlex.split(line.partition(" >")[0])[1:]
        at = words.index("--") if "--" in words else len(words)
        typed, behind = words[:at], tuple(words[at + 1 :])
        group = typer.main.get_command(application(typed, behind))
        command = getattr(group, "commands", {typed[0]: group})[typed[0]]
        assert command.make_context(typed[0], typed[1:], obj=behind)
        assert name in typed[:2]


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_the_help_of_a_tool_breaks_at_words(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    tools = [catalog.load(name) for name in catalog.names()]
    words = {word for tool in tools for pair in tool.examples for word in " ".join(pair).split()}
    lines = [line for tool in tools for line in tool_help.text(tool).splitlines()]
    indented = [line for line in lines if line.startswith("  ")]
    assert all(len(line) <= min(columns, 100) - 4 or max(map(len, line.split())) > columns // 2 for line in indented)
    assert words <= {word for line in lines for word in line.split()}


def test_a_container_alone_is_answered_with_what_can_be_done_to_it() -> None:
    error = first_words.unknown("shop", {*VERBS, *catalog.names()}, lambda: ("shop",))
    assert error.message.startswith("shop is a container")
    assert error.hint == "debugrun ps shop, debugrun stacks shop, debugrun gdb shop, debugrun strace shop"
    assert "container" not in first_words.unknown("shop", VERBS, lambda: ("other",)).message
