"""`debugrun memory` on real containers: a sidecar reads what the host reads, and the page fits."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from debugrun.engine.engine import connect
from debugrun.observe import hostproc
from debugrun.oncall import look, memory
from debugrun.oncall.ground import OfEngine

pytestmark = pytest.mark.live

Completed = subprocess.CompletedProcess[str]


def test_a_sidecar_reads_what_the_host_reads(
    toolbox: str,
    target: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    assert_harmless: Callable[[str], None],
    debugrun: Callable[..., Completed],
) -> None:
    assert toolbox
    name = target("multiuid")
    told = json.loads(debugrun("memory", name, "--json", status=0).stdout)
    here = {each["pid"]: {kind["name"] for kind in each["kinds"]} for each in told["processes"]}
    with connect() as engine:
        ground = OfEngine(engine)
        chosen = ground.choose([name], None, everything=False)
        there = look.sent(ground.backend, ground.facts(chosen.containers[0]), "x86_64")
        monkeypatch.setattr(hostproc, "is_local", lambda *_: False)
        found = memory._read(ground, chosen.containers[0], there.processes)  # noqa: SLF001 - the other way
    assert {pid: {kind.name for kind in each.kinds} for pid, each in found.items()} == here
    assert all(each.error == "" and each.rss > 100_000 for each in found.values())
    assert_harmless(name)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_page_fits(columns: int, target: Callable[[str], str], debugrun: Callable[..., Completed]) -> None:
    page = debugrun("memory", target("u1000"), status=0, COLUMNS=str(columns)).stdout
    assert max(len(line) for line in page.splitlines()) <= columns, page
    assert "program and libraries" in page
