"""The journal of recreated containers: one small file each, for what the engine's labels can't tell.

That is: a stand-in that somebody removed by hand took its label with it, and on this machine only one debugrun works
on a container at a time. Labels alone are enough to go back, so that a journal which can't be written is no failure.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping

from debugrun.core.rebuild import transaction
from debugrun.core.rebuild.transaction import Record
from debugrun.engine.state import directory, make
from debugrun.errors import TargetError


@contextlib.contextmanager
def working_on(original: str, name: str) -> Iterator[None]:
    """While nobody else on this machine works on that container. Raises TargetError `being-recreated`."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # see the module's first lines
            path = make() / f"{original}.lock"
            while True:
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, lock)
                _lock(lock, name)
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_ino == os.fstat(lock).st_ino:
                        break  # else its former owner has just removed it
            stack.callback(path.unlink, missing_ok=True)
        yield


def _lock(lock: int, name: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.pread(lock, 20, 0).decode(errors="replace").strip()
        raise TargetError(
            "being-recreated", f"{name} is being recreated or restored by another debugrun, PID {who}", "wait for it"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def write(record: Record, endpoint: str) -> bool:
    """Write down what is about to be done on the engine at `endpoint`; whether that could be done."""
    text = json.dumps({"endpoint": endpoint, "record": transaction.dump(record)}) + "\n"
    with contextlib.suppress(OSError):
        path = make() / f"{record.original}.json"
        fresh = path.with_suffix(f".{os.getpid()}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:  # noqa: PTH123 - Path.open has no mode for a new file
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
        return True
    return False


def forget(original: str) -> None:
    """Drop what was written down."""
    with contextlib.suppress(OSError):
        (directory() / f"{original}.json").unlink(missing_ok=True)


def records(endpoint: str) -> tuple[Record, ...]:
    """What was written down for the engine at `endpoint`; a file that can't be read is left alone."""
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(directory().glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                told = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(told, Mapping) and told.get("endpoint") == endpoint:
                    found.append(transaction.load(str(told["record"])))
    return tuple(found)
