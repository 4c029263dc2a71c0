"""The help topic on export and import: its lines are taken, and what it shows is what is printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from debugrun.cli import app

TOPIC = (Path(__file__).parents[2] / "debugrun" / "help" / "manifests.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TOPIC, re.DOTALL)
LINES = [line for _, block in BLOCKS for line in block.splitlines() if line.startswith("debugrun ")]
PROGRAM = Path(sys.executable).with_name("debugrun")


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = line.split()[1:]
    return subprocess.run([PROGRAM, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_topic_is_taken(line: str) -> None:
    words = line.partition(" -- ")[0].replace("'", "").split()[1:]
    words = [word for word in words if word not in {"-qO-", "localhost"}]
    command = typer.main.get_group(app.application(words)).commands[words[0]]
    command.make_context(words[0], words[1:], obj=())  # raises of an option that there is not


def test_the_line_for_marathon_prints_what_the_topic_shows(tmp_path: Path) -> None:
    done = run("debugrun export gdb --to marathon", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["container"]["docker"]["parameters"] == [{"key": "cap-add", "value": "SYS_PTRACE"}]


def test_the_line_for_beats_prints_a_policy_with_the_calls_of_perf(tmp_path: Path) -> None:
    done = run("debugrun export perf --to beats", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seccomp:\n  default_action: errno\n  syscalls:\n    - action: allow\n      names:\n")
    assert "        - perf_event_open\n" in done.stdout


def test_the_review_of_the_dev_container_is_as_shown(tmp_path: Path) -> None:
    manifest = next(block for kind, block in BLOCKS if kind == "json" and "remoteUser" in block)
    shown = next(block for kind, block in BLOCKS if not kind and "+++ b/devcontainer.json" in block)
    (tmp_path / "devcontainer.json").write_text(manifest)
    done = run("debugrun import --check devcontainer.json", tmp_path)
    assert done.returncode == 1
    assert done.stdout == shown
    written = run("debugrun import --write devcontainer.json", tmp_path)
    assert written.returncode == 0
    assert run("debugrun import --check devcontainer.json", tmp_path).returncode == 0
    assert json.loads((tmp_path / "debugrun.json").read_text())["syscalls"]
    assert "// gdb needs this" in (tmp_path / "devcontainer.json").read_text()


def test_without_the_extra_the_line_to_install_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("services: {}\n")
    code = (
        "import sys; sys.modules['ruamel.yaml'] = None; sys.modules['ruamel'] = None\n"
        "sys.argv = ['debugrun', 'import', 'a.yaml']; import debugrun.__main__ as m; m.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert "pip install 'debugrun[export]'" in done.stderr
