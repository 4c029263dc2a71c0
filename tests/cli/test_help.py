"""README and the help topics: short, complete, and no command in them that the command line does not take."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
import typer.main

from debugrun.cli import help as topics
from debugrun.cli.app import VERBS, application
from tests import TESTS

ROOT = TESTS.parent
TEXTS = [ROOT / "README.md", *sorted((ROOT / "debugrun/help").glob("*.md"))]
PLACEHOLDERS = {"TOOL": "gdb", "TOPIC": "engines", "PID": "1", "N": "1", "SECONDS": "1", "FORMAT": "compose"}


def commands(text: str) -> list[str]:
    """The debugrun lines of a text: in fences, and between backticks. Those with [optional parts] are synopses."""
    fences = "\n".join(re.findall(r"(?ms)^```\w*\n(.*?)^```", text)).replace("\\\n", " ")
    lines = re.findall(r"(?m)^(?:\$ )?(debugrun [a-z-].*)$", fences)
    prose = re.sub(r"(?ms)^```.*?^```", "", text)
    found = [*lines, *re.findall(r"`(debugrun [^`]+)`", " ".join(prose.split()))]
    return [each for each in found if "[" not in each and not each.startswith(("debugrun: ", "debugrun TOOL"))]


CASES = [(path.name, line) for path in TEXTS for line in dict.fromkeys(commands(path.read_text(encoding="utf-8")))]


@pytest.mark.parametrize(("name", "line"), CASES, ids=[f"{name}-{line}" for name, line in CASES])
def test_every_command_in_readme_and_help_is_one_that_debugrun_takes(name: str, line: str) -> None:
    words = shlex.split(re.sub(r"\s+#.*|\s{2,}.*|\s*[|;>].*| \.\.\.$", "", line))[1:]
    words = [PLACEHOLDERS.get(each, each) for each in words]
    at = words.index("--") if "--" in words else len(words)
    typed, behind = words[:at], tuple(words[at + 1 :])
    if not typed or typed[0].startswith("-") or (typed in ([typed[0]], [typed[0], "--help"]) and typed[0] in VERBS):
        return  # an option of debugrun itself, or a verb by its name
    if typed[:1] == ["help"] and len(typed) == 2:
        assert typed[1] in {*topics.topics(), topics.MAN}, f"{name}: {line}"
        return
    group = typer.main.get_command(application(typed, behind))
    command = getattr(group, "commands", {typed[0]: group})[typed[0]]
    assert command.make_context(typed[0], typed[1:], obj=behind), f"{name}: {line}"


def test_readme_is_a_screen_or_two_and_says_where_to_read_on() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    assert "`debugrun help` lists" in readme


def test_every_file_that_the_documents_name_is_there() -> None:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *TEXTS[1:]]:
        text = path.read_text(encoding="utf-8")
        named = {*re.findall(r"\]\(([^)#:]+)\)", text), *re.findall(r"`((?:debugrun|tests)/[\w./-]+)`", text)}
        named = {each for each in named if not re.search("NAME|ROOM|PROMISE|TOPIC", each)}
        missing = [each for each in named if not ((ROOT / each).exists() or (path.parent / each).exists())]
        assert missing == [], path.name


def test_the_topics_are_listed_and_each_is_shown_plain_when_piped() -> None:
    listed = debugrun("help")
    for name, title in topics.topics().items():
        assert f"`debugrun help {name}`: {title}" in listed
        assert title
    assert debugrun("help", "limits") == (ROOT / "debugrun/help/limits.md").read_text(encoding="utf-8")


def test_the_manual_page_names_every_verb_and_topic() -> None:
    page = debugrun("help", "man")
    assert page.startswith(".TH DEBUGRUN 1 ")
    for name in VERBS:
        assert f"\n.B {name}\n" in page
    assert page.count(".B debugrun help ") == len(topics.topics())


def debugrun(*args: str) -> str:
    command = [sys.executable, "-m", "debugrun", *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
