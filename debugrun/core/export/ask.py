"""What a container is to be given, in no orchestrator's words: computed once, written down by each format. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace

from debugrun.core.decide import judge, regrant, widen_profile
from debugrun.core.grants import Option, Placement
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.rules import seccomp
from debugrun.core.say.command import Filling, tool_argv
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Privileges:
    """What a container holds or is to hold. An empty value is the orchestrator's own default.

    `user` is "uid:gid". Capabilities have no CAP_, and may be ALL. `seccomp` is "default", "unconfined", or the name of
    a profile's file without its folder. `apparmor` is a label. `no_labels` takes the SELinux label away. `pid` and
    `network` are "none", "host", or the name of the container that is joined. `mounts` are paths of the host.
    """

    user: str = ""
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    seccomp: str = "default"
    apparmor: str = ""
    no_labels: bool = False
    no_new_privileges: bool = False
    privileged: bool = False
    pid: str = ""
    network: str = ""
    mounts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One grant for one tool.

    `target` is the container or the service that is looked at; `beside` says that the grant is another container's,
    which joins it, and False that it is the target's own. `argv` is what that container runs, () for the target's own
    program. `profile` is the JSON text of the seccomp profile that `privileges` names. `filter` is the profile in
    force, and `held` the capabilities that it is resolved for: for formats that spell a whole filter out.
    `process` is the target's PID in its container, `host_process` on its host.
    """

    tool: str
    mode: str
    target: str
    image: str
    privileges: Privileges
    beside: bool
    argv: tuple[str, ...] = ()
    terminal: bool = False
    profile: str | None = None
    calls: tuple[str, ...] = ()
    filter: seccomp.Profile | None = None
    held: frozenset[str] = frozenset()
    architecture: str = "x86_64"
    kernel: tuple[int, int] = (0, 0)
    runtime: seccomp.Runtime = field(default_factory=seccomp.Runtime)
    process: int = 1
    host_process: int | None = None
    userns: str = ""
    lost: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A name for the container of the tool: letters, digits and dashes."""
        return f"{self.target}-{self.tool}" if self.beside else self.target


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """An `Ask` in the words of one format. `files` go beside it, by name; `notes` say where to, and what is not said.

    `usage` is the next command.
    """

    text: str
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    usage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One way to write an `Ask` down.

    `placements` are the kinds of option that it can say: a container beside the target, an exec, or the target's own
    grant. `missing` says what of the privileges it has no words for that the tool needs, `too_old` what this engine
    would ignore. `suffix` ends the file's name.
    """

    summary: str
    placements: tuple[Placement, ...]
    render: Callable[[Ask], Export]
    missing: Callable[[Privileges], tuple[str, ...]] = lambda _: ()
    too_old: Callable[[Privileges, Facts], tuple[str, ...]] = lambda _, __: ()
    suffix: str = ""


def of_option(  # noqa: PLR0913 - a decision, and two names
    option: Option, tool: Tool, mode: Mode, facts: Facts, *, target: str = "", image: str = ""
) -> Ask:
    """The grant of one option of a plan. `target` names the service where that is not the container's name.

    Raises RefusedError: the profile in force can't be widened.
    """
    target = target or facts.container.name
    beside = option.placement is Placement.SIDECAR
    text = profile_of(option, facts)
    privileges = Privileges(
        user=option.user if option.placement is not Placement.RECREATE else "",
        cap_add=() if option.privileged else option.cap_add,
        cap_drop=option.cap_drop if beside and not option.privileged else (),
        seccomp=file_name(tool, mode) if text is not None else _seccomp(option),
        apparmor=option.apparmor or "",
        no_labels=option.selinux == "disable",
        no_new_privileges=option.no_new_privileges and beside,
        privileged=option.privileged,
        pid=target if beside and option.pid_namespace == "target" else "",
        network=(target if option.network == "target" else "none") if beside else "",
        mounts=option.mounts if beside else (),
    )
    filling = Filling(option=option, tool=tool, mode=mode, pid=facts.process.pid, prelude=False)
    in_place = replace(option, placement=Placement.HERE) if option.placement is Placement.RECREATE else option
    there = regrant.granted(option, facts) if option.placement is Placement.RECREATE else facts
    return Ask(
        tool=tool.name,
        mode=mode.name,
        target=target,
        image=image or (option.image if beside else facts.container.image) or "IMAGE",
        privileges=privileges,
        beside=beside,
        argv=() if option.placement is Placement.RECREATE else tool_argv(mode.command, filling),
        terminal=mode.prompt is not None,
        profile=text,
        calls=option.opened_calls,
        filter=seccomp.parse_profile(text) if text else judge.base_profile(in_place, there)[1],
        held=judge.container_capabilities(in_place, there),
        architecture=facts.engine.architecture,
        kernel=judge.kernel_version(facts),
        runtime=judge.runtime(facts),
        process=facts.process.pid,
        host_process=facts.process.host_pid,
        userns=facts.container.userns_mode if beside else "",
        lost=option.lost,
    )


def of_launch(  # noqa: PLR0913 - the same
    option: Option, base: Option, tool: Tool, mode: Mode, facts: Facts, *, target: str = ""
) -> Ask:
    """The grant of one option of a plan for a program that is started under the tool: its own container's."""
    added = tuple(name for name in option.cap_add if name not in base.cap_add)
    own = replace(option, placement=Placement.RECREATE, cap_add=() if option.privileged else added, cap_drop=())
    text = profile_of(replace(option, placement=Placement.RUN), facts)
    ask = of_option(replace(own, opened_calls=()), tool, mode, facts, target=target)
    return replace(
        ask,
        privileges=replace(ask.privileges, seccomp=file_name(tool, mode) if text else ask.privileges.seccomp),
        profile=text,
        calls=option.opened_calls,
        filter=seccomp.parse_profile(text) if text else judge.base_profile(option, facts)[1],
        held=frozenset(option.cap_add),
    )


def file_name(tool: Tool, mode: Mode) -> str:
    """The name of the seccomp profile's file."""
    return f"debugrun-{tool.name}-{mode.name}.json"


def profile_of(option: Option, facts: Facts) -> str | None:
    """The profile that an option needs: the one in force with its calls opened; None where none is opened."""
    if not option.opened_calls:
        return option.profile
    if option.placement is Placement.RECREATE:
        return regrant.profile_json(option, facts)
    _, base = judge.base_profile(option, facts)
    if base is None:
        return None
    caps = judge.container_capabilities(option, facts)
    return seccomp.dump_profile(widen_profile.widened(base, option.opened_calls, caps=caps, facts=facts))


def _seccomp(option: Option) -> str:
    return "unconfined" if option.seccomp == "unconfined" and not option.privileged else "default"
