"""The live tests on other engines, one after the other: `python -m tests.host.matrix [ENGINE...] [-- ARGUMENTS]`.

Without names: all. ARGUMENTS go to pytest. Images come from the engine in reach, where they were made; each engine is
ended afterwards. The last lines count what passed on each, and are the rows of README's table of what tools take there;
the status is 1 when anything failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from debugrun.toolbox import catalog
from debugrun.toolbox import image as toolbox
from tests.host import engine, engines, images
from tests.host.state import HostError, folder

ENGINES = (
    "docker-20.10", "docker-26.1", "docker-28.5", "docker-28.5-remap", "docker-28.5-rootless",
    "podman-4.3", "podman-5.4", "podman-5.8", "podman-5.8-runc", "podman-5.8-rootless",
)  # fmt: skip
# What depends on the engine: who gives what, which facts it tells, how its streams and its containers end.
TESTS = tuple(
    f"tests/live/{name}.py"
    for name in (
        "narrow/test_main_job",
        "true/test_judge",
        "harmless/test_attach",
        "harmless/test_lease",
        "true/test_observe",
        "true/test_verbs",
    )
)
SHOWN = ("gdb", "strace", "perf", "py-spy", "tcpdump")  # tools of the table
ANSWERS_WITHIN = 600  # seconds to take in all images
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What came of the tests on one engine; `failed` are their names, `takes` what each tool takes of it."""

    engine: str
    version: str
    passed: int
    skipped: int
    failed: tuple[str, ...]
    seconds: float
    takes: tuple[str, ...]

    def row(self) -> str:
        """Of the table."""
        return f"| {' | '.join((self.engine, *self.takes))} |"

    def __str__(self) -> str:
        text = f"{self.engine} ({self.version}): {self.passed} passed, {len(self.failed)} failed"
        return f"{text}, {self.skipped} skipped in {self.seconds:.0f} s" + "".join(
            f"\n    {each}" for each in self.failed
        )


def run(name: str, arguments: Sequence[str]) -> Run:
    """Run the tests on that engine. Raises HostError: it can't be had here."""
    began = time.monotonic()
    report = folder() / f"{name}.xml"
    with brought_up(name) as host:
        with contextlib.closing(docker.APIClient(host, timeout=60)) as client:
            version = str(client.version()["Version"])
        words = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "-p", "no:cacheprovider"]
        chosen = arguments or ("-m", "not slow", *TESTS)
        subprocess.run([*words, *chosen], env={**os.environ, "DOCKER_HOST": host}, check=False)
        takes = taken(host)
    cases = list(ET.parse(report).getroot().iter("testcase")) if report.exists() else []  # noqa: S314 - pytest's own
    report.unlink(missing_ok=True)
    skipped = sum(each.find("skipped") is not None for each in cases)
    failed = tuple(
        f"{each.get('classname')}::{each.get('name')}"
        for each in cases
        if each.find("failure") is not None or each.find("error") is not None
    )
    return Run(
        engine=name,
        version=version,
        passed=len(cases) - len(failed) - skipped,
        skipped=skipped,
        failed=failed if cases else ("pytest itself",),
        seconds=time.monotonic() - began,
        takes=takes,
    )


def taken(host: str) -> tuple[str, ...]:
    """What each tool takes there beyond what the target has, for a target that is root, and for one that is not."""
    doctor = [str(Path(sys.executable).with_name("debugrun")), "doctor", "--json"]
    done = subprocess.run(doctor, env={**os.environ, "DOCKER_HOST": host}, check=False, capture_output=True)
    rows = json.loads(done.stdout)["tools"]
    cells = ((str(rows[tool][kind]["takes"]) for kind in ("root", "uid 1000")) for tool in SHOWN)
    return tuple(" / ".join(dict.fromkeys(each)) for each in cells)


@contextlib.contextmanager
def brought_up(name: str) -> Iterator[str]:
    """The DOCKER_HOST of that engine, with the images of the engine in reach; ended afterwards if it was not there."""
    there = engines.running(name)
    host = engines.up(name)
    try:
        supply(host)
        yield host
    finally:
        if not there:
            engines.down(name)


def supply(host: str) -> None:
    """Give an engine the toolbox and the images of the targets, as the engine in reach has them."""
    source = docker.from_env(timeout=ANSWERS_WITHIN, environment=_reached()).api
    sink = docker.APIClient(host, timeout=ANSWERS_WITHIN)
    with contextlib.closing(source), contextlib.closing(sink):
        images.build(source)
        wanted = toolbox.build(source, toolbox.recipe(catalog.load(each) for each in catalog.names()), print)
        names = [wanted, f"{toolbox.REPOSITORY}:latest", *images.names()]
        missing = [each for each in names if _id(source, each) != _id(sink, each)]
        if missing:
            answer = source.get(f"{source.base_url}/images/get", params={"names": missing}, stream=True)
            answer.raise_for_status()
            for _ in sink.load_image(answer.iter_content(CHUNK)):  # type: ignore[no-untyped-call]
                pass


def _reached() -> dict[str, str]:
    """The environment that leads to the engine in reach."""
    host = engine.find()
    return {**os.environ, **({"DOCKER_HOST": host} if host else {})}


def _id(client: docker.APIClient, name: str) -> str | None:
    for image in client.images(name=name):
        return str(image["Id"])
    return None


def main() -> int:
    """Run what the arguments say."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    names, arguments = tuple(sys.argv[1:split]) or ENGINES, sys.argv[split + 1 :]
    done = []
    for name in names:
        print(f"\n== {name}", flush=True)
        try:
            done.append(run(name, arguments))
        except HostError as error:
            sys.exit(f"matrix: {error}")
    print("\n" + "\n".join(map(str, done)))
    print("\n" + "\n".join(each.row() for each in done))
    return int(any(each.failed for each in done))


if __name__ == "__main__":
    sys.exit(main())
