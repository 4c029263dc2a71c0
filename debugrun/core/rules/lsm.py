"""Security modules with labels, AppArmor and SELinux: whom a label may trace, and which one a sidecar gets. Pure.

AppArmor's rules were measured on a stock Debian kernel; SELinux' are by its documentation, and were not run.
"""

from __future__ import annotations

from debugrun.core.grants import Layer, Option, Placement, Verdict
from debugrun.core.know.facts import Facts

Answer = tuple[Layer, Verdict, str, str]
Labels = tuple[str | None, str | None]  # (AppArmor label, SELinux: "disable"); None: the engine's own choice

OPEN, CLOSED, UNKNOWN = Verdict.OPEN, Verdict.CLOSED, Verdict.UNKNOWN


def apparmor(mine: str | None, facts: Facts) -> list[Answer]:
    """apparmor.d(5) PTRACE RULES; security/apparmor/task.c aa_may_ptrace(): both sides' profiles are asked.

    The engines' own profiles let their equal trace (moby contrib/apparmor/template.go); what another one says is not
    readable: it may not even let itself trace (measured).
    """
    theirs = facts.process.label or facts.container.apparmor
    if not facts.engine.apparmor or mine is None or theirs is None:
        return []
    theirs = theirs.split(" ", 1)[0]
    source = f"/proc/{facts.process.pid}/attr/current; apparmor.d(5)"
    if mine == "unconfined":
        return [(Layer.LSM, OPEN, f"AppArmor: unconfined may trace {theirs}", source)]
    if _is_engines_profile(mine):
        verdict, may = (OPEN, "may") if mine == theirs else (CLOSED, "may not")
        return [(Layer.LSM, verdict, f"AppArmor: {mine} {may} trace {theirs}", source)]
    return [(Layer.LSM, UNKNOWN, f"AppArmor: whether profile {mine} may trace {theirs} can't be read", source)]


def _is_engines_profile(label: str) -> bool:
    """docker-default; containers-default-VERSION of Podman."""
    return label == "docker-default" or label.startswith("containers-default-")


def selinux(mine: str | None, facts: Facts) -> list[Answer]:
    """container_selinux(8): a domain may trace its own label unless the boolean deny_ptrace is on.

    `mine` is "own" (the target's label), "container" (another one: type and MCS level keep them apart), "unconfined"
    (spc_t), or None where SELinux is not in use.
    """
    theirs = facts.container.selinux or "what is not confined"
    source = "GET /info SecurityOptions; container_selinux(8)"
    match mine:
        case "unconfined":
            return [(Layer.LSM, OPEN, "SELinux: not confined", source)]
        case "own":
            return [(Layer.LSM, UNKNOWN, "SELinux: whether the boolean deny_ptrace is on can't be read", source)]
        case "container":
            return [(Layer.LSM, CLOSED, f"SELinux: a container's label may not trace {theirs}", source)]
        case _:
            return []


def selinux_of(option: Option, facts: Facts) -> str | None:
    """Whose label the tool runs with, as `selinux` takes it.

    A container that joins another's PID namespace gets its label (moby daemon/create.go generateSecurityOpt(), Podman
    the same). Where the target has none there is none to give, and the engine makes a new one unless told not to.
    """
    if not facts.engine.selinux:
        return None
    if option.privileged or option.selinux == "disable":
        return "unconfined"
    if is_confined(facts):
        return "own"
    return "unconfined" if option.placement is Placement.HERE else "container"


def is_confined(facts: Facts) -> bool:
    """Whether SELinux confines the target: one started with label=disable, or privileged, is not (spc_t)."""
    label = facts.process.label or facts.container.selinux or ""
    return bool(facts.container.selinux) and ":spc_t:" not in label


def own(facts: Facts) -> Labels:
    """The target's own: docker-default, what the engine gives unasked, traces only its equal (measured)."""
    label = facts.container.apparmor
    unconfined = facts.engine.selinux and not is_confined(facts)
    return None if label in {None, "", "docker-default"} else label, "disable" if unconfined else None


def others(facts: Facts) -> tuple[Labels, ...]:
    """What is left where the target's own may not trace it: no label, which is more than the target has."""
    mine, disabled = own(facts)
    profile = facts.engine.apparmor and mine not in {None, "unconfined"} and not _is_engines_profile(mine or "")
    if profile:
        return (("unconfined", disabled),)
    return ((mine, "disable"),) if facts.engine.selinux and disabled is None else ()


def widens(option: Option, facts: Facts) -> bool:
    """Whether the tool is confined less than the target."""
    mine, disabled = own(facts)
    less = option.apparmor == "unconfined" != mine and facts.engine.apparmor
    return bool(less or (option.selinux == "disable" and disabled is None and facts.engine.selinux))
