"""A core file of a running process, which stands still for as long as its memory is copied into ours.

This text follows data/gdb/prelude.py and data/gdb/stacks.py in one namespace; `core(QUESTION)` writes to descriptor 1
records of `STREAM OFFSET LENGTH` (a byte and two 64-bit words, little endian) and LENGTH bytes: stream 0 is the core
file, with holes where it is zero; stream 1 a tar of the files that the process runs; stream 2 the end, JSON.

What is in it follows the kernel's own choice, core(5): private and anonymous memory, of files that are mapped
unchanged their first page. Pages that were never touched are left out: pagemap of proc(5).
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import struct
import tarfile
import time

CHUNK = 1 << 20
BLOCK = 64 << 10  # what is zero for so long becomes a hole
SPARE = 256 << 20  # bytes of the machine's memory that stay free beside our copy
ROOM = 3 << 30  # bytes that our own container's limit leaves for a copy
GROWTH = 16 << 20  # bytes that a process may take between our look and its stop
LIBRARY, LIBRARIES = 512 << 20, 2 << 30  # bytes of one file of the bundle, and of all


def send(stream, offset, data):
    data = struct.pack("<BQQ", stream, offset, len(data)) + data
    while data:
        data = data[os.write(1, data) :]


def touched(pid, mapping):
    """(start, end) of the pages of a mapping that are in memory or swapped out."""
    start, end = mapping[:2]
    pages = (end - start) // PAGE  # noqa: F821 - of stacks.py, as are all such names
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
        for first in range(0, pages, 1 << 20):
            file.seek(8 * (start // PAGE + first))  # noqa: F821
            flags = file.read(8 * min(1 << 20, pages - first))[7::8]  # bits 56 to 63 of each: 63 present, 62 swapped
            for run in re.finditer(rb"[\x40-\xff]+", flags):
                yield start + (first + run.start()) * PAGE, start + (first + run.end()) * PAGE  # noqa: F821


def pieces(copy):
    """(start, end) of the memory that is copied, and of each whether the rest of its mapping is zero."""
    for mapping in copy.mappings:
        start, end, mode, _, name = mapping
        if name.startswith(("[vvar", "[vsyscall", "/dev/")) or "r" not in mode:
            continue
        if name.startswith("/") and ("s" in mode or "w" not in mode):
            yield start, start + PAGE  # noqa: F821
        elif name.startswith("/") or name == "[vdso]":
            yield start, end
        else:
            yield from touched(copy.pid, mapping)


def available():
    """Bytes of memory that the machine can give: MemAvailable of proc_meminfo(5)."""
    with open("/proc/meminfo", encoding="ascii") as file:
        found = re.search(r"MemAvailable: +(\d+) kB", file.read())
    return (int(found[1]) << 10) - SPARE if found else ROOM


def room_for(size):
    """A buffer whose pages are there already: the kernel would have to find them while the process stands still."""
    buffer = bytearray(size)
    buffer[::PAGE] = bytes(len(range(0, size, PAGE)))  # noqa: F821
    return buffer


def memory_of(copy, buffer, until):
    """[(address, bytes)]: all that is copied while it stands still. Raises TimeoutError: it takes too long."""
    found, view, used = [], memoryview(buffer), 0
    for start, end in pieces(copy):
        at = start
        while at < end:
            if time.monotonic() > until:
                raise TimeoutError(0, f"only {used >> 20} MiB were copied in the time that it may stand still")
            into = view[used : used + min(CHUNK, end - at)]
            try:
                size = os.preadv(copy.memory, [into], at)
            except OSError:
                size = 0
            if not size:
                break
            found.append((at, view[used : used + size]))
            at += size
            used += size
    return found


def write(copy, memory):
    """The core file: one segment for each mapping, whose pages that were never touched are holes."""
    notes = copy.notes()
    segments = [
        each for each in copy.mappings if "r" in each[2] and not each[4].startswith(("[vvar", "[vsyscall", "/dev/"))
    ]
    segments = segments[:60_000]
    offset = 64 + 56 * (1 + len(segments))
    headers = struct.pack("<IIQQQQQQ", 4, 0, offset, 0, 0, len(notes), 0, 1)
    offset = (offset + len(notes) + PAGE - 1) & ~(PAGE - 1)  # noqa: F821
    places = []
    for start, end, mode, _, name in segments:
        unchanged = name.startswith("/") and ("s" in mode or "w" not in mode)
        held = PAGE if unchanged else end - start  # noqa: F821
        flags = 4 | 2 * ("w" in mode) | ("x" in mode)
        headers += struct.pack("<IIQQQQQQ", 1, flags, offset, start, 0, held, end - start, PAGE)  # noqa: F821
        places.append((start, start + held, offset))
        offset += held
    machine = MACHINES[copy.machine][0]  # noqa: F821
    ident = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    numbers = struct.pack("<HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0, 0, 64, 56, 1 + len(segments), 0, 0, 0)
    send(0, 0, ident + numbers + headers + notes)
    index, zero = 0, bytes(BLOCK)
    for address, data in memory:
        while index < len(places) and places[index][1] <= address:
            index += 1
        if index == len(places) or address < places[index][0]:
            continue
        base = places[index][2] - places[index][0]
        for at in range(0, len(data), BLOCK):
            block = data[at : at + BLOCK]
            if block != zero[: len(block)]:
                send(0, base + address + at, block)
    return offset


class Bundle(io.RawIOBase):
    """Where tarfile writes to."""

    def __init__(self):
        self.at = 0

    def writable(self):
        return True

    def write(self, data):
        send(1, self.at, bytes(data))
        self.at += len(data)
        return len(data)


def mapped_file(copy, name, places):
    """A descriptor of the file that is mapped by that name, -1: none is found that begins as what runs."""
    base = next((each[0] for each in copy.mappings if each[4] == name and each[3] == 0), None)
    if base is None:
        return -1
    runs = copy.read(base, PAGE)  # noqa: F821
    program = [f"/proc/{copy.pid}/exe"] if os.readlink(f"/proc/{copy.pid}/exe") == name else []
    for file in (*program, *(root + name for root in places)):
        if (fd := open_file(file)) >= 0:  # noqa: F821 - of prelude.py
            page = os.pread(fd, PAGE, 0)  # noqa: F821
            if page and runs.startswith(page):
                return fd
            os.close(fd)
    return -1


def bundle(copy):
    """The executable and the libraries by their paths in the target, as they are mapped; how many are missing."""
    missing, left = 0, LIBRARIES
    places = roots(copy.pid, f"/proc/{copy.pid}")  # noqa: F821 - of prelude.py
    with tarfile.open(fileobj=Bundle(), mode="w|") as tar:
        for name in dict.fromkeys(each[4] for each in copy.mappings if "x" in each[2] and each[4].startswith("/")):
            fd = mapped_file(copy, name, places)
            if fd < 0:
                missing += 1
                continue
            with open(fd, "rb") as file:
                told = os.fstat(fd)
                if told.st_size > min(LIBRARY, left):
                    missing += 1
                    continue
                left -= told.st_size
                member = tarfile.TarInfo(name.removesuffix(DELETED).lstrip("/"))  # noqa: F821 - of prelude.py
                member.size, member.mode = told.st_size, 0o644
                tar.addfile(member, file)
    return missing


def core(question):
    """Answer {"pid": ..., "bundle": bool, "pause": seconds that it may stand still at most}."""
    answer = {"schema": 1}
    try:
        copy = Copy(question["pid"])  # noqa: F821
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        size = sum(end - start for start, end in pieces(copy))
        room = min(available(), ROOM)
        if size > room:
            raise OSError(  # noqa: TRY301 - one way to say no
                0, f"its memory takes {size >> 20} MiB, and there is room for a copy of {max(0, room) >> 20} MiB"
            )
        answer |= dump(copy, room_for(size + GROWTH), question["pause"])
        signal.setitimer(signal.ITIMER_REAL, 0)  # the caller may take its time: nobody stands still any more
        answer["missing"] = bundle(copy) if question["bundle"] else 0
    except OSError as error:
        answer["error"] = error.strerror or str(error)
    send(2, 0, json.dumps(answer).encode())


def dump(copy, buffer, pause):
    began = time.monotonic()
    limit, refused, memory = Limit(), None, []  # noqa: F821
    try:
        copy.hold()
    except OSError as error:
        refused = error
    stopped = copy.wait(limit)
    if refused is None:
        copy.mappings = list(every_mapping(copy.pid))  # noqa: F821 - as it stands now
        copy.copy(stopped)
        copy.copy_floating(stopped)
        try:
            memory = memory_of(copy, buffer, began + pause)
        except OSError as error:
            refused = error
    copy.let_go(stopped)
    still = time.monotonic() - began
    if refused is not None:
        raise refused
    signal.setitimer(signal.ITIMER_REAL, 0)
    size = write(copy, memory)
    return {"still": still, "size": size, "threads": len(copy.registers), "late": copy.late}
