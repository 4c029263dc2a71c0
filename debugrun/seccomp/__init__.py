"""Seccomp profiles: read one, ask what it does with a call, and open exactly the calls that a tool needs.

Pure: nothing here talks to an engine or a kernel.
"""

from __future__ import annotations

from debugrun.seccomp.defaults import default_profile, runtime_of
from debugrun.seccomp.evaluate import evaluate
from debugrun.seccomp.model import ArgMatch, Filter, Outcome, Profile, ProfileError, Rule, Runtime, SyscallNeed
from debugrun.seccomp.parse import dump_profile, parse_profile
from debugrun.seccomp.widen import widen

__all__ = [
    "ArgMatch",
    "Filter",
    "Outcome",
    "Profile",
    "ProfileError",
    "Rule",
    "Runtime",
    "SyscallNeed",
    "default_profile",
    "dump_profile",
    "evaluate",
    "parse_profile",
    "runtime_of",
    "widen",
]
