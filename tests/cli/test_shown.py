"""The commands of README and the help that need no engine are run, on recorded facts, and print what the texts show."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer.main

from debugrun.cli import app as cli
from debugrun.core.know import facts
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.errors import EXIT_REFUSED, DebugrunError
from tests import TESTS
from tests.cases import PLAIN

ROOT = TESTS.parent
TEXTS = [ROOT / "README.md", *sorted((ROOT / "debugrun/help").glob("*.md"))]
DECIDING = {"plan", "why", "judge", "export"}  # take --facts in place of a container
ALONE = {"help", "import", "syscalls", "tools"}
ELSEWHERE = {"--prove", "...", "pod/web"}  # need what no file holds
MANIFEST = """\
services:
  web:
    image: app
    cap_add: [SYS_PTRACE]
    security_opt: [seccomp=unconfined]
"""


def shown() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(file, command, the lines that the text shows under it) of each command that runs without an engine."""
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        found: dict[str, tuple[str, ...]] = {}
        for fence in re.findall(r"(?ms)^```\w*\n(.*?)^```", text):
            for part in re.split(r"(?m)^\$ ", fence):
                line, *output = part.splitlines() or [""]
                if line.startswith("debugrun "):
                    found.setdefault(line, tuple(each for each in output if each and not each.startswith("debugrun ")))
        prose = " ".join(re.sub(r"(?ms)^```.*?^```", "", text).split())
        found |= {line: () for line in re.findall(r"`(debugrun [^`]+)`", prose) if line not in found}
        for line, output in found.items():
            words = command(line)
            taken = words and words[0] in DECIDING | ALONE and not set(words) & ELSEWHERE and len(words) > 1
            if (taken or words in (["tools"], ["syscalls"], ["help"])) and "[" not in line and "TOPIC" not in line:
                yield path.name, line, output


def command(line: str) -> list[str]:
    return shlex.split(re.sub(r"\s+#.*|\s{2,}.*|\s*[|;>].*", "", line))[1:]


def arguments(words: list[str], folder: Path) -> list[str]:
    """The words with files in place of what an engine would tell."""
    if words[0] in DECIDING:
        vault = "vault" in words
        other: dict[str, Any] = (
            {} if vault else {"uids": (1000,) * 4, "gids": (1000,) * 4, "permitted": (), "effective": ()}
        )
        told = dataclasses.replace(
            PLAIN,
            engine=dataclasses.replace(
                PLAIN.engine, version="20.10.24", capabilities=tuple(sorted({*CAPABILITIES} - {"SYS_RESOURCE"}))
            ),
            container=dataclasses.replace(PLAIN.container, name="vault" if vault else "web"),
            process=dataclasses.replace(PLAIN.process, dumpable=not vault, **other),
        )
        (folder / "facts.json").write_text(facts.dump(told))
        kept = [each for each in words if each not in {"web", "vault"}]
        return kept if "--facts" in kept else [*kept, "--facts", "facts.json"]
    if words[0] == "import":
        (folder / "compose.yaml").write_text(MANIFEST)
        (folder / "devcontainer.json").write_text('{"image": "app", "capAdd": ["SYS_PTRACE"]}')
        return ["compose.yaml" if each == "FILE" else each for each in words]
    if words == ["syscalls"] or words[0] == "syscalls":
        return [*words, "--engine", "docker:20.10.24"]
    return words


@contextmanager
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    monkeypatch.setenv("DEBUGRUN_TOOLS", str(folder))
    monkeypatch.setenv("COLUMNS", "120")
    (folder / "app.json").write_text("{}")
    yield


def shape(text: str) -> str:
    """A text without its sources, its line breaks, numbers, and what else is another one on another host."""
    return " ".join(re.sub(r"\d+(\.\d+)*(\+\w+)?", "N", re.sub(r" \[[^\]]*\]", "", text)).split())


@pytest.mark.parametrize("case", list(shown()), ids=lambda case: f"{case[0]}-{case[1]}")
def test_a_command_of_the_texts_runs_and_prints_what_they_show(
    case: tuple[str, str, tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, line, output = case
    words = command(line)
    with place(tmp_path, monkeypatch):
        typed = cli.meant(arguments(words, tmp_path), tmp_path)
        status = 0
        try:
            group = typer.main.get_command(cli.application(typed))
            status = group.main(args=typed, prog_name="debugrun", standalone_mode=False) or 0
        except DebugrunError as error:
            pytest.fail(f"{name}: {line}: {error.message}; {error.hint}")
    printed = capsys.readouterr().out
    assert status in {0, EXIT_REFUSED, *({1} if "--check" in words else ())}, f"{name}: {line}"
    written = {each.name for each in tmp_path.iterdir()} - {
        "facts.json",
        "app.json",
        "compose.yaml",
        "devcontainer.json",
    }
    assert printed.strip() or written or "--write" in words
    there = shape(printed)
    assert [each for each in output if shape(each).partition("...")[0].strip() not in there] == [], f"{name}: {line}"


def test_the_commands_that_are_run_are_not_few() -> None:
    assert len(list(shown())) >= 30
