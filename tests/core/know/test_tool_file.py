"""Tool files: the shipped ones are right, and the checker names file and key of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from debugrun.core.know import gates, tool_file
from debugrun.core.rules import kernel
from debugrun.errors import ToolError
from debugrun.toolbox import catalog
from tests.cases import NOBODYS_FOLDER

GOOD = """
schema = 1
name = "peek"
summary = "look"
binary = "peek"
default_mode = "attach"
[modes.attach]
summary = "look once"
command = ["peek", "{pid}", "{args}"]
[[modes.attach.needs]]
gate = "ptrace-read"
why = "look"
"""


@pytest.mark.parametrize("name", catalog.names())
def test_a_shipped_tool_is_right(name: str) -> None:
    tool = catalog.load(name, NOBODYS_FOLDER)
    assert tool.name == name
    assert tool.mode(None).needs if tool.modes else tool.launches


def test_the_tools_that_are_promised_are_shipped() -> None:
    assert {"gdb", "strace", "perf", "gdbserver", "ltrace", "py-spy", "tcpdump"} <= set(catalog.names())


def test_every_gate_has_a_rule() -> None:
    assert set(kernel.CAPABILITIES) == gates.GATES


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema = 1", "schema = 2", "schema: this version reads 1"),
        ('name = "peek"', "", "name: missing"),
        ('name = "peek"', "name = 7", "name: expected str, found int"),
        ('gate = "ptrace-read"', 'gate = "magic"', "modes.attach.needs[0].gate: 'magic' is none of"),
        ('"{pid}"', '"{host}"', "modes.attach.command: {host} is none of"),
        ('why = "look"', 'why = "look"\noptional = true', "modes.attach.needs[0].lost: an optional need says"),
        ('why = "look"', 'why = "look"\ncalls = ["ptrace(x)"]', "modes.attach.needs[0].calls: 'ptrace(x)' is not"),
        ('default_mode = "attach"', 'default_mode = "run"', "default_mode: no such mode: run"),
        ('binary = "peek"', 'binary = "peek"\nsurprise = 1', "surprise: unknown key"),
        ('binary = "peek"', 'binary = "peek"\nfile_capabilities = [["cap_x"]]', "file_capabilities[0]: 'cap_x' is not"),
        ('binary = "peek"', 'binary = "peek"\nstop_signal = "INT KILL"', "stop_signal: 'INT KILL' is neither"),
        ('binary = "peek"', 'binary = "peek"\nstop_signal = "INT CONT"', "stop_signal: 'INT CONT' is neither"),
        ("schema = 1", "schema = = 1", "not TOML"),
        ('binary = "peek"', 'binary = "../peek"', "binary: '../peek' is not the plain name of a program"),
        *(
            ('binary = "peek"', f'binary = "peek"\npackages = {{ debian = ["{name}"] }}', "is not the name of a Debian")
            for name in ("-oAcquire::http::Proxy-Auto-Detect=/x", "gdb=1", "gdb/sid", "gdb-", "a b", "$(id)", "a;b")
        ),
        *(
            ('binary = "peek"', f'binary = "peek"\npackages = {{ pypi = ["{name}"] }}', "is not pinned")
            for name in ("py-spy", "py-spy==1", "-r/x", "--index-url=http://x", f"py-spy sha256:{'0' * 64}")
        ),
    ],
)
def test_a_wrong_file_is_named_with_its_key(old: str, new: str, says: str) -> None:
    tool_file.parse(GOOD, "peek.toml")
    with pytest.raises(ToolError) as caught:
        tool_file.parse(GOOD.replace(old, new, 1), "peek.toml")
    assert caught.value.message.startswith("peek.toml: ")
    assert says in caught.value.message


def test_a_users_own_file_goes_first(tmp_path: Path) -> None:
    (tmp_path / "gdb.toml").write_text(GOOD.replace("peek", "gdb").replace("look once", "mine"))
    (tmp_path / "peek.toml").write_text(GOOD)
    assert catalog.load("gdb", tmp_path).mode(None).summary == "mine"
    assert "peek" in catalog.names(tmp_path)


def test_an_unknown_tool_offers_near_names() -> None:
    with pytest.raises(ToolError, match="no data file for tool 'gbd'") as caught:
        catalog.load("gbd", NOBODYS_FOLDER)
    assert "gdb" in caught.value.hint
    assert caught.value.status == 127


def test_large_and_rare_tools_stay_out_of_the_default_toolbox() -> None:
    apart = {name for name in catalog.names() if not catalog.load(name, NOBODYS_FOLDER).toolbox}
    assert apart == {"lldb", "rr", "bpftrace", "delve", "jattach", "unshare", "valgrind"}


def test_no_toolbox_is_a_key_of_the_file() -> None:
    assert not tool_file.parse(GOOD.replace("schema = 1", "schema = 1\ntoolbox = false"), "peek.toml").toolbox
    with pytest.raises(ToolError, match="toolbox: expected bool"):
        tool_file.parse(GOOD.replace("schema = 1", 'schema = 1\ntoolbox = "no"'), "peek.toml")
