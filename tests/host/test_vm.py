"""The test machine's own machinery, without a machine: what is tried, how its output is followed, what is concluded."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.host.state import HostError
from tests.host.vm import __main__ as command
from tests.host.vm import disk, machine, matrix
from tests.host.vm.disk import Disk
from tests.host.vm.machine import HungError

DISK = Disk(image=Path("disk"), kernel=Path("kernel"), initrd=Path("initrd"))


def test_every_setting_is_there_and_the_one_for_good_comes_last() -> None:
    for settings in (matrix.SETTINGS, matrix.EVERY_SETTING):
        assert {each.scope for each in settings} == {0, 1, 2, 3}
        assert {each.paranoid for each in settings} == {-1, 0, 1, 2, 3, 4}
        assert [each.scope for each in settings].index(3) == len(settings) - 1
        assert len(set(settings)) == len(settings)
    crossed = {(each.scope, each.paranoid) for each in matrix.EVERY_SETTING}
    assert {(scope, level) for scope in (0, 1, 2) for level in range(-1, 5)} <= crossed


@pytest.mark.parametrize("everything", [False, True])
def test_every_shipped_tool_and_every_target_is_tried(*, everything: bool) -> None:
    tried = {
        (row.work.tool, target)
        for setting in matrix.SETTINGS
        for target in matrix.TARGETS
        for row in matrix.rows(setting, target, everything=everything)
    }
    assert {tool for tool, _ in tried} == {"gdb", "strace", "perf", "gdbserver", "ltrace", "tcpdump", "py-spy"}
    assert {target for _, target in tried} == set(matrix.TARGETS)


def test_modules_load_after_what_they_depend_on() -> None:
    listing = "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz\n"
    listing += "kernel/drivers/block/virtio_blk.ko.xz:\nkernel/fs/jbd2/jbd2.ko.xz:\nkernel/other.ko.xz:\n"
    assert disk._load_order(listing) == [  # noqa: SLF001 - the machine starts with it or does not
        "kernel/drivers/block/virtio_blk.ko.xz",
        "kernel/lib/crc16.ko.xz",
        "kernel/fs/jbd2/jbd2.ko.xz",
        "kernel/fs/ext4/ext4.ko.xz",
    ]


def follow(tmp_path: Path, output: str, script: str, within: float = 20.0) -> tuple[int, list[str]]:
    path, lines = tmp_path / "output", []  # type: ignore[var-annotated]
    path.write_text(output)
    with subprocess.Popen(["sh", "-c", script, "sh", path]) as process:
        try:
            return machine._follow(process, path, lines.append, within), lines  # noqa: SLF001 - what a machine says
        finally:
            process.kill()


def test_the_output_is_followed_to_its_end(tmp_path: Path) -> None:
    script = """printf 'two' >>"$1"; sleep 0.5; printf ' halves\\r\\ndebugrun: ended with 3\\n' >>"$1"; sleep 9"""
    assert follow(tmp_path, "one\n", script) == (3, ["one", "two halves"])


def test_a_machine_that_ends_too_soon_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="went down"):
        follow(tmp_path, "one\n", "exit 0")


def test_a_job_that_takes_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="was not done within"):
        follow(tmp_path, "one\n", "exec sleep 9", within=0.5)


def test_only_a_machine_that_never_began_is_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "accelerate", lambda _: ("-accel", "tcg"))
    endings: list[Exception | int] = [HungError("hung"), 0]

    def boot(*_: object) -> int:
        ending = endings.pop(0)
        if isinstance(ending, Exception):
            raise ending
        return ending

    monkeypatch.setattr(machine, "_boot", boot)
    assert machine.run(DISK, {}, print, within=1) == 0
    assert "starting it again" in capsys.readouterr().err
    endings[:] = [HostError("lost"), 0]
    with pytest.raises(HostError, match="lost"):
        machine.run(DISK, {}, print, within=1)
    assert endings == [0]


def line(kind: str, **fields: object) -> str:
    return "record " + json.dumps({"kind": kind, **fields})


SPOT: Mapping[str, object] = {"target": "root", "scope": 1, "paranoid": 2, "tool": "gdb", "mode": "attach"}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([line("trial", **SPOT, works=True, wrong="judged closed"), line("ends")], "judged closed"),
        ([line("decision", **SPOT, chosen="x", works=False, narrower=0), line("ends")], "which does not work"),
        ([line("decision", **SPOT, chosen="x", works=True, narrower=1), line("ends")], "something narrower works"),
        ([line("line", words="gdb root", wrong="status 1"), line("ends")], "debugrun gdb root: status 1"),
        ([line("trial", **SPOT, works=True, wrong=None)], "did not come to its end"),
    ],
)
def test_one_disagreement_fails_it_all(lines: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = command.Report()
    for each in lines:
        report.take(each)
    report.job(0)
    assert report.conclude() == 1
    assert says in capsys.readouterr().out


def test_what_agrees_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    report = command.Report()
    takes: Callable[[str], None] = report.take
    for works in (True, False, True):
        takes(line("trial", **SPOT, works=works, wrong=None))
    takes(line("decision", **SPOT, chosen="x", works=True, narrower=0))
    takes("a line for people")
    takes(line("ends"))
    report.job(0)
    assert report.conclude() == 0
    assert "3 verdicts (2 open), 1 decisions held against the kernel, 0 lines typed, 0 wrong" in capsys.readouterr().out
