"""Recipe and root file system of the toolbox, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from debugrun.cli.toolbox import chosen
from debugrun.errors import ToolError
from debugrun.toolbox import catalog, rootfs
from debugrun.toolbox.image import LEAVE_OUT, recipe
from tests import TESTS
from tests.cases import NOBODYS_FOLDER

TOOLS = [catalog.load(name) for name in catalog.names()]


def test_a_recipe_holds_what_the_tool_files_ask_for() -> None:
    made = recipe(TOOLS)
    assert {"gdb", "strace", "linux-perf", "busybox-static"} <= set(made.debian)
    assert [each.partition("==")[0] for each in made.pypi] == ["py-spy"]  # pinned, with digests
    assert ("/usr/lib/debugrun/caps/sys_ptrace/gdb", "gdb", 1 << 19) in made.copies
    assert ("/usr/lib/debugrun/caps/perfmon+sys_ptrace/perf", "perf", 1 << 38 | 1 << 19) in made.copies


def test_one_set_of_tools_is_one_image_in_any_order() -> None:
    assert recipe(TOOLS).tag == recipe(reversed(TOOLS)).tag
    assert recipe(tool for tool in TOOLS if tool.name != "strace").tag != recipe(TOOLS).tag


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("./bin/busybox", "usr/bin/busybox"),
        ("./usr/bin/gdb", "usr/bin/gdb"),
        ("./lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("./lib/", "usr/lib"),
        ("./library/x", "library/x"),
        ("./", ""),
        ("../../etc/passwd", "etc/passwd"),
    ],
)
def test_files_of_packages_land_below_usr(name: str, place: str) -> None:
    assert rootfs.merged(name) == place


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("usr/share/doc/gdb/README", False),
        ("usr/share/man/man1/gdb.1.gz", False),
        ("usr/share/perl/5.40.1/strict.pm", False),
        ("usr/lib/x86_64-linux-gnu/libperl.so.5.40", True),
        ("usr/share/gdb/python/gdb/__init__.py", True),
        ("usr/bin/perf", True),
    ],
)
def test_what_no_tool_loads_is_left_out(name: str, *, kept: bool) -> None:
    assert (LEAVE_OUT.match(name) is None) == kept


@pytest.mark.parametrize(
    ("wanted", "holds", "lacks"),
    [
        ((), {"gdb"}, {"lldb", "delve", "valgrind"}),
        (("lldb", "delve"), {"gdb", "lldb", "delve"}, {"valgrind", "bpftrace"}),
        (("all",), {"gdb", "lldb", "delve", "valgrind", "bpftrace", "rr", "jattach"}, set[str]()),
    ],
)
def test_tools_that_it_leaves_out_come_in_by_name(wanted: tuple[str, ...], holds: set[str], lacks: set[str]) -> None:
    made = recipe(chosen(NOBODYS_FOLDER, wanted))
    assert holds <= set(made.debian)
    assert not lacks & set(made.debian)
    assert made.tag != recipe(TOOLS).tag or not wanted


def test_what_no_package_has_can_not_be_put_in(tmp_path: Path) -> None:
    text = (TESTS.parent / "debugrun/data/tools/lsof.toml").read_text()
    (tmp_path / "own.toml").write_text(text.replace('"lsof"', '"own"').replace('[packages]\ndebian = ["own"]\n', ""))
    for name, code in (("own", "no-package"), ("nosuch", "no-such-tool")):
        with pytest.raises(ToolError) as caught:
            chosen(tmp_path, (name,))
        assert caught.value.code == code
