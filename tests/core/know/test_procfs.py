from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.know import procfs
from debugrun.core.know.procfs import Reading
from tests import TESTS

PROC = TESTS / "facts" / "proc"
DEFAULT = 0xA80425FB  # what Docker gives a container
OF_ONE = "c" * 64
ROOT = procfs.parse_status((PROC / "root.status").read_text())
USER = procfs.parse_status((PROC / "u1000.status").read_text())


def reading(status: procfs.Status, **changes: object) -> Reading:
    return Reading(status=replace(status, **changes))  # type: ignore[arg-type]


def test_a_recorded_status_is_read() -> None:
    assert (ROOT.comm, ROOT.state, ROOT.threads, ROOT.tracer) == ("spin", "S", 3, 0)
    assert (ROOT.uids, ROOT.permitted, ROOT.seccomp, ROOT.seccomp_filters) == ((0, 0, 0, 0), DEFAULT, 2, 1)
    assert ROOT.ns_pids[-1] == 1
    assert ROOT.ns_pids[0] == ROOT.pid
    assert ROOT.no_new_privileges is False
    assert (USER.uids, USER.permitted, USER.bounding) == ((1000,) * 4, 0, DEFAULT)


def test_what_an_old_kernel_does_not_print_is_unknown() -> None:
    text = "".join(
        line
        for line in (PROC / "root.status").read_text().splitlines(keepends=True)
        if not line.startswith(("NSpid", "NoNewPrivs", "Seccomp", "CapAmb"))
    )
    status = procfs.parse_status(text)
    assert status.ns_pids == (status.pid,)
    assert (status.no_new_privileges, status.seccomp, status.seccomp_filters) == (None, None, None)


@pytest.mark.parametrize("text", ["", "Name:\tx\n", "Name:\tx\nState:\tS (sleeping)\nPid:\tx\n"])
def test_a_cut_off_status_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        procfs.parse_status(text)


def test_a_name_can_not_pretend_to_be_another_field() -> None:
    text = (PROC / "root.status").read_text().replace("Name:\tspin", r"Name:\tx\nUid:\t7".replace(r"e:\t", "e:\t"))
    status = procfs.parse_status(text)
    assert status.comm == "x\nUid:\\t7"
    assert status.uids == (0, 0, 0, 0)
    assert len(procfs.split_statuses(text * 3)) == 3


def test_capability_names_follow_the_kernels_numbers() -> None:
    assert procfs.names(1 << 19 | 1 << 21 | 1 << 38 | 1) == ("CHOWN", "PERFMON", "SYS_ADMIN", "SYS_PTRACE")
    assert len(procfs.names(DEFAULT)) == 14
    assert procfs.names(1 << 63) == ("CAP_63",)
    with pytest.raises(ValueError, match="NOPE"):
        procfs.mask(["NOPE"])


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_a_mask_survives_being_named(mask: int) -> None:
    assert procfs.mask(procfs.names(mask)) == mask


@pytest.mark.parametrize(
    ("uid", "gid", "owner", "expected"),
    [
        (1000, 1000, (1000, 1000), True),
        (1000, 1000, (0, 0), False),
        (0, 0, (0, 0), None),
        (0, 1000, (0, 1000), True),
        (0, 1000, (0, 0), False),
        (1000, 1000, None, None),
    ],
)
def test_the_owner_of_the_files_tells_dumpable(
    uid: int, gid: int, owner: tuple[int, int] | None, *, expected: bool | None
) -> None:
    seen = replace(reading(ROOT, uids=(uid,) * 4, gids=(gid,) * 4), owner=owner)
    assert procfs.dumpable_by_owner(seen) is expected


REMAPPED = ((0, 700000, 65536),)


@pytest.mark.parametrize(
    ("uid", "owner", "expected"), [(701000, 701000, True), (701000, 700000, False), (700000, 700000, None)]
)
def test_in_a_user_namespace_its_own_root_owns_what_is_not_dumpable(
    uid: int, owner: int, *, expected: bool | None
) -> None:
    seen = reading(ROOT, uids=(uid,) * 4, gids=(uid,) * 4)
    seen = replace(seen, owner=(owner, owner), uid_map=REMAPPED, gid_map=REMAPPED)
    assert procfs.dumpable_by_owner(seen) is expected


@pytest.mark.parametrize(
    ("readable", "permitted", "effective", "uid", "expected"),
    [
        (True, DEFAULT, DEFAULT, 0, True),
        (False, DEFAULT, DEFAULT, 0, False),
        (False, 0, 0, 0, False),
        (False, DEFAULT, 0, 0, None),  # the capabilities alone may have been the reason
        (False, DEFAULT | 1 << 19, DEFAULT, 0, None),
        (False, 0, 0, 1000, None),  # or the uid
        (True, DEFAULT, DEFAULT | 1 << 19, 0, None),  # SYS_PTRACE lifts what is asked about
    ],
)
def test_who_may_read_exe_tells_dumpable(
    *, readable: bool, permitted: int, effective: int, uid: int, expected: bool | None
) -> None:
    seen = reading(ROOT, permitted=permitted)
    answer = procfs.dumpable_by_access(seen, readable=readable, ids=(uid, uid), effective=effective)
    assert answer is expected


def test_nothing_is_said_of_a_process_in_another_user_namespace() -> None:
    seen = replace(reading(ROOT), uid_map=REMAPPED)
    assert procfs.dumpable_by_access(seen, readable=True, ids=(0, 0), effective=DEFAULT) is None


def test_ids_are_those_of_the_container() -> None:
    id_map = procfs.parse_id_map("         0     700000      65536\n")
    seen = replace(reading(ROOT, uids=(700033,) * 4, gids=(5,) * 4), uid_map=id_map, gid_map=id_map)
    facts = procfs.process_facts(seen, depth=1, ppid=0, dumpable=None, host_pid=ROOT.pid)
    assert facts.uids == (33,) * 4
    assert facts.gids == (65534,) * 4
    assert (facts.pid, facts.host_pid) == (1, ROOT.pid)


def test_a_rootless_engine_maps_its_own_user_and_a_range() -> None:
    id_map = procfs.parse_id_map("0 1000 1\n1 100000 65536\n")
    assert [procfs.inside(number, id_map) for number in (1000, 100032, 0)] == [0, 33, 65534]
    assert [procfs.outside(number, id_map) for number in (0, 33, 70000)] == [1000, 100032, None]


@given(st.integers(min_value=0, max_value=65535))
def test_an_id_comes_back_from_outside(number: int) -> None:
    out = procfs.outside(number, REMAPPED)
    assert out is not None
    assert procfs.inside(out, REMAPPED) == number
    assert procfs.outside(number + 65536, REMAPPED) is None


@pytest.mark.parametrize(
    ("cgroup", "names_it", "innermost"),
    [
        (f"12:pids:/docker/{OF_ONE}\n0::/\n", True, OF_ONE),
        (f"0::/system.slice/docker-{OF_ONE}.scope\n", True, OF_ONE),
        (f"0::/machine.slice/libpod-{OF_ONE}.scope/container\n", True, OF_ONE),
        (f"0::/../{OF_ONE}\n", True, OF_ONE),
        (f"1:cpu:/docker/{OF_ONE}/docker/{'d' * 64}\n", True, "d" * 64),
        (f"0::/docker/{'d' * 64}\n", False, "d" * 64),
        ("0::/user.slice/user-1000.slice\n", False, None),
        ("", False, None),
    ],
)
def test_a_cgroup_names_its_container(cgroup: str, *, names_it: bool, innermost: str | None) -> None:
    assert procfs.names_container(cgroup, OF_ONE) is names_it
    assert procfs.container_of(cgroup) == innermost


def test_no_container_is_named_by_an_empty_id() -> None:
    assert not procfs.names_container("0::/\n", "")


def test_controllers_that_share_a_hierarchy_share_its_path() -> None:
    paths = procfs.cgroup_paths("4:cpu,cpuacct:/a\n0::/b:c\n")
    assert paths == {"cpu": "/a", "cpuacct": "/a", "": "/b:c"}


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        ("none integrity [confidentiality]\n", "confidentiality"),
        ("", None),
        ("none integrity confidentiality", None),
    ],
)
def test_the_level_of_lockdown(text: str, level: str | None) -> None:
    assert procfs.lockdown(text) == level


@pytest.mark.parametrize(
    ("cmdline", "override"),
    [
        ("ro quiet proc_mem.force_override=never\n", "never"),
        ("proc_mem.force_override=always x proc_mem.force_override=ptrace", "ptrace"),
        ("ro quiet", None),
        ("xproc_mem.force_override=never", None),
        ("proc_mem.force_override=nevermore", None),
        ("", None),
    ],
)
def test_what_the_kernel_was_started_with(cmdline: str, override: str | None) -> None:
    assert procfs.proc_mem_override(cmdline) == override


def test_whose_the_counters_of_a_gpu_are() -> None:
    assert (
        procfs.gpu_counters("ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: 1\nDmaRemapPeerMmio: 1\n") == "admin"
    )
    assert procfs.gpu_counters("RmProfilingAdminOnly: 0\n") == "everybody"
    assert procfs.gpu_counters("") is None
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release Build  (dvs-builder@U16)\n"
    assert procfs.gpu_driver(text) == "565.57.01"
    assert procfs.gpu_driver("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\n") == "550.54.14"
    assert procfs.gpu_driver("") is None
