"""The house rules that no linter holds: import budgets, sizes. The walls between rooms are in pyproject.toml."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "debugrun"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "data" not in path.parts)

LATE = 32  # imports of ours inside functions: for start-up time or an extra; four are for --help of plan, ps, doctor


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def names(path: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    attributes = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    return [*attributes, *(node.id for node in nodes if isinstance(node, ast.Name))]


def test_the_core_reads_no_file_but_its_own_data() -> None:
    core = [path for path in MODULES if "core" in path.parts and path.name != "package_data.py"]
    reading = [path.name for path in core if {"open", "read_text", "read_bytes", "environ"} & set(names(path))]
    assert reading == []


def test_only_the_engine_the_way_to_it_and_its_words_import_docker() -> None:
    importing = [path.name for path in MODULES if "docker" in imports(path)]
    assert importing == ["engine.py", "transport.py", "options.py"]  # options of `run`: docker-py's parsers of options


@pytest.mark.parametrize(
    "code",
    [
        "import debugrun.core.decide.plan",
        (
            "import sys; sys.argv = ['debugrun', '--help']; import debugrun.__main__ as m\n"
            "try: m.main()\nexcept SystemExit: pass"
        ),
    ],
    ids=["planning", "help"],
)
def test_help_and_planning_load_no_heavy_library(code: str) -> None:
    check = "\nimport sys; print(sorted({'docker', 'pexpect', 'rich', 'requests'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", ["gdb", "plan", "ps", "doctor"])
def test_the_help_of_a_verb_loads_no_flow(verb: str) -> None:
    code = (
        f"import sys; sys.argv = ['debugrun', '{verb}', '--help']; import debugrun.__main__ as m\n"
        "try: m.main()\nexcept SystemExit: pass\n"
        "print(sorted({'docker', 'rich', 'debugrun.session', 'debugrun.core.decide.plan'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_modules_and_functions_stay_small() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 350} == {}
    lengths: dict[str, int] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                lengths[f"{path.stem}.{node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    assert {name: length for name, length in lengths.items() if length > 60} == {}
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 30


def test_no_more_than_five_runtime_dependencies() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 5


def test_late_imports_of_ours_are_few_and_each_says_what_it_saves() -> None:
    """A wall is best seen at a file's head: what is imported late is what start-up time or an extra asks for."""
    late: list[str] = []
    unsaid: list[str] = []
    for path in MODULES:
        lines = path.read_text().splitlines()
        nodes = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.FunctionDef)]
        inner = [each for node in nodes for each in ast.walk(node) if isinstance(each, (ast.Import, ast.ImportFrom))]
        for each in {node.lineno: node for node in inner}.values():
            line = lines[each.lineno - 1]
            if isinstance(each, ast.ImportFrom) and str(each.module).partition(".")[0] == "debugrun":
                late.append(f"{path.name}:{each.lineno}")
            said = (other for other in lines[max(0, each.lineno - 7) : each.lineno])
            if "PLC0415" in line and not any("PLC0415 - " in other or other.strip().startswith("# ") for other in said):
                unsaid.append(f"{path.name}:{each.lineno}")
    assert len(late) <= LATE, late
    assert unsaid == []
