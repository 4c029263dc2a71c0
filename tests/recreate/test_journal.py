"""The journal: for its owner's eyes only, one at a time, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from debugrun.errors import TargetError
from debugrun.recreate import journal
from tests.core.rebuild.test_transaction import RECORD

HERE, ELSEWHERE = "unix:///run/a.sock", "ssh://b"
HOLD = """\
import sys
from debugrun.recreate import journal
with journal.working_on(sys.argv[1], "web"):
    print("held", flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state" / "recreated"
    monkeypatch.setenv("DEBUGRUN_STATE", str(path))
    return path


def test_what_was_written_is_read_for_its_engine_only(folder: Path) -> None:
    assert journal.records(HERE) == ()
    assert journal.write(RECORD, HERE)
    assert journal.records(HERE) == (RECORD,)
    assert journal.records(ELSEWHERE) == ()
    journal.forget(RECORD.original)
    assert journal.records(HERE) == ()
    assert list(folder.iterdir()) == []


def test_it_is_for_its_owner_only(folder: Path) -> None:
    before = os.umask(0)
    try:
        with journal.working_on(RECORD.original, "web"):
            journal.write(RECORD, HERE)
            assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["", "{", "[]", '{"endpoint": "unix:///run/a.sock", "record": "{}"}'])
def test_a_spoilt_file_is_left_alone(folder: Path, text: str) -> None:
    journal.write(RECORD, HERE)
    spoilt = folder / "spoilt.json"
    spoilt.write_text(text)
    assert journal.records(HERE) == (RECORD,)
    assert spoilt.exists()


def test_one_works_on_a_container_and_the_other_is_told_who() -> None:
    words = [sys.executable, "-c", HOLD, RECORD.original]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(TargetError, match=f"web is being .*PID {other.pid}"),
            journal.working_on(RECORD.original, "web"),
        ):
            pass
        with journal.working_on("1" * 64, "another"):
            pass
        other.kill()
        other.wait()
    with journal.working_on(RECORD.original, "web"):
        pass


def test_the_lock_does_not_stay(folder: Path) -> None:
    with journal.working_on(RECORD.original, "web"):
        pass
    assert list(folder.iterdir()) == []


def test_without_a_place_to_write_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGRUN_STATE", "/proc/nowhere")
    with journal.working_on(RECORD.original, "web"):
        assert not journal.write(RECORD, HERE)
    assert journal.records(HERE) == ()
    journal.forget(RECORD.original)
