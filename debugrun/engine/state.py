"""What this machine keeps for its user between two runs: the folder of the journal, and the secret of our proofs."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

from platformdirs import user_state_path

from debugrun import NO_HOME

SECRET = 32  # bytes


def directory() -> Path:
    """The folder of the journal: DEBUGRUN_STATE, else in the state directory.

    Without a home there is none, and all goes on without.
    """
    if override := os.environ.get("DEBUGRUN_STATE"):
        return Path(override)
    try:
        found = user_state_path("debugrun") / "recreated"
    except RuntimeError:  # platformdirs: neither HOME nor an entry in passwd(5)
        return Path(NO_HOME)
    return found if found.is_absolute() else Path(NO_HOME)


def make() -> Path:
    """The same, made if need be, for its owner only. Raises OSError."""
    folder = directory()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def secret() -> bytes:
    """The key of this machine's proofs of ownership, for its owner's eyes only: made when there is none.

    Where none can be kept it is this process's own: what it creates is its own to remove, and no later one's.
    """
    return _secret(directory())


@functools.cache
def _secret(folder: Path) -> bytes:
    path = folder / "secret"
    with contextlib.suppress(OSError):
        if (kept := _kept_secret(path)) is not None:
            return kept
        make()
        fresh = folder / f"secret.{os.getpid()}"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:  # noqa: PTH123 - Path.open has no mode for a new file
            out.write(os.urandom(SECRET))
            out.flush()
            os.fsync(out.fileno())
        try:
            with contextlib.suppress(FileExistsError):  # another one was faster
                os.link(fresh, path)
        finally:
            fresh.unlink()
        if (kept := _kept_secret(path)) is not None:
            return kept
    return os.urandom(SECRET)


def _kept_secret(path: Path) -> bytes | None:
    """The secret in that file; None: there is none, or others may have read or written it."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        seen = os.fstat(file.fileno())
        told = file.read(SECRET + 1)
        if seen.st_uid == os.geteuid() and not seen.st_mode & 0o077 and len(told) == SECRET:
            return told
    return None
