"""Runs inside the toolbox image while it is built, with the image's own Python.

Arguments: one COPY=BINARY=MASK for each copy of a tool that is to carry capabilities: the copy's path, the binary's
name, and the capabilities as a bit mask in hexadecimal; then the names of all tools. A binary that the image lacks is
skipped.
"""

from __future__ import annotations

import compileall
import os
import shutil
import stat
import struct
import sys
from pathlib import Path

# include/uapi/linux/capability.h: VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, then permitted and inheritable,
# lower and upper halves, little endian.
REVISION_AND_EFFECTIVE = 0x02000001
PASSWD = (
    "root:x:0:0:root:/tmp:/bin/sh",
    "tcpdump:x:100:101::/nonexistent:/usr/sbin/nologin",
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
)
# No read for anybody: then the kernel makes a process that runs it undumpable (fs/exec.c would_dump()), and nobody of
# its uid may trace it or open its /proc/PID/fd, mem, root (ptrace(2)). Not for the owner either: root without
# DAC_OVERRIDE.
EXECUTABLE_ONLY = 0o111
# For root with DAC_OVERRIDE, who may read everything: then it takes a change of group at each program's start to make
# the process undumpable (fs/exec.c begin_new_exec(), kernel/cred.c commit_creds()). Shell and tini run as one group,
# the tools as root's again, so that the target's files in /proc are theirs to open. Nobody but root can start them.
ROOT_ONLY = 0o2110
ROOT_COPIES = Path("/usr/lib/debugrun/root")
KEEPERS = ("busybox", "tini")
NOGROUP = 65534
GROUP = ("root:x:0:", "tcpdump:x:101:", "nogroup:x:65534:")


def copy_with_capabilities(copy: Path, binary: str, mask: int) -> None:
    """A copy of the binary that carries exactly these capabilities, permitted and effective."""
    source = shutil.which(binary)
    if source is None:
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    copy.chmod(EXECUTABLE_ONLY)
    value = struct.pack("<5I", REVISION_AND_EFFECTIVE, mask & 0xFFFFFFFF, 0, mask >> 32, 0)
    os.setxattr(copy, "security.capability", value)


def copies_for_root(binaries: list[str]) -> None:
    """A copy of each program for sidecars of root; `sh` among them is busybox."""
    ROOT_COPIES.mkdir(parents=True)
    for name in (*KEEPERS, "python3", *binaries):
        if source := shutil.which(name):
            copy = ROOT_COPIES / name
            shutil.copyfile(source, copy)
            os.chown(copy, 0, NOGROUP if name in KEEPERS else 0)
            copy.chmod(ROOT_ONLY)
    (ROOT_COPIES / "sh").symlink_to("busybox")


def have_users() -> None:
    """The users that maintainer scripts would have made: tcpdump gives up root for one of its own."""
    for path, lines in (("/etc/passwd", PASSWD), ("/etc/group", GROUP)):
        file = Path(path)
        have = file.read_text().splitlines() if file.exists() else []
        names = {line.partition(":")[0] for line in have}
        file.write_text("\n".join([*have, *(line for line in lines if line.partition(":")[0] not in names), ""]))


def use_busybox_as_shell() -> None:
    """One shell, whichever way the image came about."""
    shell = Path("/bin/sh")
    shell.unlink(missing_ok=True)
    shell.symlink_to("busybox")


def drop_set_user_id() -> None:
    """No tool needs a program that makes its caller root."""
    for path in Path("/usr").rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            path.chmod(mode & 0o777)


def close_programs() -> None:
    """Make every program unreadable. Libraries have to be read to be loaded, scripts by their interpreter."""
    for path in Path("/usr").rglob("*"):
        mode = path.lstat().st_mode
        closed = path.parent == ROOT_COPIES or stat.S_IMODE(mode) == EXECUTABLE_ONLY
        if stat.S_ISREG(mode) and mode & 0o111 and ".so" not in path.name and not closed:
            with path.open("rb") as file:
                program = file.read(4) == b"\x7fELF"
            if program:
                path.chmod(EXECUTABLE_ONLY)  # which leaves capabilities as they are


def main() -> None:
    """Copy the binaries, close all, and compile all Python there is: gdb starts in a quarter of the time."""
    copies, binaries = ([word for word in sys.argv[1:] if ("=" in word) is wanted] for wanted in (True, False))
    for word in copies:
        copy, binary, mask = word.split("=")
        copy_with_capabilities(Path(copy), binary, int(mask, 16))
    have_users()
    use_busybox_as_shell()
    drop_set_user_id()
    copies_for_root(binaries)
    close_programs()
    for folder in ("/usr/lib/python3", f"/usr/lib/python3.{sys.version_info.minor}", "/usr/share/gdb/python"):
        compileall.compile_dir(folder, quiet=2, workers=0)


if __name__ == "__main__":
    main()
