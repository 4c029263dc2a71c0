"""A CPU profile: read from perf's words, counted, and written for other programs and for eyes."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debugrun.core.oncall import flame, profile
from debugrun.core.oncall.profile import Frame, Profile

PRINTED = """\
worker       7/7    \x20
\t    55d0c2f1a1c2 work (/opt/app/worker)
\t    55d0c2f1a1ff serve (inlined)
\t    55d0c2f1a200 main (/opt/app/worker)
\t    7f0000001000 __libc_start_main+0x80 (/usr/lib/x86_64-linux-gnu/libc.so.6)

a b (c)      7/9    \x20
\t    ffffffff8100 do_syscall_64 ([kernel.kallsyms])
\t    7f0000002000 [unknown] ([unknown])
\t    7f0000003000 py::handle:/app.py (/tmp/perf-1.map)

worker       7/7    \x20
\t    55d0c2f1a1c2 operator()(int) const (/opt/app/worker (deleted))

"""


def test_samples_are_read() -> None:
    found = profile.parse(PRINTED)
    assert found.total == 3
    assert found.has_kernel
    stacks = {thread: [(f.function, f.module) for f in frames] for thread, frames in found.stacks if len(frames) > 1}
    assert stacks["worker"][-1] == ("work", "worker")
    assert stacks["worker"][0] == ("__libc_start_main", "libc.so.6")
    assert stacks["a b (c)"] == [
        ("py::handle:/app.py", "perf-1.map"), ("[unknown]", "[unknown]"), ("do_syscall_64", "[kernel.kallsyms]"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n\n\n", "no sample at all\n", "\t   55 half a frame\n\n"])
def test_what_is_no_sample_counts_nothing(text: str) -> None:
    assert profile.parse(text).total == 0


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("[kernel.kallsyms]", "kernel"),
        ("libc.so.6", "libc"),
        ("ld-linux-x86-64.so.2", "libc"),
        ("python3.13", "interpreter"),
        ("libjvm.so", "interpreter"),
        ("perf-12.map", "generated"),
        ("[unknown]", "unknown"),
        ("", "unknown"),
        ("libcurl.so.4", "target"),
        ("worker", "target"),
    ],
)
def test_modules_have_colours(module: str, kind: str) -> None:
    assert profile.kind(module) == kind


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
STACKS = st.dictionaries(
    st.tuples(NAMES, st.lists(st.builds(Frame, NAMES, NAMES), max_size=5).map(tuple)), st.integers(1, 99), max_size=8
)


@settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
@given(STACKS)
def test_every_file_has_all_samples(stacks: dict[tuple[str, tuple[Frame, ...]], int]) -> None:
    found = Profile(stacks=stacks)
    assert sum(int(line.rpartition(" ")[2]) for line in profile.folded(found).split("\n") if line) == found.total
    assert sum(json.loads(profile.speedscope(found, ""))["profiles"][0]["weights"]) == found.total
    assert data_of(flame.page(found, "x"))["root"][3] == found.total
    ET.fromstring(flame.svg(found, "x"))  # noqa: S314 - our own
    assert profile.unfolded(profile.folded(found)).total == found.total
    assert sum(count for _, count in profile.hottest(found)) == found.total


def data_of(page: str) -> dict[str, Any]:
    matched = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert matched
    found: dict[str, Any] = json.loads(matched[1])
    return found


HOSTILE = "</script><img src=x onerror=alert(1)>&\u2028{{DATA}}"


def test_names_of_the_target_cannot_become_part_of_the_page() -> None:
    found = Profile(stacks={(HOSTILE, (Frame(HOSTILE, HOSTILE),)): 1})
    page = flame.page(found, HOSTILE)
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert data_of(page)["root"][5][0][0] == HOSTILE
    assert "<img" not in flame.svg(found, HOSTILE)
    assert "default-src 'none'" in page


def test_a_page_takes_nothing_from_elsewhere() -> None:
    assert re.findall(r"(?:src|href)=[\"'](?!data:)[^\"']*", flame.page(profile.parse(PRINTED), "x")) == []
    assert "://" not in flame.page(profile.parse(PRINTED), "x")


def test_very_deep_stacks_are_drawn_as_far_as_anybody_looks() -> None:
    found = Profile(stacks={("deep", tuple(Frame(f"f{depth}", "m") for depth in range(2000))): 3})
    assert data_of(flame.page(found, "x"))["root"][3] == 3
    assert flame.svg(found, "x").count("<rect") == profile.DEPTH + 3


def test_a_profile_is_compared_by_its_share() -> None:
    now = Profile(stacks={("t", (Frame("a", ""),)): 30, ("t", (Frame("b", ""),)): 70})
    before = Profile(stacks={("t", (Frame("a", ""),)): 5, ("t", (Frame("c", ""),)): 5})
    root = data_of(flame.page(now, "x", before=before))["root"]
    assert {each[0]: (each[3], each[4]) for each in root[5][0][5]} == {"a": (30, 50), "b": (70, 0), "c": (0, 50)}


@pytest.mark.parametrize("text", ["a;b", "a;b x\n", " 7"])
def test_what_is_no_folded_stack_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a folded stack"):
        profile.unfolded(text)
