"""`debugrun core` on real containers: gdb reads the core elsewhere, by the bundle alone, and the target goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]


@pytest.mark.parametrize("name", ["u1000", "rootcap"])
def test_a_core_opens_elsewhere_with_its_bundle(  # noqa: PLR0913, PLR0917 - fixtures
    name: str,
    engine: docker.APIClient,
    toolbox: str,
    target: Callable[[str], str],
    debugrun: Callable[..., Completed],
    assert_harmless: Callable[[str], None],
    tmp_path: Path,
) -> None:
    output = tmp_path / "a core"
    done = debugrun("core", target(name), "-o", str(output), status=0, timeout=120)
    assert "3 threads" in done.stdout
    assert "stood still for" in done.stdout
    assert_harmless(target(name))
    lines = [line for line in done.stdout.splitlines() if not line.startswith(str(output))]
    script = "\n".join([*lines[:-1], f"{lines[-1]} -nx -batch -ex 'thread apply all bt' -ex 'print ticks'"])
    script = script.replace(str(tmp_path), "/core")
    mounted = engine.create_host_config(binds=[f"{tmp_path}:/core"], network_mode="none")
    made = engine.create_container(toolbox, ["-c", script], entrypoint=["/bin/sh"], host_config=mounted, user="0:0")
    try:
        engine.start(made)
        engine.wait(made, timeout=120)
        said = engine.logs(made).decode()
    finally:
        engine.remove_container(made, force=True)
    assert said.count(" work (step=") == 3, said
    assert "name=0x" in said
    assert "$1 = 0" not in said
    assert "$1 = " in said, said


def test_what_cannot_be_written_is_said_before_anybody_stands_still(
    target: Callable[[str], str], debugrun: Callable[..., Completed], tmp_path: Path
) -> None:
    done = debugrun("core", target("u1000"), "-o", str(tmp_path / "no" / "folder"), status=2)
    assert "there is no folder" in done.stderr
    assert "sidecar" not in done.stderr
