"""Nothing is written into a target, whichever tool or verb looks at whichever target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from tests.conftest import Completed

pytestmark = [pytest.mark.live, pytest.mark.slow]

BATCH = ("-batch", "-ex", "info sharedlibrary", "-ex", "bt full")
# A line each of the toolbox's tools, and of the verbs that send sidecars of their own.
LINES: tuple[tuple[str, ...], ...] = (
    ("gdb", "{}", "--", *BATCH),
    ("gdbserver", "{}", "--duration", "1"),
    ("gcore", "{}", "-o", "{folder}/gcore"),
    ("strace", "{}", "--duration", "1", "--", "-f"),
    ("ltrace", "{}", "--duration", "1"),
    ("perf", "{}", "--duration", "1"),
    ("py-spy", "{}"),
    ("lsof", "{}"),
    ("tcpdump", "{}", "--duration", "1"),
    ("facts", "{}"),
    ("plan", "gdb", "{}", "--prove"),
    ("ps", "{}"),
    ("memory", "{}"),
    ("stacks", "{}"),
    ("core", "{}", "-o", "{folder}/core"),
    ("flame", "{}", "--duration", "1"),
)
TARGETS = (
    "root", "u1000", "hard", "rootcap", "rootnocaps", "undump", "undump1000", "lone", "static", "musl", "debuglink",
    "buildid", "trap", "abslink", "abslink2", "python", "owngdb", "owngdb1000", "init", "shinit", "many", "multiuid",
)  # fmt: skip
HELD_IN_MEMORY = ("tmp", "dev", "dev/shm", "run", "var/tmp")  # what the engine's list of changes leaves out


def held(engine: docker.APIClient, container: str) -> list[str]:
    """What differs from the image, and what lies where changes are not listed."""
    root = Path(f"/proc/{engine.inspect_container(container)['State']['Pid']}/root")
    memory = [
        f"{name}/{each.name}" for name in HELD_IN_MEMORY if (root / name).is_dir() for each in (root / name).iterdir()
    ]
    return sorted([*(f"{each['Kind']} {each['Path']}" for each in engine.diff(container) or []), *memory])


@pytest.mark.usefixtures("toolbox")
@pytest.mark.parametrize("name", TARGETS)
def test_no_tool_writes_into_a_target(
    engine: docker.APIClient,
    debugrun: Callable[..., Completed],
    target: Callable[[str], str],
    tmp_path: Path,
    name: str,
) -> None:
    container = target(name)
    before = held(engine, container)
    worked = []
    for number, line in enumerate(LINES):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = debugrun(*(word.format(container, folder=folder) for word in line), timeout=180)
        assert "this is a bug" not in done.stderr, done
        assert held(engine, container) == before, line
        worked += [line[0]] if done.returncode == 0 else []
    assert {"lsof", "ps", "facts"} <= set(worked), worked
    assert len(worked) > len(LINES) // 2, worked
