"""Seccomp profiles: read one, ask what it does with a call, and open exactly the calls that a tool needs.

Pure: nothing here talks to an engine or a kernel.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from debugrun.core.rules.seccomp.defaults import default_profile, runtime_of
from debugrun.core.rules.seccomp.evaluate import evaluate
from debugrun.core.rules.seccomp.model import (
    ArgMatch,
    Filter,
    Outcome,
    Profile,
    ProfileError,
    Rule,
    Runtime,
    SyscallNeed,
)

if TYPE_CHECKING:
    from debugrun.core.rules.seccomp.acceptance import refusal
    from debugrun.core.rules.seccomp.inclusion import beyond
    from debugrun.core.rules.seccomp.parse import dump_profile, parse_profile
    from debugrun.core.rules.seccomp.widening import widen

__all__ = [
    "ArgMatch",
    "Filter",
    "Outcome",
    "Profile",
    "ProfileError",
    "Rule",
    "Runtime",
    "SyscallNeed",
    "beyond",
    "default_profile",
    "dump_profile",
    "evaluate",
    "parse_profile",
    "refusal",
    "runtime_of",
    "widen",
]

# Most decisions neither read nor write a profile.
_LATER = {
    "beyond": "inclusion",
    "dump_profile": "parse",
    "parse_profile": "parse",
    "refusal": "acceptance",
    "widen": "widening",
}


def __getattr__(name: str) -> object:
    """The functions of the modules that are loaded when they are first used."""
    if name not in _LATER:
        raise AttributeError(name)
    found: object = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    return found
