"""The records of a core file: written as they come, and refused when they are none."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from debugrun.oncall.core import BUNDLE, CORE, END, HEAD, LONGEST, Taken, Writer

GDB = files("debugrun") / "data" / "gdb"
FUTURE = "from __future__ import annotations\n"
TEXT = "\n".join((GDB / name).read_text("utf-8").replace(FUTURE, "") for name in ("prelude.py", "stacks.py", "core.py"))
TARGET = """
import ctypes, mmap, sys
marked = ctypes.create_string_buffer(b"a word that only this process knows", 4096)
area = mmap.mmap(-1, 256 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area[128 << 20] = 7
print(ctypes.addressof(marked), ctypes.addressof(ctypes.c_char.from_buffer(area)), flush=True)
sys.stdin.read()
"""


def record(stream: int, offset: int, data: bytes) -> bytes:
    return HEAD.pack(stream, offset, len(data)) + data


def take(data: bytes, path: Path, *, zstd: bool = False) -> Taken:
    """What comes of these records."""
    writers = {CORE: Writer(path / "core", zstd=zstd), BUNDLE: Writer(path / "bundle", zstd=False)}
    source, sink = os.pipe()
    taken = Taken(source, writers)
    taken.start()
    with os.fdopen(sink, "wb") as out:
        out.write(data)
    taken.join()
    for stream, writer in writers.items():
        writer.close(taken.ends[stream])
    return taken


def test_a_process_is_copied_with_holes_where_it_never_was(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", TARGET], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as target:
        assert target.stdout is not None
        marked, area = map(int, target.stdout.readline().split())
        program = f"{TEXT}\ncore({{'pid': {target.pid}, 'bundle': True, 'pause': 15}})"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        assert target.poll() is None
        target.communicate(b"")
    taken = take(done.stdout, tmp_path)
    assert taken.error == ""
    assert taken.told["threads"] == 1
    core = tmp_path / "core"
    assert read(core, marked, 35) == b"a word that only this process knows"
    assert read(core, area + (128 << 20), 1) == b"\7"
    assert read(core, area, 1) == b"\0"
    assert core.stat().st_size > 256 << 20
    assert core.stat().st_blocks * 512 < 64 << 20
    assert core.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(["tar", "-tf", tmp_path / "bundle"], capture_output=True, text=True, check=True).stdout
    assert "libc.so.6" in listed


def test_a_process_that_would_stand_still_for_too_long_is_let_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", TARGET], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as target:
        assert target.stdout is not None
        target.stdout.readline()
        program = f"{TEXT}\ncore({{'pid': {target.pid}, 'bundle': False, 'pause': 0}})"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        assert "TracerPid:\t0\n" in Path(f"/proc/{target.pid}/status").read_text()
        target.communicate(b"")
        assert target.returncode == 0
    taken = take(done.stdout, tmp_path)
    assert "were copied in the time" in str(taken.told["error"])


def read(core: Path, address: int, size: int) -> bytes:
    """Memory by its address, through the program headers: elf(5)."""
    with core.open("rb") as file:
        header = file.read(64)
        count = struct.unpack_from("<H", header, 56)[0]
        for _ in range(count):
            kind, _, offset, start, _, held, _, _ = struct.unpack("<IIQQQQQQ", file.read(56))
            if kind == 1 and start <= address < start + held:
                file.seek(offset + address - start)
                return file.read(size)
    return b""


def test_records_go_where_they_belong(tmp_path: Path) -> None:
    end = record(END, 0, json.dumps({"threads": 3}).encode())
    taken = take(record(CORE, 10, b"core") + record(BUNDLE, 0, b"tar") + end, tmp_path)
    assert (tmp_path / "core").read_bytes() == bytes(10) + b"core"
    assert (tmp_path / "bundle").read_bytes() == b"tar"
    assert taken.told == {"threads": 3}


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd packs the files: apt-get install zstd")
def test_packed_files_hold_the_same(tmp_path: Path) -> None:
    take(record(CORE, 3 << 20, b"core") + record(END, 0, b"{}"), tmp_path, zstd=True)
    done = subprocess.run(["zstd", "-dc", tmp_path / "core"], capture_output=True, check=True)
    assert done.stdout == bytes(3 << 20) + b"core"


@pytest.mark.parametrize(
    "data",
    [
        b"gdb: command not found" * 9,
        record(7, 0, b"a stream that there is not"),
        HEAD.pack(CORE, 0, LONGEST + 1) + b"x",
        HEAD.pack(CORE, 0, 100) + b"cut off",
    ],
)
def test_what_is_no_record_is_an_error(data: bytes, tmp_path: Path) -> None:
    taken = take(data, tmp_path)
    assert taken.error == "what came is no core file"
    assert taken.told == {}


def test_a_disk_that_is_full_is_an_error_and_the_rest_is_read_away(tmp_path: Path) -> None:
    (tmp_path / "core").symlink_to("/dev/full")
    data = record(CORE, 0, bytes(1 << 20)) * 20 + record(END, 0, b"{}")
    writer = Writer(tmp_path / "core", zstd=False)
    source, sink = os.pipe()
    taken = Taken(source, {CORE: writer})
    taken.start()
    with os.fdopen(sink, "wb") as out:
        out.write(data)
    taken.join()
    assert "No space left on device" in taken.error
    with pytest.raises(OSError, match="Invalid argument"):  # nothing is cut to a length there
        writer.close(0)
