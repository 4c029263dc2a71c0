"""The Option that an Attempt amounts to, with its verdict.

The planner searches options; here one is given. Both are judged by the same function (`judge.judge`). Pure.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace

from debugrun.core.ask.attempt import Attempt
from debugrun.core.ask.number import is_number
from debugrun.core.ask.selection import known
from debugrun.core.decide import judge as judging
from debugrun.core.decide import judge_pod
from debugrun.core.decide.plan import grant_of
from debugrun.core.grants import Gate, Grant, Layer, Option, Placement, Verdict
from debugrun.core.know import versions
from debugrun.core.know.facts import EngineFacts, Facts
from debugrun.core.know.inspection import DOCKER_DEFAULT, PODMAN_DEFAULT
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.know.typed import CAPABILITY_COPIES, as_typed
from debugrun.errors import UsageError

_LAST_OF_DOCKER_20 = CAPABILITIES.index("AUDIT_READ")
_COPY = re.compile(re.escape(CAPABILITY_COPIES) + r"/([a-z_+]+)/")


def judged(attempt: Attempt, tool: Tool, mode: Mode, facts: Facts) -> Option:
    """The option that the attempt amounts to, with its verdict, all gates in the order met, and its docker line.

    Raises UsageError: a user that only the image's /etc/passwd can tell; a line of another kind of engine.
    """
    if facts.in_pod:
        return judge_pod.judged(attempt, tool, mode, facts)
    if attempt.context is not None:
        message = f"{facts.container.name} is a container of an engine, and that is about a pod"
        raise UsageError("not-a-pod", message, "debugrun judge TOOL pod/NAME -- kubectl debug ...")
    option = _option(attempt, facts)
    _, gates, refused = judging.judge(option, mode, facts)
    gates = tuple(dict.fromkeys((*_before(attempt, tool, mode, facts), *gates)))
    return replace(
        option,
        grant=grant_of(option, facts),
        verdict=judging.combine(gates),
        gates=gates,
        lost=(*(need.lost for need in refused), *_elsewhere(attempt, mode, facts)),
        command=docker_line(attempt, mode, facts),
    )


def _option(attempt: Attempt, facts: Facts) -> Option:
    here = attempt.placement is Placement.HERE
    user = identity(attempt, facts)
    given = () if here else capabilities(attempt, facts.engine)
    carried = _carried(attempt)
    unprivileged = user.split(":")[0] != "0"
    if unprivileged and facts.engine.name == "podman":
        given = tuple(sorted(set(attempt.cap_add)))  # only what was asked for by name becomes ambient (measured)
    by_file = bool(carried) and not here and not attempt.no_new_privileges and set(carried) <= set(given)
    return Option(
        placement=attempt.placement,
        grant=Grant.NONE,
        user=user,
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_add=carried if by_file and unprivileged else given,
        cap_drop=() if here else ("ALL",),
        seccomp="target" if here else attempt.seccomp,
        profile=None if here else attempt.profile,
        apparmor=attempt.apparmor,
        selinux=None if here else attempt.selinux,
        no_new_privileges=attempt.no_new_privileges,
        file_capability=by_file,
        privileged=attempt.privileged,
        mounts=attempt.mounts,
        pid_namespace="target" if here or _joins(attempt.pid_mode, facts) else "own",
        network="target" if attempt.network or here else "none",
        image=None if here else attempt.image or "IMAGE",
    )


def _carried(attempt: Attempt) -> tuple[str, ...]:
    """The file capabilities of the toolbox's copy that the command line names; () for a plain binary."""
    match = _COPY.match(attempt.argv[0]) if attempt.argv else None
    return tuple(sorted(match[1].upper().split("+"))) if match else ()


def identity(attempt: Attempt, facts: Facts) -> str:
    """The numeric "uid:gid" that `--user` means.

    Without a group the engine takes the primary one from the image's /etc/passwd, where the uid has no line there 0
    (moby daemon/oci_linux.go getUser()): an image of debug tools has none for other uids than root's. An exec finds
    the container's own file: the process itself shows what it says. Raises UsageError for a name that is not known.
    """
    if attempt.runs_as is not None:
        return attempt.runs_as
    process, own = facts.process, facts.container.user
    theirs = f"{process.uids[1]}:{process.gids[1]}"
    if attempt.placement is Placement.HERE:
        typed = own if attempt.user is None else attempt.user
        if typed == own and _could_be(own, theirs):
            return theirs
        typed = typed or "0:0"
    else:
        same_image = attempt.image in {facts.container.image, facts.container.image_id}
        typed = attempt.user or (own if same_image else "") or "0:0"
    user, _, group = ("0" if part == "root" else part for part in typed.partition(":"))
    if user == str(process.uids[1]) and not group and attempt.placement is Placement.HERE:
        return theirs
    if not is_number(user) or not is_number(group or "0"):
        message = f"user {typed!r}: only the image's /etc/passwd knows its number"
        raise UsageError("unknown-user", message, "give --user UID:GID")
    return f"{user}:{group or 0}"


def _could_be(configured: str, numeric: str) -> bool:
    """Whether a process with these ids may be one that the container's configured user started."""
    wanted = configured.replace("root", "0").split(":")
    if not wanted[0]:
        return numeric == "0:0"
    pairs = zip(wanted, numeric.split(":"), strict=False)
    return all(not is_number(part) or part == number for part, number in pairs)


def capabilities(attempt: Attempt, engine: EngineFacts) -> tuple[str, ...]:
    """The bounding set that the engine gives the new container, sorted.

    moby oci/caps/utils.go TweakCapabilities(): ALL dropped starts from nothing, ALL added from everything that the
    engine knows; else the default set without the dropped ones. Docker takes a capability that is both added and
    dropped for added, Podman refuses it (`_contradicted`). From 23 on "everything" is what the daemon itself holds.
    A privileged one gets everything, whatever else is said.
    """
    add, drop = set(attempt.cap_add), set(attempt.cap_drop)
    everything = set(CAPABILITIES)
    if engine.name == "docker" and versions.numbers(engine.version) < (23,):
        everything = set(CAPABILITIES[: _LAST_OF_DOCKER_20 + 1])
    elif engine.capabilities is not None:
        everything &= set(engine.capabilities)
    if attempt.privileged:
        return tuple(sorted(everything))
    if "ALL" in add:
        return tuple(sorted((everything - drop) | (add - {"ALL"})))
    if "ALL" in drop:
        return tuple(sorted(add))
    default = PODMAN_DEFAULT if engine.name == "podman" else DOCKER_DEFAULT
    return tuple(sorted((default - drop) | add))


def _before(attempt: Attempt, tool: Tool, mode: Mode, facts: Facts) -> list[Gate]:
    """What stands in the way before any layer is asked: no such tool there, the wrong namespaces, a wrong word."""
    name, target = tool.binary, facts.container.name
    where = target if attempt.placement is Placement.HERE else str(attempt.image)
    if attempt.no_user:
        return [_gate(Verdict.CLOSED, f"{where} has no user {attempt.user!r}: nothing starts", "its /etc/passwd")]
    if attempt.missing:
        status = "126 or 127" if attempt.placement is Placement.HERE else "127"
        fact = f"{where} holds no {attempt.missing}: the line ends with status {status}"
        return [_gate(Verdict.CLOSED, fact, "the PATH of its file system")]
    if attempt.placement is Placement.HERE:
        held = attempt.typed is not None or name in dict(facts.container.tools)
        return [] if held else [_gate(Verdict.CLOSED, f"{target} holds no {name}", "the PATH of its file system")]
    gates = []
    if mode.about_process and not _joins(attempt.pid_mode, facts):
        fact = f"without --pid container:{target} it has a PID namespace of its own: PID 1 there is the tool itself"
        gates.append(_gate(Verdict.CLOSED, fact, "docker run(1) --pid; pid_namespaces(7)"))
    packets = any(need.gate == "packet-socket" for need in mode.needs)
    if packets and mode.network == "target" and not _same_network(attempt.network, facts):
        fact = f"without --network container:{target} it sees the packets of a network of its own"
        gates.append(_gate(Verdict.CLOSED, fact, "docker run(1) --network; network_namespaces(7)"))
    return [*gates, *_wrong_words(attempt, facts)]


def _wrong_words(attempt: Attempt, facts: Facts) -> Iterator[Gate]:
    """What the engine would not take, and what is not known of it."""
    engine = facts.engine
    if attempt.no_image:
        fact = f"the engine does not have {attempt.image}: as whom it runs, and whether it holds the tool, is not known"
        yield _gate(Verdict.UNKNOWN, fact, "docker pull")
    if attempt.typed is not None and (between := _between(attempt)):
        fact = f"{attempt.image} starts {between}: what that makes of the words after it is not known"
        yield _gate(Verdict.UNKNOWN, fact, "the image's ENTRYPOINT")
    for word in sorted((set(attempt.cap_add) | set(attempt.cap_drop)) - {"ALL", *CAPABILITIES}):
        yield _gate(Verdict.CLOSED, f"there is no capability {word}", "capabilities(7)")
    if engine.name == "podman" and (both := _contradicted(attempt)):
        fact = f"Podman gives no container that adds {' and '.join(both)} and drops it too"
        yield _gate(Verdict.CLOSED, fact, "containers/common pkg/capabilities MergeCapabilities()")
    held = frozenset(capabilities(attempt, facts.engine))
    if attempt.profile is not None and (problem := judging.refusal(attempt.profile, held, facts)):
        fact = f"{engine.name} starts no container under the given profile: {problem}"
        yield _gate(Verdict.CLOSED, fact, "seccomp=FILE")
    carried = _carried(attempt)
    if not set(carried) <= set(capabilities(attempt, engine)):
        fact = f"a copy that carries {' + '.join(carried)} does not start where these are not in the bounding set"
        yield _gate(Verdict.CLOSED, fact, "execve(2) EPERM; capabilities(7)")
    if attempt.userns == "host" and engine.userns_remap:
        fact = "--userns host on a remapped engine: ids differ on both sides"
        yield _gate(Verdict.UNKNOWN, fact, "dockerd(8) --userns-remap")
    if attempt.userns not in {"", "host"}:
        fact = f"what {attempt.userns} makes of its ids is not known"
        yield _gate(Verdict.UNKNOWN, fact, "podman-run(1) --userns, --uidmap")
    if attempt.runtime not in {"", engine.default_runtime}:
        fact = f"what runtime {attempt.runtime} does to it is not known"
        yield _gate(Verdict.UNKNOWN, fact, "docker run(1) --runtime")


def _between(attempt: Attempt) -> str:
    """The program that an image starts in the place of what was typed; "" where that is what runs."""
    added = attempt.argv[: len(attempt.argv) - len(attempt.typed or ())]
    if attempt.entrypoint or not added or not attempt.typed:
        return ""
    program = posixpath.basename(added[0])
    return "" if program in known("inits") or posixpath.basename(attempt.typed[0]).startswith("-") else added[0]


def _contradicted(attempt: Attempt) -> list[str]:
    """What is added and dropped at once, as Podman sees it: ALL goes before names, and a privileged one has no list."""
    add, drop = set(attempt.cap_add), set(attempt.cap_drop)
    if attempt.privileged or ("ALL" in add) != ("ALL" in drop):
        return []
    return ["ALL"] if "ALL" in add else sorted(add & drop)


def _gate(verdict: Verdict, fact: str, source: str) -> Gate:
    return Gate(need="container", layer=Layer.ENGINE, verdict=verdict, fact=fact, source=source)


def _elsewhere(attempt: Attempt, mode: Mode, facts: Facts) -> tuple[str, ...]:
    here = attempt.placement is Placement.HERE or _same_network(attempt.network, facts)
    if mode.network != "target" or here:
        return ()
    return (f"its network is not that of {facts.container.name}: sockets stay without a name",)


def _joins(pid_mode: str, facts: Facts) -> bool:
    kind, _, ref = pid_mode.partition(":")
    return pid_mode == "host" or (kind == "container" and _names(ref, facts))


def _same_network(network: str, facts: Facts) -> bool:
    kind, _, ref = network.partition(":")
    return (kind == "container" and _names(ref, facts)) or (network == "host" == facts.container.network_mode)


def _names(ref: str, facts: Facts) -> bool:
    return ref == facts.container.name or (bool(ref) and facts.container.id.startswith(ref))


def plain(tool: Tool, facts: Facts, mode: Mode) -> Attempt:
    """What people type first: exec where the container holds the tool, else a container of an image that does."""
    if facts.in_pod:
        return judge_pod.plain(mode, facts)
    if tool.binary in dict(facts.container.tools):
        return Attempt(placement=Placement.HERE)
    network = f"container:{facts.container.name}" if mode.network == "target" else ""
    joined = f"container:{facts.container.name}" if mode.about_process else ""
    return Attempt(placement=Placement.SIDECAR, pid_mode=joined, network=network)


def docker_line(attempt: Attempt, mode: Mode, facts: Facts) -> str:
    """The attempt as a line, for a POSIX shell: only what bears on the verdict, never an environment variable."""
    argv = (attempt.argv if attempt.typed is None else attempt.typed) or _plain_argv(mode, facts.process.pid)
    terminal = "-it" if mode.prompt else "-i"
    user = ["--user", attempt.user] if attempt.user else []
    privileged = ["--privileged"] if attempt.privileged else []
    if attempt.placement is Placement.HERE:
        return shlex.join(["docker", "exec", terminal, *user, *privileged, facts.container.name, *argv])
    words = ["docker", "run", "--rm", terminal]
    for option, value in (("--pid", attempt.pid_mode), ("--network", attempt.network), ("--userns", attempt.userns)):
        words += [option, value] if value else []
    words += [*user, *privileged]
    words += [word for name in attempt.cap_drop for word in ("--cap-drop", name)]
    words += [word for name in attempt.cap_add for word in ("--cap-add", name)]
    words += ["--security-opt", "no-new-privileges"] if attempt.no_new_privileges else []
    if attempt.seccomp != "default":
        value = attempt.profile_file or "FILE" if attempt.seccomp == "custom" else attempt.seccomp
        words += ["--security-opt", f"seccomp={value}"]
    words += [word for path in attempt.mounts for word in ("--mount", f"type=bind,src={path},dst={path}")]
    words += ["--security-opt", f"apparmor={attempt.apparmor}"] if attempt.apparmor else []
    words += ["--security-opt", "label=disable"] if attempt.selinux else []
    if attempt.entrypoint:
        words, argv = [*words, "--entrypoint", attempt.entrypoint], argv[1:]
    return shlex.join([*words, attempt.image or "IMAGE", *argv])


def _plain_argv(mode: Mode, pid: int) -> tuple[str, ...]:
    """The mode's command without what only debugrun adds."""
    argv: list[str] = []
    for word in as_typed(mode.command):
        if word == "{args}":
            argv.extend(mode.default_args)
        else:
            argv.append(word.replace("{pid}", str(pid)))
    return tuple(argv)
