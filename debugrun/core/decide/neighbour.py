"""A sidecar beside a target that is not trusted: what it has beyond it, and whether the target could take that. Pure.

Processes of one uid in one PID namespace may get into each other (ptrace(2), /proc/PID/fd, mem, root), unless the
kernel says no: programs that their user can't read are not dumpable, and one with more capabilities is left alone.
"""

from __future__ import annotations

from debugrun.core.decide import judge
from debugrun.core.decide.programs import READ_ALL, of_toolbox
from debugrun.core.grants import Gate, Grant, Layer, Option, Placement, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.rules import seccomp

_NAMED = 3  # calls, in a sentence
_DUMPABLE = 'ptrace(2) "dumpable"; fs/exec.c would_dump()'


def needs_groups(user: str, capabilities: tuple[str, ...]) -> bool:
    """Whether only a change of group closes the toolbox's programs to others of that user."""
    return user == "0:0" and not READ_ALL.isdisjoint(capabilities)


def changes_group(option: Option, facts: Facts) -> bool:
    """Whether its programs are to change their group, which no_new_privs forbids: closed to who may read all files."""
    reads_all = needs_groups(option.user, option.cap_add)
    return reads_all and of_toolbox(option, facts) and not facts.engine.no_new_privileges


def wider_calls(option: Option, facts: Facts) -> tuple[str, ...]:
    """Calls that the sidecar's filter may let through and the target's own refuses; ("?",) where that is not known."""
    container = facts.container
    if option.placement is not Placement.SIDECAR or option.seccomp != "default" or container.seccomp != "custom":
        return ()
    theirs = judge.own_profile(container, facts.engine.name)
    name, ours = judge.base_profile(option, facts)
    if name == "off" or ours is None or theirs is None:
        return ("?",)
    try:
        return seccomp.beyond(
            (ours, frozenset(option.cap_add)),
            (theirs, frozenset(container.capabilities or facts.process.bounding)),
            arch=facts.engine.architecture,
            kernel=judge.kernel_version(facts),
            runtime=judge.runtime(facts),
        )
    except seccomp.ProfileError:
        return ("?",)


def gates(option: Option, facts: Facts) -> tuple[Gate, ...]:
    """That the sidecar's filter is wider than the target's own, where it is: the same kernel says yes to both."""
    wider = wider_calls(option, facts)
    if not wider:
        return ()
    some = ", ".join(wider[:_NAMED]) + (" and more" if len(wider) > _NAMED else "")
    fact = f"{facts.container.name} has a filter of its own, and the sidecar's lets through more: {some}"
    source = "SecurityOpt; seccomp(2)"
    return (Gate(need="container", layer=Layer.SECCOMP, verdict=Verdict.OPEN, fact=fact, source=source),)


def by_name(option: Option, facts: Facts) -> str:
    """Why the option is not taken unless a person names what runs; "": it is. `option.grant` is known by now."""
    name = facts.container.name
    if option.grant is Grant.NONE:
        return ""
    if is_of_target(option, facts):
        return f"the tool is a program of {name}'s own, which is trusted with no more than {name} has"
    if _takes_over(option, facts):
        return f"root in {name} could get into the sidecar, whose programs it may read ({_DUMPABLE})"
    return ""


def is_of_target(option: Option, facts: Facts) -> bool:
    """Whether the program that runs is the target's to choose."""
    here = option.placement is Placement.HERE
    toolbox = facts.images.toolbox
    return here or (option.image == facts.container.image_id and option.image != toolbox)


def _takes_over(option: Option, facts: Facts) -> bool:
    """Whether a process of the target could get into a sidecar of the toolbox that has more than it.

    security/commoncap.c cap_ptrace_access_check(): not into one with a capability that it lacks.
    """
    held = facts.container.capabilities
    if not of_toolbox(option, facts) or option.uid != 0 or held is None or "SYS_PTRACE" in held:
        return False  # one that holds SYS_PTRACE gets in everywhere: that is said, and nothing helps
    readable = not READ_ALL.isdisjoint(option.cap_add) and option.no_new_privileges
    return readable and set(option.cap_add) <= set(held)


def said(option: Option, facts: Facts) -> tuple[str, ...]:
    """What a person should know before: nothing that we do keeps SYS_PTRACE out."""
    if option.grant is Grant.NONE or option.placement is not Placement.SIDECAR:
        return ()
    if "SYS_PTRACE" not in (facts.container.capabilities or ()):
        return ()
    return (f"{facts.container.name} holds SYS_PTRACE: its root can use what the sidecar is given",)
