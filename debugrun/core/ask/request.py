"""What was asked, validated, as one value."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from debugrun.core.ask.number import LARGEST_PID, LONGEST, is_number
from debugrun.core.grants import Ceiling, Grant, Placement
from debugrun.errors import UsageError
from debugrun.values import dataclass

TOOLBOX = "debugrun-toolbox:latest"  # the image of the sidecar where none is named


@dataclass(frozen=True, slots=True)
class Recreation:
    """How a container is recreated, where that was asked for.

    `restart_under` starts its own program under the tool, `yes` does without a confirmation, `auto_restore` puts the
    original back when the tool ends, `force_compose` recreates what Compose manages.
    """

    restart_under: bool = False
    yes: bool = False
    auto_restore: bool = False
    force_compose: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One tool on one process of one container.

    At most one of `pid` (the container's own), `host_pid` and `comm` says which process; none of them: PID 1, or
    its only child when PID 1 is an init. `image` overrides the sidecar's image. `duration` is in seconds.
    `may_kill`: the process may die of the tool. `output`: the caller's file for what the tool writes.
    `namespace` and `kubernetes_context` say where a pod is; None: as the kubeconfig does.
    """

    tool: str
    container: str
    mode: str | None = None
    pid: int | None = None
    host_pid: int | None = None
    comm: str | None = None
    args: tuple[str, ...] = ()
    ceiling: Ceiling = field(default_factory=Ceiling)
    image: str | None = None
    duration: int | None = None
    detach_keys: str = "ctrl-p,ctrl-q"
    tool_file: Path | None = None
    recreation: Recreation = field(default_factory=Recreation)
    namespace: str | None = None
    kubernetes_context: str | None = None
    may_kill: bool = False
    output: Path | None = None

    def __post_init__(self) -> None:
        named = [each for each in (self.pid, self.host_pid, self.comm) if each is not None]
        if len(named) > 1:
            raise UsageError("two-targets", "PID, --host-pid and --name exclude each other", "give one of them")
        if self.recreation != Recreation() and self.ceiling.via is not Placement.RECREATE:
            message = "--yes, --auto-restore, --restart-under and --force-compose are about recreating"
            raise UsageError("not-recreating", message, "--via recreate")
        if any(each is not None and not 1 <= each <= LARGEST_PID for each in (self.pid, self.host_pid)):
            raise UsageError("bad-number", f"a PID is at least 1, at most {LARGEST_PID}", "debugrun --help")
        if self.duration is not None and not 1 <= self.duration <= LONGEST:
            raise UsageError("bad-number", f"--duration is at least 1 second, at most {LONGEST}", "debugrun --help")


def ceiling(max_grant: str, via: str | None, *, recreate: bool = False) -> Ceiling:
    """The ceiling as typed; `recreate` is a placement where it can be carried out. Raises UsageError."""
    grants = {each.value: each for each in Grant}
    offered = (Placement.SIDECAR, Placement.HERE, *([Placement.RECREATE] if recreate else []))
    placements = {each.value: each for each in offered}
    if max_grant not in grants:
        raise UsageError("bad-grant", f"{max_grant!r} is not a grant", f"one of: {', '.join(grants)}")
    if via is not None and via not in placements:
        raise UsageError("bad-placement", f"{via!r} is not a placement", f"one of: {', '.join(placements)}")
    return Ceiling(grant=grants[max_grant], via=placements[via] if via else None)


def plain(words: list[str], args: tuple[str, ...]) -> Request | None:
    """The request of a line without options, `TOOL CONTAINER [PID]`; None for any other.

    It is the line that people type most, and reading it needs no command line library (50 ms).
    """
    if not 2 <= len(words) <= 3 or any(word.startswith("-") for word in words):  # noqa: PLR2004 - as in the docstring
        return None
    pid = words[2] if len(words) == 3 else None  # noqa: PLR2004 - the third of three
    if pid is not None and not (is_number(pid) and len(pid) <= len(str(LARGEST_PID))):
        return None
    return Request(tool=words[0], container=words[1], pid=int(pid) if pid else None, args=args)
