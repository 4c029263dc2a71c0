"""Runs inside lldb, which gets this text by its command "script": no file of ours is needed in the tool's image.

No backquote in it: lldb would evaluate what stands between two of them.

lldb has no sysroot for a process of its own machine: it reads the target's program and libraries by their paths in
the tool's own file system. There they are missing, or, worse, others of the same name. So the program is given as
/proc/PID/exe, and once attached every library is exchanged for the file below /proc/PID/root that /proc/PID/maps
names: its paths hold no links, and device and inode prove that it is the mapped file.

And no signal makes lldb let go: TERM and HUP end it at once, its breakpoints stay in the target's text and kill that
(measured with lldb 19). So a thread waits for them, whatever the main one does, and detaches.
"""

from __future__ import annotations

import glob
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import lldb

# The target is not trusted: no script of its own, nothing fetched.
SETTINGS = (
    "settings set target.load-script-from-symbol-file false",
    "settings set symbols.enable-external-lookup false",
    "settings set target.debug-file-search-paths /proc/{pid}/root/usr/lib/debug",
)


def prepare(pid: int) -> None:
    """Attach, with the names of the target's own files, and with a way to let go."""
    # It looks for its server beside its own program, and that of a sidecar of root is a copy.
    for server in glob.glob("/usr/lib/llvm-*/bin/lldb-server"):
        os.environ.setdefault("LLDB_DEBUGSERVER_PATH", server)
    for setting in SETTINGS:
        lldb.debugger.HandleCommand(setting.format(pid=pid))
    leave_gently(lldb.debugger)
    target = lldb.debugger.CreateTarget(f"/proc/{pid}/exe")
    if not target.IsValid():  # not to be read; attaching will say why
        target = lldb.debugger.CreateTarget("")
    lldb.debugger.SetSelectedTarget(target)
    failure = lldb.SBError()
    target.AttachToProcessWithID(lldb.SBListener(), pid, failure)
    if failure.Fail():
        say(f"attach failed: {failure.GetCString()}", by="error")
        os._exit(1)
    exchange_libraries(target, pid)


def exchange_libraries(target: lldb.SBTarget, pid: int) -> None:
    """Every library by the file that the process has mapped; none is better than another one."""
    places = roots(pid)
    modules = {module.GetObjectFileHeaderAddress().GetLoadAddress(target): module for module in target.module_iter()}
    for base, path in mapped(pid).items():
        module = modules.get(base)
        real = next((root + path for root in places if is_mapped(root + path, pid, base)), "")
        if module is not None and module.file.fullpath in {f"/proc/{pid}/exe", real}:
            continue
        if module is not None:
            target.RemoveModule(module)
        found = target.AddModule(real, None, None, None) if real else None
        if found and found.IsValid():
            target.SetModuleLoadAddress(found, base)
        else:
            say(f"{path} on disk is not what PID {pid} runs (deleted or replaced): no symbols for it")


def say(text: str, *, by: str = "debugrun") -> None:
    """One line on stderr, whatever the target put into its file names."""
    shown = "".join(each if each.isprintable() else "?" for each in text)
    print(f"{by}: {shown}", file=sys.stderr, flush=True)


def roots(pid: int) -> list[str]:
    """Where paths in /proc/PID/maps may begin: after a chroot(2) that is above its own root. lldb folds ".." itself."""
    own = f"/proc/{pid}/root"
    depth = os.readlink(own).rstrip("/").count("/")
    if not depth:
        return [own]
    try:
        above = os.open(own + "/.." * depth, os.O_PATH | os.O_DIRECTORY)  # open as long as lldb runs
    except OSError:
        return [own]
    return [own, f"/proc/{os.getpid()}/fd/{above}"]


def lines(pid: int) -> Iterator[tuple[int, str, int, str, int, str]]:
    """The mapped files: (address, access, offset, device, inode, path)."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            addresses, access, offset, device, inode, *path = line.rstrip("\n").split(maxsplit=5)
            if inode != "0" and path:
                yield int(addresses.partition("-")[0], 16), access, int(offset, 16), device, int(inode), path[0]


def mapped(pid: int) -> dict[int, str]:
    """Where each program and library begins: address -> path in the target."""
    seen = list(lines(pid))
    programs = {path for _, access, _, _, _, path in seen if "x" in access}
    return {start: path for start, _, offset, _, _, path in seen if offset == 0 and path in programs}


def is_mapped(file: str, pid: int, base: int) -> bool:
    """Whether the file is the one that is mapped there."""
    try:
        found = os.stat(file)
    except OSError:
        return False
    where = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}", found.st_ino
    return any(start == base and (device, inode) == where for start, _, _, device, inode, _ in lines(pid))


def leave_gently(debugger: lldb.SBDebugger) -> None:
    """From now on TERM and HUP detach and end lldb."""
    wakeup, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    def leave() -> None:
        # The pipe tells of Ctrl-C too, which is lldb's own.
        while not {signal.SIGTERM, signal.SIGHUP} & set(os.read(wakeup, 1)):
            pass
        process = debugger.GetSelectedTarget().process
        # Its state can't be asked for while a command that waits for the process holds the lock.
        process.SendAsyncInterrupt()
        while process.is_alive and process.Detach().Fail():
            time.sleep(0.05)
            process.SendAsyncInterrupt()
        os._exit(0)

    threading.Thread(target=leave, daemon=True).start()
