"""A grant with each of its parts taken away in turn: what `plan --prove` tries. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from debugrun.core.grants import Option
from debugrun.core.know.facts import Facts


def reduced(option: Option, facts: Facts) -> Iterator[tuple[str, Option]]:
    """(the part, the option without it); what the target has itself is no part that is granted.

    Root for a target that is not root is one part with its capabilities: nobody else would have them.
    """
    own = set(facts.process.permitted) if facts.process.uids[1] == 0 else set[str]()
    if option.privileged:
        yield "privileged", replace(option, privileged=False, cap_drop=("ALL",))
    for name in option.cap_add:
        if name not in own:
            yield name, replace(option, cap_add=tuple(each for each in option.cap_add if each != name))
    for call in option.opened_calls:
        left = tuple(each for each in option.opened_calls if each != call)
        yield f"system call {call}", replace(option, opened_calls=left)
    if option.seccomp == "unconfined" and not option.privileged:
        yield "seccomp=unconfined", replace(option, seccomp="default")
    if option.apparmor == "unconfined" and facts.process.label not in {None, "unconfined"}:
        yield "apparmor=unconfined", replace(option, apparmor=None)
    if option.selinux == "disable":
        yield "label=disable", replace(option, selinux=None)
    for path in option.mounts:
        yield f"mount of {path}", replace(option, mounts=tuple(each for each in option.mounts if each != path))
    if option.uid == 0 and facts.process.uids[1] != 0:
        user = f"{facts.process.uids[1]}:{facts.process.gids[1]}"
        yield "root", replace(option, user=user)
