"""What this machine says of its own kernel, tried on ourselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from debugrun.observe import hostproc


def test_what_is_tried_on_ourselves_agrees_with_how_the_kernel_was_built_and_started() -> None:
    host = hostproc.host_facts()
    assert host.cross_memory_attach is not None or "Seccomp:\t0" not in Path("/proc/self/status").read_text()
    started = Path("/proc/cmdline").read_text()
    if "proc_mem.force_override" not in started and host.proc_mem_override is not None:
        assert host.proc_mem_override == "always"


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ({"lockdown": "none integrity [confidentiality]\n", "lsm": "capability,lockdown"}, "confidentiality"),
        ({"lsm": "capability,landlock,yama\n"}, "none"),
        ({"lsm": "capability,lockdown,yama\n"}, None),
        ({}, None),
    ],
)
def test_lockdown_that_is_not_in_use_is_none_and_one_that_is_not_shown_is_unknown(
    files: dict[str, str], level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text_of(path: str) -> str:
        return files.get(os.path.basename(path), "")  # noqa: PTH119 - of a name

    monkeypatch.setattr(hostproc, "text_of", text_of)
    assert hostproc._lockdown() == level  # noqa: SLF001 - securityfs can't be had twice on one machine


def test_a_nvidia_driver_is_read_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "driver" / "nvidia"
    folder.mkdir(parents=True)
    (folder / "params").write_text("RmProfilingAdminOnly: 1\n")
    (folder / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  565.57.01  Thu Oct 10\n")
    monkeypatch.setattr(hostproc, "PROC", str(tmp_path))
    found = hostproc.host_facts()
    assert (found.gpu_counters, found.gpu_driver, found.proc_mem_override) == ("admin", "565.57.01", None)
