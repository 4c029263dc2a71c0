"""Show gdb the files that process PID runs, although gdb lives in another mount namespace.

This text goes to gdb's embedded Python (gdb 12 or later) on its command line, followed by a call of
`prepare(PID)`, before gdb attaches. It reads /proc/PID, which takes no more than the attach itself, and
changes only gdb's settings and the debug container's own /tmp.

Why `set sysroot /proc/PID/root` alone is not enough:

* gdb runs realpath(3) over names, and readlink of /proc/PID/root says "/": a file of the debug container at
  the same path is then taken for the target's. So names go through a directory that was opened and then
  removed: the kernel walks on from it (".." of a removed directory still leads up), realpath(3) can't, and
  gdb keeps the name as it is.
* An absolute symbolic link on the way to a library is followed from the debug container's root. But the file
  that the process mapped is named in /proc/PID/maps, free of links: such a library is linked to there.
* A library may have been replaced on disk since it was mapped. What the process runs then begins with other
  bytes (ELF header, program headers and, as linkers order them, the build-id). No symbols beat wrong ones.
* A process may have changed its root directory (chroot(2)) after it loaded its libraries: /proc/PID/maps and
  /proc/PID/exe still name them from the root of its mount namespace. ".." leads up to that from its own root.
"""

# Only what gdb's Python has loaded anyway is imported: pathlib would cost more than all the rest.

from __future__ import annotations

import _signal
import contextlib
import os
import stat
import struct
import sys

GAP_FD = 60  # stays open in gdb. Beyond 63 the kernel must grow the table of open files: 10 ms with threads
PAGE = 4096
MAX_LIBRARIES = 4096  # the target is not trusted to end its list
IMPATIENCE = 2.0  # seconds for a file to be opened
MAX_HEADERS = 256
AT_PHDR, AT_PHENT, AT_PHNUM = 3, 4, 5  # auxiliary vector, getauxval(3)
PT_DYNAMIC, PT_PHDR, DT_DEBUG = 2, 6, 21  # elf(5)
ELFCLASS64 = 2
BUILD_ID = b"\4\0\0\0\x14\0\0\0\3\0\0\0GNU\0"  # its note, of 20 bytes: elf(5), "Notes"
DELETED = " (deleted)"


# (PID, roots) -> what `libraries` finds
Look = "Callable[[int, list[str]], tuple[dict[str, tuple[str, str]], list[str]]]"


class Memory:
    """Words (8 or 4 bytes, as the program has them) and strings of a process."""

    def __init__(self, pid: int) -> None:
        with open(f"/proc/{pid}/exe", "rb") as exe:
            wide = exe.read(5)[4:] == bytes([ELFCLASS64])
        self.word, self.code = (8, "Q") if wide else (4, "I")
        self.fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)

    def read(self, address: int, size: int) -> bytes:
        """Fewer bytes than asked for where the mapping ends."""
        return os.pread(self.fd, size, address)

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """Unsigned; struct.error where nothing is mapped."""
        return struct.unpack(f"={count}{self.code}", self.read(address, count * self.word))

    def string(self, address: int) -> str:
        """At most up to the end of its page: longer names than that are not worth a second look."""
        return os.fsdecode(self.read(address, PAGE - address % PAGE).split(b"\0")[0])


def hidden_from_realpath(pid: int) -> str:
    """A path to /proc/PID that the kernel can walk and realpath(3) can't, as long as GAP_FD is open."""
    gap = f"/tmp/.gap.{os.getpid()}"
    os.mkdir(gap, 0o700)
    opened = os.open(gap, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.rmdir(gap)
    os.dup2(opened, GAP_FD, inheritable=False)
    os.close(opened)
    return f"/proc/self/fd/{GAP_FD}/../../proc/{pid}"


def mappings(text: bytes) -> list[tuple[int, int, int, str]]:
    r"""(start, end, file offset, path) of each mapped file in /proc/PID/maps.

    The kernel writes a newline in a path as \012, and " (deleted)" after the path of a removed file.
    """
    found = []
    for line in text.splitlines():
        fields = line.split(None, 5)
        if fields[5:] and fields[5].startswith(b"/"):
            start, _, end = fields[0].partition(b"-")
            path = os.fsdecode(fields[5].replace(b"\\012", b"\n"))
            found.append((int(start, 16), int(end, 16), int(fields[2], 16), path))
    return found


def debug_address(pid: int, memory: Memory) -> int:
    """Where the dynamic linker keeps its struct r_debug (link.h); 0 for a static program or before it has run.

    The way is gdb's own: auxiliary vector, program headers, dynamic section, DT_DEBUG.
    """
    with open(f"/proc/{pid}/auxv", "rb") as auxv:
        vector = dict(struct.iter_unpack(f"=2{memory.code}", auxv.read()))
    bias = dynamic = None
    for index in range(min(vector[AT_PHNUM], MAX_HEADERS)):
        header = vector[AT_PHDR] + index * vector[AT_PHENT]
        (kind,) = struct.unpack("=I", memory.read(header, 4))
        (address,) = memory.words(header + 2 * memory.word, 1)  # p_vaddr, in both classes
        if kind == PT_PHDR:
            bias = vector[AT_PHDR] - address
        elif kind == PT_DYNAMIC:
            dynamic = address
    if bias is None or dynamic is None:
        return 0
    for index in range(MAX_HEADERS):
        tag, value = memory.words(bias + dynamic + 2 * index * memory.word, 2)
        if tag in (0, DT_DEBUG):
            return value if tag else 0
    return 0


def link_map(pid: int, memory: Memory) -> list[tuple[str, int]]:
    """(name, address of the dynamic section) of each loaded library: what gdb will look for by that name."""
    found: list[tuple[str, int]] = []
    debug = debug_address(pid, memory)
    link = memory.words(debug + memory.word, 1)[0] if debug else 0
    while link and len(found) < MAX_LIBRARIES:
        _, name, section, link = memory.words(link, 4)
        found.append((memory.string(name), section))
    return found


def open_file(path: str) -> int:
    """A descriptor of a regular file, to read from; -1 where there is none.

    Nothing else is opened, whoever puts it there when: opening a pipe would block, and opening a device do something.
    """
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return -1
    try:
        if stat.S_ISREG(os.fstat(found).st_mode):
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        pass
    finally:
        os.close(found)
    return -1


def first_page(path: str) -> bytes:
    """The beginning of a regular file; nothing when there is none."""
    fd = open_file(path)
    if fd < 0:
        return b""
    try:
        return os.read(fd, PAGE)
    except OSError:
        return b""
    finally:
        os.close(fd)


def roots(pid: int, proc: str) -> list[str]:
    """Where the paths of a process may begin: its root directory, and that of its mount namespace if it is another."""
    own = f"{proc}/root"
    found = [own]
    depth = os.readlink(own).rstrip("/").count("/")
    if depth:
        found.append(own + "/.." * depth)
        # A folder between the two may be closed to us; the container's main process stands above it.
        with contextlib.suppress(OSError):
            if pid != 1 and os.path.samestat(os.stat(f"{proc}/ns/mnt"), os.stat("/proc/1/ns/mnt")):
                found.append(f"{proc}/../1/root")
    return found


def libraries(pid: int, roots: list[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """(name in the link map -> (path in the target, the file that runs), names of which there is no such file).

    A file of our own at that path is as good when it has the same build-id.
    """
    with open(f"/proc/{pid}/maps", "rb") as text:
        maps = mappings(text.read())
    real: dict[str, tuple[str, str]] = {}
    lost: list[str] = []
    memory = Memory(pid)
    try:
        for name, section in link_map(pid, memory):
            at = next((i for i, (start, end, _, _) in enumerate(maps) if start <= section < end), None)
            if at is None or not name.startswith("/"):
                continue
            path = maps[at][3]
            base = next((entry[0] for entry in maps[at::-1] if entry[3] == path and entry[2] == 0), None)
            if base is None:
                continue
            runs = memory.read(base, PAGE)
            names = dict.fromkeys((name, path))
            places = [(each, root + each) for root in roots for each in names]
            if BUILD_ID in runs:
                places.append((name, path.removesuffix(DELETED)))
            for each, file in places:
                page = first_page(file)
                if page and runs.startswith(page):
                    real[name] = each, file
                    break
            else:
                lost.append(name)
    finally:
        os.close(memory.fd)
    return real, lost


def leads_out(view: str, folder: str) -> bool:
    """Whether a part of `folder` below `view` is a link. Only we write there: what is none stays none."""
    path = view
    for part in folder[len(view) :].split("/"):
        path = f"{path}/{part}"
        if os.path.islink(os.path.normpath(path)):  # what comes before a ".." need not be there yet
            return True
    return False


def farm(view: str, files: dict[str, str]) -> None:
    """A tree of links at `view`: each name leads to the file that runs, and its .debug to that one's.

    The names are the target's own: none may lead out of the tree, where a link of it would be made in the target.
    """
    os.mkdir(view, 0o700)
    for name, file in files.items():
        folder = os.path.dirname(view + name)
        if os.path.normpath("." + name).startswith("..") or leads_out(view, folder):
            say(f"{name} leads out of the view of the target's files: no symbols for it")
            continue
        os.makedirs(folder, exist_ok=True)
        for link, to in ((view + name, file), (folder + "/.debug", os.path.dirname(file) + "/.debug")):
            if not os.path.lexists(link) and os.path.exists(to):
                os.symlink(to, link)


def executable(pid: int, roots: list[str]) -> tuple[str, str]:
    """(the executable's path in the target, the file); empty when only /proc/PID/exe leads to it (deleted, replaced).

    So does it for a path that would need quoting in a command of gdb: a newline there would end the command.
    """
    path = os.readlink(f"/proc/{pid}/exe")
    if all(c.isalnum() or c in "/._+-@,:=~" for c in path):
        for root in roots:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(root + path), os.stat(f"/proc/{pid}/exe")):
                    return path, root + path
    return "", ""


def say(text: str) -> None:
    """One line on stderr, whatever the target put into its file names."""
    sys.stderr.write("debugrun: " + "".join(c if c.isprintable() else "?" for c in text) + "\n")


def make_view(pid: int, proc: str, view: str, blind: "Look | None" = None) -> tuple[str, list[str]]:  # noqa: UP037 - run without the future as well
    """The target's files at `view`, by the names that gdb knows; says what can't be shown. `proc` leads to /proc/PID.

    (the executable's path below it or "", the target's roots). `blind` looks where the memory may not be read.
    """
    places = roots(pid, proc)
    path, program = executable(pid, places)
    try:
        real, lost = libraries(pid, places)
    except PermissionError:
        if blind is None:
            raise
        real, lost = blind(pid, places)
    for name in lost:
        say(f"{os.path.basename(name)} on disk is not what PID {pid} runs (deleted or replaced): no symbols for it")
    if lost or len(places) > 1 or any((name, places[0] + name) != found for name, found in real.items()):
        programs = {path: program} if path else {}
        names = {name: file for name, (_, file) in real.items()}
        farm(view, {**programs, **dict(real.values()), **names})
    else:
        os.symlink(places[0], view)
    return path, places


def settings(pid: int) -> list[str]:
    """Commands that make gdb read the target's files; says what can't be shown."""
    if os.path.samestat(os.stat("/proc/self/ns/mnt"), os.stat(f"/proc/{pid}/ns/mnt")):
        return ["set sysroot target:", "set debug-file-directory /usr/lib/debug"]  # in place: the names are right
    proc = hidden_from_realpath(pid)
    view = f"/tmp/root.{pid}"
    if os.path.lexists(view):
        view += f".{os.getpid()}"
    path, places = make_view(pid, proc, view)
    debug = ":".join([*(f"{root}/usr/lib/debug" for root in places), "/usr/lib/debug"])
    return [
        f"set sysroot {view}",
        f"set debug-file-directory {debug}",
        "set exec-file-mismatch off",  # gdb would compare with the file of that name in its own container
        f"file {view}{path}" if path else f"file {proc}/exe",
    ]


def hold_signals() -> None:
    """Let HUP, INT and TERM wait until gdb has attached.

    gdb passes an INT on to the process that it waits for, as Ctrl-C; while it attaches that stays on its way, and
    kills the process once gdb has gone. A TERM would leave it stopped.
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM})


def wait_for_nobody() -> None:
    """Have an open(2) that does not come back fail: gdb opens what the target calls a file with debug information.

    Where that is a pipe it would wait for a writer, with its process stopped (fifo(7)); interrupted by a signal, it
    goes on without the file. gdb takes up again what else a signal interrupts: SIGCHLD does that all the time.
    """
    _signal.signal(_signal.SIGALRM, lambda *_: None)
    _signal.setitimer(_signal.ITIMER_REAL, IMPATIENCE, IMPATIENCE)


def prepare(pid: int) -> None:
    """Set gdb up for `pid`. What can't be read is left to the attach, which says why."""
    import gdb  # noqa: PLC0415 - exists in gdb only; the rest is tested outside of it

    hold_signals()
    wait_for_nobody()
    try:
        commands = settings(pid)
    except (OSError, KeyError, struct.error) as error:
        if str(getattr(error, "filename", None)).startswith("/tmp/"):
            say(f"{error}: files may be taken from the debug container when they have the same path")
        return
    for command in commands:
        gdb.execute(command)
