"""Show gdb the files that process PID runs, although gdb lives in another mount namespace.

This text goes to gdb's embedded Python (gdb 12 or later) on its command line, followed by a call of
`prepare(PID)`, before gdb attaches. It reads /proc/PID, which takes no more than the attach itself, and
changes only settings of gdb and the debug container's own /tmp.

Why `set sysroot /proc/PID/root` alone is not enough:

* gdb runs realpath(3) over names, and readlink of /proc/PID/root says "/": a file of the debug container at
  the same path is taken for the target's. So names go through a directory that was opened and then
  removed: the kernel walks on from it (".." of a removed directory still leads up), realpath(3) can't, and
  gdb keeps the name as it is.
* An absolute symbolic link on the way to a library is followed from the debug container's root. The file
  that the process mapped is named in /proc/PID/maps, free of links, so such a library is linked to there.
* A library may have been replaced on disk since. What the process runs begins with other bytes then (the ELF
  header, the program headers and, as linkers order it, the build-id), and no symbols are better than wrong ones.
"""

from __future__ import annotations

import os
import stat
import struct
import sys

FD = 99  # stays open in gdb: the removed directory
PAGE = 4096
LINKS = 4096  # bound on the link map: the target is not trusted to end it
AT_PHDR, AT_PHENT, AT_PHNUM = 3, 4, 5
PT_DYNAMIC, PT_PHDR = 2, 6
DT_DEBUG = 21


def hidden_from_realpath(pid: int) -> str:
    """A path to the root directory of `pid` that the kernel can walk and realpath(3) can't."""
    gap = f"/tmp/.gap.{os.getpid()}"
    os.mkdir(gap, 0o700)
    try:
        opened = os.open(gap, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.rmdir(gap)
    os.dup2(opened, FD, inheritable=False)
    os.close(opened)
    return f"/proc/self/fd/{FD}/../../proc/{pid}/root"


def mappings(pid: int) -> list[tuple[int, int, int, str]]:
    """(start, end, file offset, path) of each mapped file; the kernel adds " (deleted)" to a removed one's path."""
    found = []
    with open(f"/proc/{pid}/maps", "rb") as maps:
        for line in maps:
            fields = line.rstrip(b"\n").split(None, 5)
            if len(fields) == 6 and fields[5].startswith(b"/"):
                start, end = (int(part, 16) for part in fields[0].split(b"-"))
                path = os.fsdecode(fields[5].replace(b"\\012", b"\n"))
                found.append((start, end, int(fields[2], 16), path))
    return found


class Memory:
    """Words and strings of a process; `word` is 8 or 4 (bytes)."""

    def __init__(self, pid: int) -> None:
        with open(f"/proc/{pid}/exe", "rb") as exe:
            self.word = 8 if exe.read(5)[4] == 2 else 4
        self.fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)

    def read(self, address: int, size: int) -> bytes:
        return os.pread(self.fd, size, address)

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack("=%d%s" % (count, "QI"[self.word == 4]), self.read(address, count * self.word))

    def string(self, address: int) -> str:
        return os.fsdecode(self.read(address, PAGE - address % PAGE).split(b"\0")[0])


def link_map(pid: int, memory: Memory) -> list[tuple[str, int]]:
    """(name, address of its dynamic section) of each library, as the dynamic linker tells debuggers.

    The way is the one of gdb itself: auxiliary vector, program headers, DT_DEBUG, struct r_debug (link.h).
    """
    with open(f"/proc/{pid}/auxv", "rb") as auxv:
        raw = auxv.read()
    flat = struct.unpack("=%d%s" % (len(raw) // memory.word, "QI"[memory.word == 4]), raw)
    vector = dict(zip(flat[::2], flat[1::2]))
    bias = dynamic = None
    for index in range(min(vector[AT_PHNUM], 256)):
        header = vector[AT_PHDR] + index * vector[AT_PHENT]
        kind = struct.unpack("=I", memory.read(header, 4))[0]
        address = memory.words(header + 2 * memory.word, 1)[0]
        if kind == PT_PHDR:
            bias = vector[AT_PHDR] - address
        elif kind == PT_DYNAMIC:
            dynamic = address
    if bias is None or dynamic is None:
        return []
    debug = 0
    for index in range(256):
        tag, value = memory.words(bias + dynamic + index * 2 * memory.word, 2)
        if tag == DT_DEBUG:
            debug = value
        if not tag or debug:
            break
    found: list[tuple[str, int]] = []
    link = memory.words(debug + memory.word, 1)[0] if debug else 0
    while link and len(found) < LINKS:
        _, name, section, link = memory.words(link, 4)
        found.append((memory.string(name), section))
    return found


def first_page(path: str) -> bytes:
    """The beginning of a regular file; nothing when there is none (a pipe must not block us)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, PAGE) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def libraries(pid: int, root: str) -> tuple[dict[str, str], dict[str, str]]:
    """What the names in the link map mean: (name -> path that holds what runs, name -> why there is none)."""
    maps = mappings(pid)
    memory = Memory(pid)
    real: dict[str, str] = {}
    lost: dict[str, str] = {}
    try:
        for name, section in link_map(pid, memory):
            at = next((i for i, entry in enumerate(maps) if entry[0] <= section < entry[1]), None)
            if at is None or not name.startswith("/"):
                continue
            path = maps[at][3]
            base = next((entry for entry in maps[at::-1] if entry[3] == path and not entry[2]), None)
            if base is None:
                continue
            runs = memory.read(base[0], PAGE)
            for candidate in (name, path):
                page = first_page(root + candidate)
                if page and page == runs[: len(page)]:
                    real[name] = candidate
                    break
            else:
                lost[name] = "deleted or replaced" if path.endswith(" (deleted)") else "build-id differs"
    finally:
        os.close(memory.fd)
    return real, lost


def farm(view: str, root: str, files: dict[str, str]) -> None:
    """A tree of links at `view`: each name leads to the file that runs, and its .debug to that one's."""
    for name, path in files.items():
        if os.path.normpath("." + name).startswith(".."):
            continue  # the target's own names must not lead out of the tree
        folder = os.path.dirname(view + name)
        os.makedirs(folder, exist_ok=True)
        for link, to in ((view + name, path), (folder + "/.debug", os.path.dirname(path) + "/.debug")):
            if not os.path.lexists(link) and os.path.exists(root + to):
                os.symlink(root + to, link)


def program(pid: int, root: str) -> str:
    """The executable's path in the target; empty when /proc/PID/exe is the only way to it (deleted, replaced)."""
    path = os.readlink(f"/proc/{pid}/exe")
    try:
        same = os.path.samestat(os.stat(root + path), os.stat(f"/proc/{pid}/exe"))
    except OSError:
        same = False
    return path if same else ""


def settings(pid: int) -> list[str]:
    """gdb commands that make it read the target's files; says on stderr what it can't show."""
    root = hidden_from_realpath(pid)
    view = f"/tmp/root.{pid}"
    path = program(pid, root)
    real, lost = libraries(pid, root)
    for name, why in lost.items():
        shown = os.path.basename(name)
        sys.stderr.write(f"debugrun: {shown} on disk is not what PID {pid} runs ({why}): no symbols for it\n")
    if lost or any(name != to for name, to in real.items()):
        farm(view, root, {**{to: to for to in real.values()}, **real, **({path: path} if path else {})})
    elif not os.path.islink(view):
        os.symlink(root, view)
    return [
        f"set sysroot {view}",
        f"set debug-file-directory {root}/usr/lib/debug:/usr/lib/debug",
        "set exec-file-mismatch off",  # it compares with a file that it looks for in the wrong place
        f"file {view}{path}" if path else f"file {root[:-4]}exe",
    ]


def prepare(pid: int) -> None:
    """Set gdb up for `pid`; what can't be read is left to the attach, which says why."""
    import gdb

    try:
        commands = settings(pid)
    except (OSError, KeyError, struct.error):
        return
    for command in commands:
        gdb.execute(command)
