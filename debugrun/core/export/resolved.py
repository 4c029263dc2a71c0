"""A whole filter as a list of calls, for consumers that have no profiles: Beats and systemd. Pure."""

from __future__ import annotations

import errno

from debugrun.core.export.ask import Ask, Export
from debugrun.core.export.words import as_yaml
from debugrun.core.rules.seccomp.calls import calls
from debugrun.core.rules.seccomp.evaluate import evaluate
from debugrun.core.rules.seccomp.model import ProfileError


def allowed(ask: Ask, *, limited_elsewhere: frozenset[str] | None = None) -> tuple[list[str], tuple[str, ...]]:
    """(the calls that the filter lets through, what has to be said of those with some arguments only).

    `limited_elsewhere` are calls whose arguments something else looks at: they are listed; None: all of them. So are
    those among them that the filter answers with ENOSYS.
    """
    if ask.filter is None or ask.privileges.privileged or ask.privileges.seccomp == "unconfined":
        return [], ()
    passing, partly, absent = _sorted_out(ask)
    listed = {*partly, *absent} if limited_elsewhere is None else {*partly, *absent} & limited_elsewhere
    if listed and limited_elsewhere is None:
        said = f"listed, since the container's own filter looks at their arguments: {', '.join(sorted(listed))}"
        return sorted({*passing, *listed}), (said,)
    left = [call for call in partly if call not in listed]
    needed = [call for call in ask.calls if call.partition("(")[0] in left]
    notes = [f"left out, since they are allowed with some arguments only: {', '.join(left)}"] if left else []
    if needed:
        notes.append(f"so the tool lacks {', '.join(needed)}: add the name to allow it with any argument")
    return sorted({*passing, *listed}), tuple(notes)


def _sorted_out(ask: Ask) -> tuple[list[str], list[str], list[str]]:
    """The calls that pass, those that pass with some arguments only, and those that the filter says do not exist."""
    passing, partly, absent = list[str](), list[str](), list[str]()
    assert ask.filter is not None  # noqa: S101 - asked before
    for call in calls():
        try:
            # The verdict is the most severe one of all arguments, so what passes here passes with any.
            found = evaluate(
                ask.filter, call, caps=ask.held, arch=ask.architecture, kernel=ask.kernel, runtime=ask.runtime
            )
        except ProfileError:  # not a call of this architecture's tables
            continue
        if found.passes:
            passing.append(call)
        elif not found.certain:
            partly.append(call)
        elif found.errno == errno.ENOSYS and not found.rule.startswith(("there is no", "the runtime")):
            absent.append(call)
    return passing, partly, absent


def beats(ask: Ask) -> Export:
    """The policy that a Beat loads into itself: the filter in force with the tool's calls, as a list of names.

    elastic.co/guide/en/beats linux-seccomp: default_action, syscalls, action, names.
    """
    names, notes = allowed(ask)
    policy = (
        {"default_action": "errno", "syscalls": [{"action": "allow", "names": names}]}
        if names
        else {"default_action": "allow", "syscalls": []}
    )
    notes += (
        f"the policy is for {ask.architecture}: names are resolved on the machine that loads it",
        "it only takes away: the container's own filter and capabilities have to allow the same calls",
    )
    if ask.privileges.cap_add:
        notes += (
            f"the policy gives no capability: {', '.join(ask.privileges.cap_add)} has to come from the container",
        )
    return Export(text=as_yaml({"seccomp": policy}), notes=notes, usage="put it into the Beat's own YAML file")
