"""One run of somebody's `docker run` line with another grant, in a container that is ours and gone afterwards.

The line is the client's own, so its client runs it; each word is an argument, none goes through a shell.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence

from debugrun.core.know import kinds
from debugrun.core.know.kinds import LABEL_SESSION, LABEL_TOOL
from debugrun.core.minimize.line import Line, plain_words
from debugrun.core.minimize.search import Outcome
from debugrun.engine import ownership
from debugrun.errors import EngineError
from debugrun.values import dataclass

TOOL = "minimize"
_PAUSE = 0.2  # seconds between two tries of a check
_TAIL = 300  # characters of what a failed run said


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What a run has to pass: `words` in the container, () for the line's own success; `within` is in seconds."""

    words: tuple[str, ...] = ()
    within: float = 30.0


def run(line: Line, grant: Sequence[str], check: Check, *, session: str) -> Outcome:
    """Whether the line passes with these options of docker's. Raises EngineError: there is no such client."""
    name = f"debugrun-{TOOL}-{os.urandom(5).hex()}"
    labels = ownership.marked(kinds.TRIAL, name, {LABEL_SESSION: session, LABEL_TOOL: TOOL})
    ours = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    detached = ["--detach"] if check.words else []
    words = [line.client, "run", *detached, "--name", name, *ours, *plain_words(line), *grant, *line.rest]
    with _removed(line.client, name):
        if not check.words:
            done = _client(words, check.within)
            return Outcome(passed=done.returncode == 0, said=_said(done))
        done = _client(words, check.within)
        if done.returncode != 0:
            return Outcome(passed=False, said=_said(done))
        return _checked(line.client, name, check)


def _checked(client: str, name: str, check: Check) -> Outcome:
    """The check is repeated until it passes, the time is over, or the container has ended."""
    deadline = time.monotonic() + check.within
    while True:
        done = _client([client, "exec", name, *check.words], check.within)
        if done.returncode == 0:
            return Outcome(passed=True)
        running = _client([client, "inspect", "--format", "{{.State.Running}}", name], check.within)
        if running.stdout.strip() != "true":
            logs = _client([client, "logs", "--tail", "5", name], check.within)
            return Outcome(passed=False, said=_said(logs) or "the container ended")
        if time.monotonic() > deadline:
            return Outcome(passed=False, said=_said(done) or f"the check did not pass within {check.within:.0f} s")
        time.sleep(_PAUSE)


def _client(words: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, text=True,
            errors="replace",
        )  # fmt: skip
    except FileNotFoundError as error:
        raise EngineError("no-client", f"there is no {words[0]} here to run the line", f"install {words[0]}") from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(words), 1, "", f"not finished within {seconds:.0f} s")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that says something: Docker's own hint to its help is none."""
    lines = [each.strip() for each in f"{done.stdout}\n{done.stderr}".splitlines() if each.strip()]
    lines = [each for each in lines if "--help' for more information" not in each]
    return lines[-1][-_TAIL:] if lines else f"exit status {done.returncode}"


@contextlib.contextmanager
def _removed(client: str, name: str) -> Iterator[None]:
    """The container with its anonymous volumes is gone afterwards, whatever ended the run: it is a run's own."""
    try:
        yield
    finally:
        with contextlib.suppress(EngineError):
            _client([client, "rm", "--force", "--volumes", name], 60)
