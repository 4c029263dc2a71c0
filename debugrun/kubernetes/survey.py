"""Reads /proc of a pod's container from an ephemeral container that runs already: the scout's script, as one exec."""

from __future__ import annotations

import importlib.resources
import time

from debugrun.engine.stream import Frames
from debugrun.errors import EngineError
from debugrun.kubernetes.sidecar import Runner
from debugrun.observe import scout

PATIENCE = 30.0  # seconds for a few lines of text
LONGEST = 4 << 20  # bytes of a report: what a container full of processes says is a tenth of it


def survey(runner: Runner, container: str) -> scout.Survey:
    """What is seen of the processes there. Raises EngineError: nothing came, or it makes no sense."""
    script = (importlib.resources.files("debugrun") / "data" / "scout.sh").read_text(encoding="utf-8")
    # By its path, not by PATH: root's other shell changes its group, to which links in /proc do not open.
    text = output(runner, container, ("/bin/sh", "-c", script, "scout"), given=b"\n")
    try:
        return scout.parse(text)
    except scout.ScoutError as error:
        message = f"the ephemeral container {container} could not read /proc: {error}"
        raise EngineError("scout", message, "does its image hold /bin/sh and busybox or coreutils?") from error


def kernel(runner: Runner, container: str) -> tuple[str, str]:
    """(release, machine) of the node: uname(1), where nodes are not ours to see."""
    words = output(runner, container, ("uname", "-r", "-m")).split()
    return (words[0], words[1]) if len(words) == 2 else ("", "")  # noqa: PLR2004 - as asked


def output(runner: Runner, container: str, argv: tuple[str, ...], *, given: bytes = b"") -> str:
    """What a short command writes to its standard output. Raises EngineError: too long, or no end."""
    stream = runner.exec_start(runner.exec_create(container, argv, user=""))
    frames, found = Frames(), bytearray()
    try:
        if given:
            stream.send_all(given)
        deadline = time.monotonic() + PATIENCE
        while stream.wait(deadline - time.monotonic()):
            data = stream.receive()
            if data == b"":
                return found.decode(errors="replace")
            found += b"".join(part for source, part in frames.feed(data or b"") if source == 1)
            if len(found) > LONGEST:
                break
    finally:
        stream.close()
    raise EngineError("scout", f"{argv[0]} in the ephemeral container {container} did not end", "try again")
