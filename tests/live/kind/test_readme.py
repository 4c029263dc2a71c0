"""The first screen of README takes a newcomer to a backtrace: its commands are run, and print what it shows."""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Callable, Iterator

import docker
import pytest

from tests import TESTS
from tests.conftest import Completed

pytestmark = pytest.mark.live

SCREEN = re.search(r"(?ms)^```\n(\$ docker run .*?)^```", (TESTS.parent / "README.md").read_text(encoding="utf-8"))
MOVING = r"0x[0-9a-f]+|\d+"  # addresses, numbers


def shown(program: str) -> tuple[list[str], list[str]]:
    """The words of the command `debugrun PROGRAM ...` on the first screen, and the lines that it prints there."""
    assert SCREEN is not None
    for part in SCREEN[1].split("\n$ "):
        line, *output = part.strip().splitlines()
        if line.startswith(f"debugrun {program}"):
            return shlex.split(line, comments=True)[1:], [each for each in output if each]
    pytest.fail(f"README's first screen has no debugrun {program}")


def shape(line: str) -> str:
    """A line without what is another one every time."""
    return re.sub(MOVING, "N", line)


@pytest.fixture
def web(engine: docker.APIClient, target: Callable[[str], str]) -> Iterator[str]:
    image = engine.inspect_container(target("root"))["Image"]
    name = f"web-{uuid.uuid4().hex[:8]}"
    made = engine.create_container(image, user="1000:1000", name=name)
    try:
        engine.start(made["Id"])
        yield name
    finally:
        engine.remove_container(made["Id"], force=True)


def test_the_first_backtrace_of_readme(web: str, toolbox: str, debugrun: Callable[..., Completed]) -> None:
    assert toolbox
    words, expected = shown("gdb web")
    done = debugrun(*[web if word == "web" else word for word in words], status=0)
    said = shape(done.stderr.splitlines()[0])
    assert said.partition(", Yama")[0] == shape(expected[0]).partition(", Yama")[0]
    printed = {re.sub(r"^#N +(N in )?", "", shape(line)) for line in done.stdout.splitlines()}
    ours = [re.sub(r"^#N +(N in )?", "", shape(line)) for line in expected[1:] if "worker.c" in line]
    assert ours
    assert {each.partition(" (")[0] for each in ours} <= {each.partition(" (")[0] for each in printed}
    assert shape(expected[-1]) in {shape(line) for line in done.stdout.splitlines()}


def test_the_first_why_of_readme(target: Callable[[str], str], debugrun: Callable[..., Completed]) -> None:
    words, expected = shown("why gdb vault")
    vault = target("undump")
    done = debugrun(*[vault if word == "vault" else word for word in words], status=0)
    lines = done.stdout.splitlines()
    told = [line.partition(":")[0] for line in expected if line.startswith(("stopped", "narrowest", "  not"))]
    assert set(told) <= {line.partition(":")[0] for line in lines}
    assert any(line.startswith("narrowest fix: sidecar as 0:0, SYS_PTRACE") for line in lines)
