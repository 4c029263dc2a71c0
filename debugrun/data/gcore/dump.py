"""Write a core of process PID to standard output as it goes, whatever its size: nothing is stored on the way.

This text goes to gdb's embedded Python, followed by a call of `dump(PID)`; gdb itself attaches to nothing. The process
is held by PTRACE_SEIZE, which sends no signal: whatever ends this program, the kernel lets the process run on in the
state that it was in (ptrace(2)).

What is in the core is what the kernel would put there (core(5), fs/coredump.c vma_dump_size): its coredump_filter and
MADV_DONTDUMP count. Pages that were never touched are not read, since reading would make them: /proc/PID/pagemap tells.

The output is a row of records, so that nothing but the receiver has to know where a hole is: a letter, eight bytes of
length (little endian), and for D and B that many bytes.
    B  a JSON object: "size" of the core, "data", how much of that is not a hole at most
    D  bytes of the core
    Z  so many zeros
    E  the core is whole
Whatever goes wrong is told on standard error, the exit status is 1, and there is no E.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
import time

PAGE = os.sysconf("SC_PAGE_SIZE")
CHUNK = 1 << 20  # bytes of memory that are read at a time
GRAIN = 64 << 10  # zeros of that size, so aligned, become a hole
TOLD_AFTER = 3.0  # seconds that we wait for a thread to stop before we say so
STOPS_WITHIN = 20.0  # seconds for each thread to come to a stop; one in an uninterruptible wait may not
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_GETREGSET, PTRACE_DETACH = 0x4206, 0x4207, 0x4204, 17
WALL = 0x40000000  # waitpid(2): threads too
NT_PRSTATUS, NT_FPREGSET, NT_PRPSINFO, NT_AUXV, NT_FILE = 1, 2, 3, 6, 0x46494C45
# What else a thread has, by machine, where the kernel gives it (elf.h): AVX and the like; TLS, SVE, pointer keys.
MORE_REGISTERS = {62: (0x202,), 3: (0x46E62B7F, 0x202), 183: (0x401, 0x402, 0x405, 0x406)}
LINUX_NOTES = "LINUX"
ET_CORE, PT_LOAD, PT_NOTE, PN_XNUM = 4, 1, 4, 0xFFFF
PRESENT, SWAPPED = 1 << 63, 1 << 62  # Documentation/admin-guide/mm/pagemap.rst
# Bits of /proc/PID/coredump_filter: core(5).
ANON_PRIVATE, ANON_SHARED, FILE_PRIVATE, FILE_SHARED, HEADERS, HUGE_PRIVATE, HUGE_SHARED = (1 << n for n in range(7))
IN_MEMORY = ("/dev/zero", "/dev/shm/", "/SYSV", "/memfd:", "/[aio]")  # noqa: S108 - as maps has them
ZEROS = bytes(GRAIN)
NOTHING = bytes(8 * PAGE)  # of /proc/PID/pagemap


class RefusedError(Exception):
    """Why there is no core, as a line."""


class Iov(ctypes.Structure):
    """iovec, readv(2)."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
LIBC.ptrace.restype = ctypes.c_long


def ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> None:
    """One request; see the manual, section 2. Raises OSError."""
    if LIBC.ptrace(request, tid, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def text_of(path: str) -> str:
    """A file of /proc; names in it may be any bytes."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def stat_of(tid: int) -> list[str]:
    """Fields of proc_pid_stat(5), from the third on: the name may hold anything."""
    return text_of(f"/proc/{tid}/stat").rpartition(")")[2].split()


class Threads:
    """All threads of a process, held; `stopped` are those whose registers can be read, the main one first."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: dict[int, int] = {}  # that a thread was about to take
        self.stopped: list[int] = []

    def hold(self) -> None:
        """Stop all of them, those that are born meanwhile too. Raises RefusedError."""
        held: set[int] = set()
        while new := [tid for tid in self._all() if tid not in held]:
            for tid in new:
                held.add(tid)
                try:
                    ptrace(PTRACE_SEIZE, tid)
                    ptrace(PTRACE_INTERRUPT, tid)
                except ProcessLookupError:
                    continue  # it has ended
                except OSError as error:
                    if self._ended(tid):
                        continue
                    raise RefusedError(f"ptrace: {error.strerror}.") from error
            deadline = time.monotonic() + STOPS_WITHIN
            for tid in new:
                if self._await_stop(tid, deadline):
                    self.stopped.append(tid)
        if not self.stopped:
            raise RefusedError(f"PID {self.pid} has ended")

    def _all(self) -> list[int]:
        try:
            return sorted((int(name) for name in os.listdir(f"/proc/{self.pid}/task")), key=lambda t: t != self.pid)
        except FileNotFoundError:
            raise RefusedError(f"PID {self.pid} has ended") from None

    def _ended(self, tid: int) -> bool:
        try:
            return stat_of(tid)[0] in "ZX"
        except OSError:
            return True

    def _await_stop(self, tid: int, deadline: float) -> bool:
        """Whether it has stopped; False: it has ended. Raises RefusedError."""
        pause = 0.0005
        tell_at = time.monotonic() + TOLD_AFTER
        while True:
            try:
                found, status = os.waitpid(tid, WALL | os.WNOHANG)
            except ChildProcessError:
                return False  # not seized: it had ended
            if found and not os.WIFSTOPPED(status):
                return False
            if found:
                if status >> 16 == 0:  # not a stop of ours but the delivery of a signal, which goes on afterwards
                    self.signals[tid] = os.WSTOPSIG(status)
                return True
            if self._ended(tid):
                return False
            if time.monotonic() > deadline:
                state = stat_of(tid)[0]
                raise RefusedError(f"thread {tid} does not stop within {STOPS_WITHIN:.0f} s: its state is {state}")
            if time.monotonic() > tell_at:
                tell_at = deadline
                state = "in state D, waiting in the kernel" if stat_of(tid)[0] == "D" else "running"
                print(f"gcore waits: thread {tid} does not stop: it is {state}", file=sys.stderr, flush=True)
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def release(self) -> None:
        """Let all run on; one that was about to take a signal takes it."""
        for tid in self.stopped:
            try:
                ptrace(PTRACE_DETACH, tid, 0, self.signals.get(tid, 0))
            except OSError:
                continue  # killed meanwhile

    @staticmethod
    def registers(tid: int, kind: int) -> bytes:
        """A register set; nothing where the machine has none of that kind."""
        room = ctypes.create_string_buffer(1 << 16)
        iov = Iov(ctypes.addressof(room), len(room))
        try:
            ptrace(PTRACE_GETREGSET, tid, kind, ctypes.addressof(iov))
        except OSError:
            return b""
        return room.raw[: iov.size]


class Mapping:
    """One line of /proc/PID/smaps with what follows: `flags` are its VmFlags, `anonymous` bytes of its own."""

    def __init__(self, line: str) -> None:
        span, self.permissions, offset, _, inode, *rest = line.split(None, 5)
        first, _, last = span.partition("-")
        self.start, self.end, self.offset = int(first, 16), int(last, 16), int(offset, 16)
        self.path = rest[0].strip() if rest else ""
        self.of_file = inode != "0"
        self.flags: list[str] = []
        self.anonymous = 0
        self.left_out = 0  # bytes of shared memory that this process never touched
        self.dumped = 0  # bytes from its start that the core holds

    @property
    def in_memory(self) -> bool:
        """Whether no file of a disk is behind it, where one is mapped: shmem(5)'s kinds."""
        return not self.of_file or self.path.startswith(IN_MEMORY)

    def wanted(self, chosen: int) -> int:  # noqa: PLR0911 - a rule each, in the kernel's order
        """How many bytes of it a core holds, by coredump_filter's bits: fs/coredump.c vma_dump_size()."""
        whole, shared = self.end - self.start, "sh" in self.flags
        if self.path == "[vdso]":
            return whole
        if {"dd", "io", "pf"} & set(self.flags) or self.path in {"[vvar]", "[vvar_vclock]", "[vsyscall]"}:
            return 0
        if "ht" in self.flags:
            return whole if chosen & (HUGE_SHARED if shared else HUGE_PRIVATE) else 0
        if shared:
            return whole if chosen & (ANON_SHARED if self.in_memory else FILE_SHARED) else 0
        if self.anonymous and chosen & ANON_PRIVATE:
            return whole
        if not self.of_file:
            return 0
        if chosen & FILE_PRIVATE:
            return whole
        begins = chosen & HEADERS and self.offset == 0 and "r" in self.permissions
        return PAGE if begins and "(deleted)" not in self.path else 0


def mappings(pid: int) -> list[Mapping]:
    """What the process has mapped, by address."""
    found: list[Mapping] = []
    for line in text_of(f"/proc/{pid}/smaps").splitlines():
        word, _, rest = line.partition(":")
        if " " in word:
            found.append(Mapping(line))
        elif word == "VmFlags":
            found[-1].flags = rest.split()
        elif word in {"Anonymous", "Swap"}:
            found[-1].anonymous += int(rest.split()[0])
    return found


def note(owner: str, kind: int, content: bytes) -> bytes:
    """elf(5), Elf64_Nhdr: the same in both classes."""
    name = owner.encode() + b"\0"
    return struct.pack("<III", len(name), len(content), kind) + padded(name) + padded(content)


def padded(data: bytes) -> bytes:
    """To four bytes."""
    return data + bytes(-len(data) % 4)


class Program:
    """What kind of ELF it is: `wide` for 64 bits, `machine` as in elf.h."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        with open(f"/proc/{pid}/exe", "rb") as exe:
            self.head = exe.read(64)
        self.wide = self.head[4] == 2  # noqa: PLR2004 - ELFCLASS64
        (self.machine,) = struct.unpack_from("<H", self.head, 18)
        self.long = "Q" if self.wide else "I"

    def status_note(self, tid: int) -> bytes:
        """Struct elf_prstatus (linux/elfcore.h) with a thread's registers; the times are left out."""
        general = Threads.registers(tid, NT_PRSTATUS)
        if not general:
            raise RefusedError(f"the registers of thread {tid} can't be read")
        fields = stat_of(tid)
        ids = (tid, int(fields[1]), int(fields[2]), int(fields[3]))
        head = struct.pack("<iiihxx", 0, 0, 0, 0) + struct.pack(f"<2{self.long}4i", 0, 0, *ids)
        floats = Threads.registers(tid, NT_FPREGSET)
        content = head + bytes(8 * (8 if self.wide else 4)) + general + struct.pack("<i", bool(floats))
        content += bytes(-len(content) % (8 if self.wide else 4))
        notes = note("CORE", NT_PRSTATUS, content)
        notes += note("CORE", NT_FPREGSET, floats) if floats else b""
        for kind in MORE_REGISTERS.get(self.machine, ()):
            if more := Threads.registers(tid, kind):
                notes += note(LINUX_NOTES, kind, more)
        return notes

    def process_notes(self, mapped: list[Mapping]) -> bytes:
        """Name and arguments, auxiliary vector, and which files are mapped where."""
        fields = stat_of(self.pid)
        state, ppid, group, session = fields[0], *(int(each) for each in fields[1:4])
        status = dict(line.split(":", 1) for line in text_of(f"/proc/{self.pid}/status").splitlines() if ":" in line)
        uid, gid = (int(status[key].split()[0]) for key in ("Uid", "Gid"))
        name = text_of(f"/proc/{self.pid}/comm").rstrip("\n").encode("utf-8", "surrogateescape")
        with open(f"/proc/{self.pid}/cmdline", "rb") as file:
            words = file.read(4096).replace(b"\0", b" ").strip()[:79]
        # 32-bit programs have 16 bits for each id.
        users = (uid, gid) if self.wide else (min(uid, 0xFFFF), min(gid, 0xFFFF))
        content = struct.pack("<bcbb", "RSDTZW".find(state), state.encode(), state == "Z", int(fields[16]) % 20)
        content += struct.pack("<4xQIIiiii" if self.wide else "<IHHiiii", 0, *users, self.pid, ppid, group, session)
        notes = note("CORE", NT_PRPSINFO, content + struct.pack("16s80s", name[:15], words))
        with open(f"/proc/{self.pid}/auxv", "rb") as file:
            notes += note("CORE", NT_AUXV, file.read())
        files = [each for each in mapped if each.of_file and each.path.startswith("/")]
        table = struct.pack(f"<2{self.long}", len(files), PAGE)
        for each in files:
            table += struct.pack(f"<3{self.long}", each.start, each.end, each.offset // PAGE)
        names = b"".join(each.path.encode("utf-8", "surrogateescape") + b"\0" for each in files)
        return notes + note("CORE", NT_FILE, table + names)

    def header(self, mapped: list[Mapping], notes: bytes) -> tuple[bytes, int]:
        """(everything before the first byte of memory, the size of the whole core)."""
        sizes = (64, 56, 64) if self.wide else (52, 32, 40)
        count = len(mapped) + 1
        many = count >= PN_XNUM  # then the true number stands in a section header: elf(5), e_phnum
        notes_at = sizes[0] + count * sizes[1] + (sizes[2] if many else 0)
        at = notes_at + len(notes)
        at += -at % PAGE
        table = self._segment(PT_NOTE, 4, 0, notes_at, len(notes), 0)
        gap = bytes(at - notes_at - len(notes))
        for each in mapped:
            rights = sum(bit for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if letter in each.permissions)
            table += self._segment(PT_LOAD, rights, each.start, at, each.dumped, each.end - each.start)
            at += each.dumped
        section = sizes[0] + count * sizes[1] if many else 0
        head = self.head[:7] + bytes(9) + struct.pack("<HHI", ET_CORE, self.machine, 1)
        head += struct.pack(f"<3{self.long}I", 0, sizes[0], section, struct.unpack_from("<I", self.head, 48)[0])
        head += struct.pack(
            "<6H", sizes[0], sizes[1], PN_XNUM if many else count, sizes[2] if many else 0, int(many), 0
        )
        sections = b""
        if many:
            tail = (0, 0, 0, 0, 0, 1, 0, count, 0, 0)  # sh_size 1: one section header; sh_info: the number
            sections = struct.pack("<IIQQQQIIQQ" if self.wide else "<10I", *tail[:6], 0, count, 0, 0)
        return head + table + sections + notes + gap, at

    def _segment(self, kind: int, rights: int, address: int, at: int, size: int, room: int) -> bytes:  # noqa: PLR0913, PLR0917 - elf(5), Elf64_Phdr
        align = PAGE if kind == PT_LOAD else 4
        if self.wide:
            return struct.pack("<IIQQQQQQ", kind, rights, at, address, 0, size, room, align)
        return struct.pack("<IIIIIIII", kind, at, address, 0, size, room, rights, align)


class Memory:
    """What the process has in its memory, as runs of pages that are there and of such that are not."""

    def __init__(self, pid: int) -> None:
        try:
            self.memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RefusedError(f"opening /proc/{pid}/mem file for lwp {pid} failed: {error.strerror}") from error
        try:
            self.pages = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.pages = -1  # a kernel without: then all is read

    def runs(self, mapping: Mapping) -> list[tuple[int, int, bool]]:
        """(address, bytes, whether there is anything), at most CHUNK bytes each that are there.

        A page that was never touched is a hole: reading would make it, and of shared memory charge it to the process. A
        file's pages are read all, since a hole would stand for zeros.
        """
        end = mapping.start + mapping.dumped
        if self.pages < 0 or not mapping.in_memory:
            return [(at, min(CHUNK, end - at), True) for at in range(mapping.start, end, CHUNK)]
        found: list[tuple[int, int, bool]] = []
        at = mapping.start
        while at < end:
            entries = os.pread(self.pages, min(PAGE, (end - at) // PAGE) * 8, at // PAGE * 8)
            if not entries:
                break
            if entries == NOTHING[: len(entries)]:
                found.append((at, len(entries) // 8 * PAGE, False))
                at += len(entries) // 8 * PAGE
                continue
            for (entry,) in struct.iter_unpack("<Q", entries):
                there = bool(entry & (PRESENT | SWAPPED))
                if found and found[-1][2] == there and (not there or found[-1][1] < CHUNK):
                    found[-1] = (found[-1][0], found[-1][1] + PAGE, there)
                else:
                    found.append((at, PAGE, there))
                at += PAGE
        if mapping.of_file:
            mapping.left_out = sum(size for _, size, there in found if not there)
        return found

    def read(self, at: int, size: int) -> bytes:
        """Bytes of the process; what can't be read (the end of a truncated file, a device) counts as zeros."""
        try:
            data = os.pread(self.memory, size, at)
        except OSError:
            data = b""
        if len(data) == size:
            return data
        whole = data
        while len(whole) < size:  # page by page beyond the bad one
            skip = PAGE - len(whole) % PAGE
            whole += bytes(min(skip, size - len(whole)))
            try:
                whole += os.pread(self.memory, size - len(whole), at + len(whole))
            except OSError:
                continue
        return whole


class Out:
    """Records to standard output."""

    def __init__(self) -> None:
        self.zeros = 0

    def put(self, letter: bytes, data: bytes) -> None:
        """A record with its bytes."""
        self.flush()
        self._write(letter + struct.pack("<Q", len(data)))
        self._write(data)

    def end(self) -> None:
        """The core is whole."""
        self.flush()
        self._write(b"E" + bytes(8))

    def hole(self, size: int) -> None:
        """So many zeros, with those that follow."""
        self.zeros += size

    def memory(self, data: bytes) -> None:
        """Data with holes where it is zero for long."""
        begun = 0
        for at in range(0, len(data), GRAIN):
            if data[at : at + GRAIN] == ZEROS[: min(GRAIN, len(data) - at)]:
                if at > begun:
                    self.put(b"D", data[begun:at])
                self.hole(min(GRAIN, len(data) - at))
                begun = at + GRAIN
        if begun < len(data):
            self.put(b"D", data[begun:])

    def flush(self) -> None:
        """Put out the hole that has gathered."""
        if self.zeros:
            size, self.zeros = self.zeros, 0
            self._write(b"Z" + struct.pack("<Q", size))

    @staticmethod
    def _write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(1, rest) :]


def write_core(pid: int, threads: Threads, out: Out) -> None:
    """The core of a process that is held. Raises RefusedError, OSError."""
    program, memory = Program(pid), Memory(pid)
    mapped = mappings(pid)
    try:
        chosen = int(text_of(f"/proc/{pid}/coredump_filter"), 16)
    except (OSError, ValueError):
        chosen = ANON_PRIVATE | ANON_SHARED | HEADERS | HUGE_PRIVATE  # the kernel's own default
    for each in mapped:
        each.dumped = each.wanted(chosen)
    notes = b"".join([program.status_note(threads.stopped[0]), program.process_notes(mapped)])
    notes += b"".join(program.status_note(tid) for tid in threads.stopped[1:])
    header, size = program.header(mapped, notes)
    plan = [(each, memory.runs(each)) for each in mapped if each.dumped]
    data = len(header) + sum(length for _, runs in plan for _, length, there in runs if there)
    out.put(b"B", json.dumps({"size": size, "data": data}).encode())
    out.put(b"D", header)
    for _, runs in plan:
        for at, length, there in runs:
            out.memory(memory.read(at, length)) if there else out.hole(length)
    if left_out := sum(each.left_out for each in mapped):
        say(f"note: {left_out / 1e6:.0f} MB of shared memory that PID {pid} has never touched are left out as zeros")
    out.end()


def say(text: str) -> None:
    """One line of ours."""
    sys.__stderr__.write(f"debugrun: {text}\n")
    sys.__stderr__.flush()


def dump(pid: int) -> None:
    """Write the core, let the process go, and end this program with 0, or 1 after saying why not."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # gdb would only take note of it; our end lets the process go
    threads, status = Threads(pid), 0
    try:
        threads.hold()
        write_core(pid, threads, Out())
    except (RefusedError, OSError) as error:
        say(f"no core: {error}")
        status = 1
    threads.release()
    os._exit(status)
