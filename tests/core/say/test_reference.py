"""The reference of blocked calls: complete, in step with the profiles, and right about what changed when."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from debugrun.cli import syscalls
from debugrun.core.rules.seccomp import default_profile
from debugrun.core.rules.seccomp.calls import calls
from debugrun.core.say import reference
from debugrun.errors import UsageError
from debugrun.toolbox import catalog
from tests.cases import NOBODYS_FOLDER

# The table of docs.docker.com/engine/security/seccomp.
DOCUMENTED = tuple(
    """
    acct add_key adjtimex bpf clock_adjtime clock_settime clone create_module delete_module finit_module
    get_kernel_syms get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie
    mbind mount move_pages name_to_handle_at nfsservctl open_by_handle_at perf_event_open personality pivot_root
    process_vm_readv process_vm_writev ptrace query_module quotactl reboot request_key set_mempolicy setns
    settimeofday socket socketcall stime swapon swapoff sysfs _sysctl umount umount2 unshare uselib userfaultfd
    ustat vm86 vm86old
    """.split()  # noqa: SIM905 - words
)
# The releases that our table was made from.
RELEASES = ["18.09.9", "19.03.15", "20.10.24", "23.0.6", "24.0.9", "25.0.6", "26.1.5", "27.5.1", "28.5.2", "29.7.2"]
NEWEST = reference.named_engine("docker:29.7.2")


def standing(call: str, release: str) -> reference.Standing:
    engine = reference.named_engine(f"docker:{release}")
    profile = reference.profile_of(engine)
    assert profile is not None
    return reference.standing(reference.entry(call), engine, profile)


def test_every_call_of_the_documentation_is_there() -> None:
    assert set(reference.entries()) == set(DOCUMENTED)
    for entry in reference.entries().values():
        assert entry.call in calls()
        assert entry.why
        assert re.search(r"\w+\(\d\)", entry.source)


@pytest.mark.parametrize("call", DOCUMENTED)
def test_a_call_that_our_newest_profile_allows_says_where_the_documentation_errs(call: str) -> None:
    found = standing(call, "29.7.2")
    if found.bare.passes:
        assert found.entry.correction


@pytest.mark.parametrize("call", DOCUMENTED)
def test_the_history_is_what_each_profile_does(call: str) -> None:
    changes = reference.history(reference.entry(call), NEWEST)
    assert changes[0].since == "18.09"
    for release in RELEASES:
        key = tuple(map(int, release.split(".")))
        latest = [c for c in changes if tuple(map(int, c.since.split("."))) <= key][-1]
        found = standing(call, release)
        assert (latest.allowed, latest.opened_by) == (found.bare.passes, found.opened_by), release


@pytest.mark.parametrize("call", DOCUMENTED)
def test_the_releases_in_the_prose_are_those_where_something_changed(call: str) -> None:
    entry = reference.entry(call)
    changes = {change.since for change in reference.history(entry, NEWEST)}
    if call == "socket":  # two families: AF_ALG is asked about apart
        changes |= {change.since for change in reference.history(reference.entry("socket(38)"), NEWEST)}
    assert set(re.findall(r"\b\d\d\.\d+\b", entry.correction)) <= changes


@pytest.mark.parametrize(
    ("call", "release", "word", "opened_by"),
    [
        ("ptrace", "18.09.9", "blocked: EPERM", ("SYS_PTRACE",)),
        ("ptrace", "19.03.15", "allowed", ()),
        ("process_vm_readv", "20.10.24", "blocked: EPERM", ("SYS_PTRACE",)),
        ("process_vm_readv", "23.0.6", "allowed", ()),
        ("perf_event_open", "20.10.24", "blocked: EPERM", ("SYS_ADMIN",)),
        ("perf_event_open", "28.5.2", "blocked: EPERM", ("SYS_ADMIN", "PERFMON")),
        ("personality(0x40000)", "28.5.2", "blocked: EPERM", ()),
        ("personality(0)", "28.5.2", "allowed", ()),
        ("clone(0)", "28.5.2", "allowed", ()),
        ("socket(38)", "28.5.2", "allowed", ()),
        ("socket(38)", "29.7.2", "blocked: EPERM", ()),
        ("clone3", "28.5.2", "blocked: ENOSYS", ("SYS_ADMIN",)),
        ("adjtimex", "18.09.9", "allowed", ()),
        ("vm86", "28.5.2", "blocked: EPERM", ()),
    ],
)
def test_what_a_release_does(call: str, release: str, word: str, opened_by: tuple[str, ...]) -> None:
    found = standing(call, release)
    assert (found.word, found.opened_by) == (word, opened_by)


def test_blocked_lists_what_passes_for_nobody_and_nothing_else() -> None:
    profile = default_profile("docker", (28, 5, 2))
    assert profile is not None
    engine = reference.named_engine("docker:28.5.2")
    listed = {entry.call for entry in reference.blocked(engine, profile)}
    assert {"mount", "personality", "userfaultfd", "kexec_load"} <= listed
    assert not {"read", "ptrace", "adjtimex", "vm86"} & listed


def test_the_calls_of_a_tool_carry_its_reasons() -> None:
    found = list(reference.of_tool(catalog.load("rr", NOBODYS_FOLDER)))
    assert [syscalls.called(entry) for entry in found] == [
        "perf_event_open", "ptrace", "process_vm_readv", "process_vm_writev", "personality(0x240000)",
    ]  # fmt: skip
    assert all(entry.why.startswith("rr: ") for entry in found)


@pytest.mark.parametrize("name", ["nope", "personality(x)", "read("])
def test_a_wrong_name_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(name.partition("(")[0]))[:-1]):
        reference.entry(name)


@pytest.mark.parametrize("name", ["docker", "docker:17.03", "nothing:1"])
def test_a_table_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        reference.named_engine(name)


def test_json_and_page(capsys: pytest.CaptureFixture[str]) -> None:
    def ask(name: str | None, *, as_json: bool) -> str:
        syscalls.show(
            name, blocked=False, tool=None, named_engine="docker:28.5.2", folder=Path("/nonexistent"), as_json=as_json
        )
        return capsys.readouterr().out

    envelope = json.loads(ask(None, as_json=True))
    assert envelope["schema"] == 1
    assert {each["call"] for each in envelope["calls"]} == set(DOCUMENTED)
    page = ask("ptrace", as_json=False)
    assert page.startswith("ptrace: allowed by the default seccomp profile of docker 28.5.2")
    assert page.splitlines()[-2:] == ["  since 18.09   blocked, opened by SYS_PTRACE", "  since 19.03   allowed"]
