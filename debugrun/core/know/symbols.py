"""What a tool needs to read the target's files from another mount namespace. Pure but for our own data files.

Without this gdb and perf show bare addresses, or, where the debug container has a file at the same path, the names
of the wrong file. The reasons stand with the code that runs beside the tool: data/gdb/prelude.py, data/perf/files.sh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from debugrun.core import package_data

FUTURE = "from __future__ import annotations\n"  # may stand at the start of a text only
# Once gdb has attached: data/gdb/prelude.py has held these signals back until then.
GDB_ATTACHED = "python import _signal; _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {1, 2, 15})"


def gdb_arguments(pid: int, *, prelude: bool = True) -> tuple[str, ...]:
    """Arguments of gdb that come before all others: where the target's files are, and no trust in any of them.

    `pid` as gdb sees it. gdb 12 or later; one built without Python says so on stderr and keeps the plain settings.
    `prelude=False` leaves out the long Python text, for a line that a person reads.

    The target's files are data only (gdb manual, "Auto-loading safe path"): no init file, no script named by or lying
    next to an object file, no libthread_db from the target, no download. Where gdb's own libthread_db does not match
    the target's C library, threads are listed by LWP only.
    """
    root = f"/proc/{pid}/root"
    settings = [
        "set auto-load no",
        "set auto-load safe-path $datadir/auto-load",  # the default has $debugdir, which is the target's below
        "set libthread-db-search-path $sdir",  # the default has $pdir: a directory of the target
        "set debuginfod enabled off",
        f"set sysroot {root}",
        f"set debug-file-directory {root}/usr/lib/debug:/usr/lib/debug",
    ]
    if prelude:
        source = f"{_text('gdb/prelude.py')}\nprepare({pid})\n"
        settings.append(f"python exec({source!r}, {{'__name__': 'debugrun'}})")
    # In place the target's file system is gdb's own, and Python would leave its byte code there.
    early = ("-eiex", "set python dont-write-bytecode on")
    return ("-nx", *early, *(word for setting in settings for word in ("-iex", setting)))


def stacks_arguments(
    pids: Sequence[int], *, together: bool = False, variables: bool = False, py_spy: str = "py-spy"
) -> tuple[str, ...]:
    """Arguments of gdb that make it print the stacks of `pids` as JSON: data/gdb/stacks.py. It attaches to none.

    `together`: all stand still at one instant; `variables`: with arguments and locals; `py_spy` is a path or a name.
    """
    question = {"pids": list(pids), "together": together, "variables": variables, "py-spy": py_spy}
    source = f"{_text('gdb/prelude.py')}\n{_text('gdb/stacks.py').replace(FUTURE, '')}\nstacks({question!r})\n"
    settings = gdb_arguments(pids[0], prelude=False)
    return (*settings, "-batch-silent", "-ex", f"python exec({source!r}, {{'__name__': 'debugrun'}})")


def core_arguments(pid: int, *, bundle: bool, pause: float) -> tuple[str, ...]:
    """Arguments of gdb that make it write a core file of `pid`, as records: data/gdb/core.py. It attaches to none.

    `pause`: seconds that it may stand still at most.
    """
    names = ("gdb/prelude.py", "gdb/stacks.py", "gdb/core.py")
    question = {"pid": pid, "bundle": bundle, "pause": pause}
    source = "\n".join([*(_text(name).replace(FUTURE, "") for name in names), f"core({question!r})\n"])
    settings = gdb_arguments(pid, prelude=False)
    return (*settings, "-batch-silent", "-ex", f"python exec({source!r}, {{'__name__': 'debugrun'}})")


def catch_arguments(question: Mapping[str, object], *, gdb: str = "gdb", py_spy: str = "py-spy") -> tuple[str, ...]:
    """Arguments of gdb that make it wait for a moment and print the stacks of it: data/gdb/catch.py.

    `gdb` and `py_spy` are paths or names: a second gdb unwinds. Nothing of ours says which process before that.
    """
    names = ("gdb/prelude.py", "gdb/stacks.py", "gdb/catch.py")
    text = "\n".join(_text(name).replace(FUTURE, "") for name in names)
    settings = (*gdb_arguments(1, prelude=False), "-batch-silent")
    asked = {**question, "gdb": [gdb, *settings], "py-spy": py_spy, "variables": True}
    source = f"SOURCE = {text!r}\nexec(SOURCE, globals())\ncatch({asked!r})\n"
    return (*settings, "-ex", f"python exec({source!r}, {{'__name__': 'debugrun'}})")


def perf_arguments(pid: int) -> tuple[str, ...]:
    """Words to put before `perf report ...` or `perf script ...`, to name functions of the target.

    `pid` as perf sees it; the process must still run. Takes what recording took, a writable /tmp and a POSIX sh.
    The recording must have been made with `perf record -B`: perf takes build-ids from files of its own container and
    then refuses the right ones.
    """
    return ("sh", "-c", _text("perf/files.sh"), "sh", str(pid))


def gcore_arguments(pid: int) -> tuple[str, ...]:
    """Arguments that make gdb's Python write a core of `pid` to standard output; gdb itself does not attach."""
    source = f"{_text('gcore/dump.py')}\ndump({pid})\n"
    return ("-nx", "-batch-silent", "-iex", f"python exec({source!r}, {{'__name__': 'debugrun'}})")


def gdbserver_arguments(pid: int) -> tuple[str, ...]:
    """Words to put before `gdbserver ...`: a view of the target's files for the gdb at the other end, at `files_of`.

    Takes a POSIX sh and a writable /tmp; without python3 there is no view.
    """
    source = f"{_text('gdb/prelude.py')}\n{_text('gdbserver/serve.py').replace(FUTURE, '')}\nserve({pid})\n"
    return ("sh", "-c", _text("gdbserver/serve.sh"), "sh", source)


def files_of(pid: int) -> str:
    """Where gdbserver's sidecar has the view."""
    return f"/tmp/root.{pid}"  # noqa: S108 - the sidecar's own


def lldb_arguments(pid: int) -> tuple[str, ...]:
    """Arguments of lldb that attach it to `pid`, by the target's own files, and let it detach at TERM and HUP.

    They come before all others. lldb 19 with Python.
    """
    source = _text("lldb/prelude.py")
    scope = "import types; debugrun = types.ModuleType('debugrun')"
    return ("-x", "-Q", "-o", f"script {scope}; exec({source!r}, debugrun.__dict__); debugrun.prepare({pid})")


def delve_arguments(pid: int, binary: str) -> tuple[str, ...]:
    """Words that attach delve so that a signal makes it let go; the arguments of its client follow.

    Takes a POSIX sh, setsid(1) and a writable /tmp.
    """
    return ("sh", "-c", _text("delve/attach.sh"), binary, str(pid))


def _text(name: str) -> str:
    return package_data.text(name)
