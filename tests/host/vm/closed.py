"""What lockdown closes at "confidentiality" to the machine's own root, asked of the kernel itself."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from pathlib import Path

TRACING = Path("/sys/kernel/tracing")
_BPF, _PROG_LOAD, _KPROBE = 321, 5, 2  # bpf(2) on x86_64, its command, a type of program
_READ_KERNEL = 113  # bpf_probe_read_kernel()


def tracefs() -> bool:
    """Whether a file of tracefs may be opened."""
    subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=False, capture_output=True)
    try:
        (TRACING / "trace").read_bytes()
    except PermissionError:
        return False
    return True


def reading_program() -> bool:
    """Whether a BPF program that reads the kernel's memory is taken: r1 = r10 - 8; r2 = 8; r3 = 0; call; r0 = 0; exit.

    Its counterpart without the call must be, else the answer says nothing. Raises OSError.
    """
    end = [(0xB7, 0, 0, 0), (0x95, 0, 0, 0)]
    if not _taken(end):
        raise OSError(ctypes.get_errno(), "bpf(2) takes no program at all")
    start = [(0xBF, 0xA1, 0, 0), (0x07, 0x01, 0, -8), (0xB7, 0x02, 0, 8), (0xB7, 0x03, 0, 0)]
    return _taken([*start, (0x85, 0, 0, _READ_KERNEL), *end])


def _taken(program: list[tuple[int, int, int, int]]) -> bool:
    code = b"".join(struct.pack("<BBhi", *each) for each in program)
    text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("<IIQQ", _KPROBE, len(program), ctypes.addressof(text), ctypes.addressof(licence))
    release = bytes(24)  # log level, size and buffer, and the kernel's version: 0
    given = ctypes.create_string_buffer(attributes + release, len(attributes) + len(release))
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_BPF, _PROG_LOAD, given, len(given))) >= 0
