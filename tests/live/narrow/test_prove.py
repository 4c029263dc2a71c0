"""`plan --prove`: each part of what is granted is shown to be needed, on the target itself."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Completed

pytestmark = pytest.mark.live
Run = Callable[..., Completed]


@pytest.mark.parametrize(
    ("tool", "service", "parts"),
    [
        ("gdb", "u1000", set()),
        ("gdb", "undump1000", {"SYS_PTRACE", "root"}),
        ("perf", "u1000", {"system call perf_event_open"}),
    ],
)
def test_each_part_that_is_granted_is_needed(  # noqa: PLR0913, PLR0917 - a tool on a target
    debugrun: Run,
    target: Callable[[str], str],
    assert_harmless: Callable[[str], None],
    tool: str,
    service: str,
    parts: set[str],
    toolbox: str,
) -> None:
    assert toolbox
    done = debugrun("plan", tool, target(service), "--via", "sidecar", "--prove", "--json", timeout=180, status=0)
    found = json.loads(done.stdout)
    assert found["works"]
    assert parts <= {each["without"] for each in found["parts"]}
    assert all(each["needed"] and each["said"] for each in found["parts"])
    assert [each["without"] for each in found["parts"] if each["works"]] in ([], ["KILL"])  # shown by the rule only
    assert_harmless(target(service))
