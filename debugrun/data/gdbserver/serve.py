"""Make a view of the files that process PID runs, then become gdbserver, which serves them to a gdb elsewhere.

This text follows data/gdb/prelude.py in one namespace; `serve(PID)` takes the program and its arguments from sys.argv.
gdbserver itself would enter the process' mount namespace for them, which takes SYS_ADMIN. So the client asks for
them below the view: attach/remote_protocol.py.
"""

from __future__ import annotations

import os
import struct
import sys


def mapped(pid, places):
    """As `libraries`, where the memory of the process is closed to us: by what the kernel itself calls removed."""
    with open(f"/proc/{pid}/maps", "rb") as text:
        paths = dict.fromkeys(path for _, _, _, path in mappings(text.read()))  # noqa: F821 - of prelude.py
    real = {}
    for path in paths:
        if file := next((root + path for root in places if first_page(root + path)), ""):  # noqa: F821
            real[path] = path, file
    return real, []


def serve(pid):
    """Whatever is in the way of the view, gdbserver starts: attaching says what is closed."""
    try:
        if not os.path.samestat(os.stat("/proc/self/ns/mnt"), os.stat(f"/proc/{pid}/ns/mnt")):
            make_view(pid, f"/proc/{pid}", f"/tmp/root.{pid}", mapped)  # noqa: F821
    except (OSError, KeyError, struct.error) as error:
        say(f"{error}: the debugger at the other end gets no files of PID {pid}")  # noqa: F821
    os.execvp(sys.argv[1], sys.argv[1:])
