"""Every command of the help topic about files of tools is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from debugrun.cli import app

TOPIC = (Path(__file__).parents[2] / "debugrun" / "help" / "output.md").read_text()
LINES = [re.split(r" {2,}", line)[0] for line in TOPIC.splitlines() if line.startswith("debugrun ")]


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_topic_is_taken(line: str) -> None:
    words = shlex.split(line)[1:]
    group = typer.main.get_group(app.application(words))
    command = group.commands[words[0]]
    command.make_context(words[0], words[1:], obj=())  # raises of an option that there is not


def test_the_topic_has_lines() -> None:
    assert len(LINES) >= 9
