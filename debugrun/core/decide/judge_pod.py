"""What somebody typed for a pod, a securityContext, as the Option that it amounts to, with its verdict. Pure.

An ephemeral container inherits what the pod's own securityContext says: kubelet pkg/securitycontext/util.go
DetermineEffectiveSecurityContext().
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from debugrun.core.ask.attempt import Attempt
from debugrun.core.decide import ephemeral
from debugrun.core.decide import judge as judging
from debugrun.core.decide.plan import grant_of
from debugrun.core.grants import Gate, Grant, Layer, Option, Placement, Verdict
from debugrun.core.know import pod as knowledge
from debugrun.core.know.facts import Facts, PodFacts
from debugrun.core.know.json_access import Json, mapping, text
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.know.typed import as_typed
from debugrun.errors import UsageError

_ROOT_REFUSED = "kubelet kuberuntime/security_context_others.go verifyRunAsNonRoot()"


def judged(attempt: Attempt, tool: Tool, mode: Mode, facts: Facts) -> Option:
    """The option that the attempt amounts to, with its verdict and all gates in the order met, but for admission.

    Raises UsageError: a user without a number, or a securityContext that is none.
    """
    here = attempt.placement is Placement.HERE
    if not here and attempt.context is None:
        attempt = replace(attempt, context=json.dumps(_typed(attempt)), how=())
    context = _read(attempt)
    option = _in_place(facts) if here else _option(context, attempt, facts)
    _, gates, refused = judging.judge(option, mode, facts)
    before = _unseen(tool, facts) if here else _before(context, attempt, option, mode, facts)
    gates = tuple(dict.fromkeys((*before, *gates)))
    return replace(
        option,
        grant=grant_of(option, facts),
        verdict=judging.combine(gates),
        gates=gates,
        lost=tuple(need.lost for need in refused),
        command=line(attempt, mode, facts),
    )


def plain(mode: Mode, facts: Facts) -> Attempt:
    """What people type first: kubectl debug beside the container, with the profile that it has when none is named."""
    joined = f"container:{facts.container.name}" if mode.about_process else ""
    context = json.dumps({"capabilities": {"add": ["SYS_PTRACE"]}})  # of the profile general
    return Attempt(placement=Placement.SIDECAR, pid_mode=joined, context=context, how=("--profile=general",))


def _read(attempt: Attempt) -> Json:
    try:
        found = json.loads(attempt.context or "{}")
    except ValueError as error:
        raise _bad(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise _bad("not an object")
    return found


def _bad(why: str) -> UsageError:
    return UsageError("bad-context", f"that securityContext is {why}", "kubectl explain pod.spec.securityContext")


def _typed(attempt: Attempt) -> dict[str, object]:
    """The options of `judge` as a securityContext. Raises UsageError."""
    context: dict[str, object] = {}
    if attempt.user is not None:
        uid, _, gid = attempt.user.replace("root", "0").partition(":")
        if not (uid.isdecimal() and (gid or "0").isdecimal()):
            raise UsageError("unknown-user", f"user {attempt.user!r}: a pod takes numbers", "give --user UID:GID")
        context |= {"runAsUser": int(uid)} | ({"runAsGroup": int(gid)} if gid else {})
    capabilities = {"add": list(attempt.cap_add), "drop": list(attempt.cap_drop)}
    if named := {key: each for key, each in capabilities.items() if each}:
        context["capabilities"] = named
    if attempt.privileged:
        context["privileged"] = True
    if attempt.no_new_privileges:
        context["allowPrivilegeEscalation"] = False
    if attempt.seccomp == "custom":
        raise UsageError("bad-context", "a pod takes a seccomp profile by its place on the node", "--security-context")
    kinds = {"unconfined": "Unconfined", "default": "RuntimeDefault"}
    if not attempt.privileged:
        context["seccompProfile"] = {"type": kinds[attempt.seccomp]}
    return context


def _option(context: Json, attempt: Attempt, facts: Facts) -> Option:
    pod = facts.pod or PodFacts(namespace="")
    privileged = context.get("privileged") is True
    named = mapping(context, "capabilities")
    given = knowledge.capabilities(knowledge.names(named, "add"), knowledge.names(named, "drop"))
    joins = attempt.pid_mode == f"container:{facts.container.name}" or bool(facts.container.pid_mode)
    return Option(
        placement=Placement.SIDECAR,
        grant=Grant.NONE,
        user=user(context, attempt, facts),
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_add=CAPABILITIES if privileged else given,
        seccomp="unconfined" if privileged else _filter(context, pod, facts),
        no_new_privileges=context.get("allowPrivilegeEscalation") is False,
        privileged=privileged,
        network="target",  # a pod's containers share it
        pid_namespace="target" if joins else "own",
        image=attempt.image or "IMAGE",
        context=json.dumps(context),
    )


def user(context: Json, attempt: Attempt, facts: Facts) -> str:
    """The numeric "uid:gid" that it runs as: the container's word, the pod's, the image's, which is taken for root's.

    The kubelet passes the image's uid alone, and the gid is 0 where nobody says one (measured).
    """
    pod = facts.pod or PodFacts(namespace="")
    uid, gid = context.get("runAsUser"), context.get("runAsGroup")
    own = facts.process.uids[1] if attempt.image == facts.container.image else 0
    uid = uid if isinstance(uid, int) else pod.uid if pod.uid is not None else own
    gid = gid if isinstance(gid, int) else pod.gid if pod.gid is not None else 0
    return f"{uid}:{gid}"


def _filter(context: Json, pod: PodFacts, facts: Facts) -> str:
    """The seccomp filter in an option's words.

    Without a word it is none, unless the kubelet has a default: a filter of the target that nobody named.
    """
    kind = text(mapping(context, "seccompProfile"), "type") or pod.seccomp
    if kind == "Localhost":
        return "custom"
    by_kubelet = not kind and not pod.own_seccomp and facts.process.seccomp == 2  # noqa: PLR2004 - proc_pid_status(5)
    return "default" if kind == "RuntimeDefault" or by_kubelet else "unconfined"


def _in_place(facts: Facts) -> Option:
    container, process = facts.container, facts.process
    return Option(
        placement=Placement.HERE,
        grant=Grant.NONE,
        user=container.user or f"{process.uids[1]}:{process.gids[1]}",
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_drop=(),
        seccomp="target",
        no_new_privileges=container.no_new_privileges,
        network="target",
    )


def _unseen(tool: Tool, facts: Facts) -> list[Gate]:
    fact = f"whether {facts.container.name} holds {tool.binary} was not looked at"
    return [_gate(Verdict.UNKNOWN, fact, "the PATH of its file system")]


def _before(context: Json, attempt: Attempt, option: Option, mode: Mode, facts: Facts) -> Iterator[Gate]:
    """What stands in the way before any layer is asked: the wrong namespace, what the kubelet does not start."""
    pod, target = facts.pod or PodFacts(namespace=""), facts.container.name
    if mode.about_process and option.pid_namespace == "own":
        name = target.rpartition("/")[2]
        fact = f"without --target={name} it has a PID namespace of its own: PID 1 there is the tool itself"
        yield _gate(Verdict.CLOSED, fact, "kubectl debug --help; EphemeralContainer targetContainerName")
    non_root = context.get("runAsNonRoot", pod.non_root)
    if non_root is True and option.uid == 0:
        said = isinstance(context.get("runAsUser"), int) or pod.uid is not None
        what = "which is asked to run as root" if said else f"whose image {attempt.image or 'IMAGE'} runs as root"
        fact = f"CreateContainerConfigError: the kubelet starts no container that must not run as root and {what}"
        yield _gate(Verdict.CLOSED, fact, _ROOT_REFUSED)
    listed = mapping(context, "capabilities")
    for name in sorted(knowledge.names(listed, "add") - {"ALL", *CAPABILITIES}):
        yield _gate(Verdict.CLOSED, f"there is no capability {name}", "capabilities(7)")


def _gate(verdict: Verdict, fact: str, source: str) -> Gate:
    return Gate(need="container", layer=Layer.ENGINE, verdict=verdict, fact=fact, source=source)


def line(attempt: Attempt, mode: Mode, facts: Facts) -> str:
    """The attempt as a line of kubectl, for a POSIX shell."""
    argv = attempt.argv or _plain_argv(mode, facts.process.pid)
    if attempt.placement is Placement.HERE:
        _, name, container = facts.container.name.split("/")
        return shlex.join([*_kubectl(facts, "exec"), "-it", name, "-c", container, "--", *argv])
    joined = attempt.pid_mode.rpartition("/")[2]
    if attempt.how:
        return shlex.join(_debug(facts, attempt.image, joined, attempt.how, argv))
    return by_custom(json.loads(attempt.context or "{}"), attempt.image, argv, facts, target=joined)


def of_option(option: Option, argv: Sequence[str], facts: Facts) -> str:
    """An option of a plan as a line of kubectl, for a POSIX shell."""
    target = facts.container.name.rpartition("/")[2] if option.pid_namespace == "target" else ""
    context = ephemeral.security_context(option, facts.pod)
    return by_custom(context, option.image, argv, facts, target=target)


def by_custom(context: Json, image: str | None, argv: Sequence[str], facts: Facts, *, target: str) -> str:
    """A securityContext of one's own takes a file: no profile of kubectl's gives a uid or a gid."""
    partial = json.dumps({"securityContext": context})
    words = _debug(facts, image, target, ("--profile=baseline", "--custom=debug.json"), argv)
    return f"echo {shlex.quote(partial)} >debug.json && {shlex.join(words)}"


def _debug(facts: Facts, image: str | None, target: str, how: Sequence[str], argv: Sequence[str]) -> list[str]:
    name = facts.container.name.split("/")[1]
    words = [*_kubectl(facts, "debug"), "-it", name, f"--image={image or 'IMAGE'}"]
    words += [f"--target={target}"] if target else []
    return [*words, *how, "--", *argv]


def _kubectl(facts: Facts, verb: str) -> list[str]:
    return ["kubectl", *(["-n", facts.pod.namespace] if facts.pod is not None else []), verb]


def _plain_argv(mode: Mode, pid: int) -> tuple[str, ...]:
    """The mode's command without what only debugrun adds."""
    argv: list[str] = []
    for word in as_typed(mode.command):
        argv.extend(mode.default_args if word == "{args}" else [word.replace("{pid}", str(pid))])
    return tuple(argv)
