"""The toolbox's programs, which no user but root may read: whose process that makes theirs. Pure."""

from __future__ import annotations

from debugrun.core.grants import Option, Placement
from debugrun.core.know.facts import Facts

READ_ALL = frozenset({"DAC_OVERRIDE", "DAC_READ_SEARCH"})  # who has one of these may read every program


def of_toolbox(option: Option, facts: Facts) -> bool:
    """Whether the option is a sidecar of a toolbox that debugrun has built: its programs can't be read."""
    ours = facts.images.toolbox if facts.images.toolbox_binaries else None
    return option.placement is Placement.SIDECAR and ours is not None and option.image == ours


def hidden(option: Option, facts: Facts) -> bool:
    """Whether the tool's own files in /proc are root's and not its user's.

    A process is not dumpable whose program gave it capabilities (kernel/cred.c commit_creds()) or can't be read by it
    (fs/exec.c would_dump()); those files are root's then (proc(5)).
    """
    unreadable = of_toolbox(option, facts) and READ_ALL.isdisjoint(option.cap_add)
    return option.uid != 0 and (option.file_capability or unreadable)
