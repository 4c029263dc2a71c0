"""A container's own program started under a tool: the new argv, what is mounted for it, and the narrowest grant. Pure.

A tool that the image lacks comes from a volume that holds the toolbox's /usr, read-only at MOUNT, and runs by the
toolbox's own loader and libraries: nothing of the image is asked for, not even a shell or a libc.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

from debugrun.core import package_data
from debugrun.core.decide import judge as judging
from debugrun.core.decide import order
from debugrun.core.decide.plan import Plan, within
from debugrun.core.grants import Ceiling, Option, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.know.tool_file import Launch, Mode, Need, Tool
from debugrun.errors import EngineError, ToolError
from debugrun.values import dataclass

MOUNT = "/.debugrun"
SCRATCH = f"{MOUNT}/scratch"  # a tmpfs where a tool writes its files
SCRATCH_SIZE = 1 << 30
# Loader and libraries below /usr, by architecture as uname -m says it: Debian's, which the toolbox is made of.
LAYOUTS = {
    "x86_64": ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu"),
    "aarch64": ("lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu"),
}
_GATED = ("perf_event_open", "ptrace", "bpf")  # calls that default profiles open to a capability
ADDR_NO_RANDOMIZE = 0x40000  # personality(2)
# For a tool without a switch of its own: programs inherit it. Followed by what to start.
FIXED_ADDRESSES = f"""\
import ctypes, os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
ctypes.CDLL(None).personality({ADDR_NO_RANDOMIZE:#x})
os.execvp(sys.argv[1], sys.argv[1:])
"""
ASLR_OFF = Need(
    gate="syscall",
    calls=(f"personality({ADDR_NO_RANDOMIZE:#x})",),
    why="turn address space randomisation off",
)


Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What the container would start. `interpreter`: for a script, the words of its #! line and its own path.

    `variables` are the names that its environment has.
    """

    argv: tuple[str, ...]
    interpreter: tuple[str, ...] = ()
    variables: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where the tool comes from: the image itself, or the toolbox's `volume` (None: there is no toolbox).

    `architecture` as uname -m says it.
    """

    in_image: bool
    volume: str | None
    architecture: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Under:
    """The program under the tool, as a container is created for it.

    `mounts` are as HostConfig.Mounts has them. `argv` is the tool's own command line, and `environment` what it needs
    beyond the container's: both are in `command` already.
    """

    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    mounts: tuple[Mapping[str, object], ...]
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


def under(  # noqa: PLR0913 - what, by what, from where, and how
    tool: Tool,
    launch: Launch,
    program: Program,
    source: Source,
    *,
    args: tuple[str, ...] = (),
    option: Option | None = None,
    aslr: bool = True,
    terminal: bool = False,
) -> Under:
    """`program` started under the tool. `args` are the user's own for the tool; `option` the grant that was chosen.

    Raises ToolError: no image holds the tool; EngineError: an architecture that the toolbox is not made for.
    """
    home = source.volume is None or source.in_image
    if source.volume is None and not source.in_image:
        raise ToolError(
            "tool-nowhere", f"the image holds no {tool.binary}, and there is no toolbox", "debugrun toolbox build"
        )
    if source.volume is not None and source.architecture not in LAYOUTS:
        message = f"the toolbox is not made for {source.architecture}"
        raise EngineError("no-toolbox", message, f"use an image that holds {tool.binary}")
    if source.volume is None and not aslr and "{aslr}" not in launch.mode.command:
        message = f"{tool.name} itself can't turn address space randomisation off"
        raise ToolError("no-aslr-switch", message, "debugrun toolbox build")
    environment = () if home else _environment(launch, program, source)
    interactive = terminal and launch.mode.interactive_command != ()
    commands = [launch.mode.interactive_command if interactive else launch.mode.command, *launch.mode.then]
    workaround = option.tool_args if option is not None else ()
    given = args or (() if interactive else workaround or launch.mode.default_args)
    batch = bool(set(launch.mode.batch_flags) & set(given))
    values = {
        "{args}": (*given, *(launch.ending if batch else ())),
        "{aslr}": launch.aslr_on if aslr else launch.aslr_off,
        "{environment}": tuple(
            word.replace("{toolbox}", MOUNT).replace("{name}", name) for name, _ in environment for word in launch.hide
        ),
        "{program}": _argv(launch, program),
        "{scratch}": (SCRATCH if source.volume is not None else "/tmp",),  # noqa: S108 - the container's own
    }
    steps = [_filled(words, values) for words in commands]
    mounts = _mounts(source, scratch=any("{scratch}" in word for words in commands for word in words))
    if not home:
        steps = [_by_loader(words, source) for words in steps]
    if source.volume is None:
        return Under(entrypoint=steps[0][:1], command=steps[0][1:], mounts=(), argv=steps[0])
    if not aslr and "{aslr}" not in launch.mode.command:
        steps[0] = (*_python(FIXED_ADDRESSES, source), *steps[0])
    first = _python(_first(), source)
    groups = [tuple(f"{name}={value}" for name, value in environment), *steps]
    counted = (word for group in groups for word in (str(len(group)), *group))
    return Under(
        entrypoint=first[:1],
        command=(*first[1:], str(launch.below), *counted),
        mounts=mounts,
        argv=steps[0],
        environment=environment,
    )


def _first() -> str:
    return package_data.text("run/first.py")


def _environment(launch: Launch, program: Program, source: Source) -> tuple[tuple[str, str], ...]:
    """The variables that the tool needs in a foreign image; one that the container has already stays as it is."""
    libraries = f"{MOUNT}/{LAYOUTS[source.architecture][1]}"
    return tuple(
        (name, value.replace("{toolbox}", MOUNT).replace("{libraries}", libraries))
        for name, value in launch.environment
        if name not in program.variables
    )


def _argv(launch: Launch, program: Program) -> Words:
    """The program's own argv; for a tool that reads its file, a script's interpreter with the script."""
    script = launch.elf and program.interpreter
    return (*program.interpreter, *program.argv[1:]) if script else program.argv


def _filled(words: Words, values: Mapping[str, Words]) -> Words:
    """A command with its placeholders filled in: whole words, and {scratch} inside of one."""
    (scratch,) = values["{scratch}"]
    return tuple(each for word in words for each in values.get(word, (word.replace("{scratch}", scratch),)))


def _by_loader(words: tuple[str, ...], source: Source) -> tuple[str, ...]:
    """A program of the toolbox by the toolbox's loader: ld.so(8). It finds its own files by the name it is called."""
    loader, libraries = (f"{MOUNT}/{each}" for each in LAYOUTS[source.architecture])
    path = f"{MOUNT}/bin/{words[0]}"
    return (loader, "--inhibit-cache", "--library-path", libraries, "--argv0", path, path, *words[1:])


def _python(text: str, source: Source) -> Words:
    return _by_loader(("python3", "-I", "-S", "-c", text), source)


def _mounts(source: Source, *, scratch: bool) -> tuple[Mapping[str, object], ...]:
    if source.volume is None:
        return ()
    tools: Mapping[str, object] = {
        "Type": "volume",
        "Source": source.volume,
        "Target": MOUNT,
        "ReadOnly": True,
        "VolumeOptions": {"NoCopy": True},  # what the image has there stays out of it
    }
    files = {"Type": "tmpfs", "Target": SCRATCH, "TmpfsOptions": {"SizeBytes": SCRATCH_SIZE, "Mode": 0o1777}}
    return (tools, files) if scratch else (tools,)


def wanted(launch: Launch, *, aslr: bool) -> Mode:
    """The mode with all that it needs."""
    return launch.mode if aslr else replace(launch.mode, needs=(*launch.mode.needs, ASLR_OFF))


def decide(tool: Tool, mode: Mode, facts: Facts, ceiling: Ceiling, base: Option) -> Plan:
    """The plan for a program that is started: `base` is how its container would run without a tool.

    `facts.process` stands for the program: its user and its capabilities. The user is never changed: another one would
    be another program.
    """
    found = [_judged(option, base, mode, facts) for option in _candidates(base, mode, facts)]
    options = tuple(_by_cost(found, base, facts))
    chosen = order.first_within(options, lambda option: within(option, ceiling))
    return Plan(tool=tool, mode=mode, facts=facts, ceiling=ceiling, options=options, chosen=chosen)


def added(option: Option, base: Option) -> tuple[str, ...]:
    """The capabilities that an option gives beyond the container's own."""
    return tuple(name for name in option.cap_add if name not in base.cap_add)


def _judged(option: Option, base: Option, mode: Mode, facts: Facts) -> Option:
    return order.answered(option, judging.judge(option, mode, facts), order.rung(option, added(option, base)))


def _by_cost(found: list[Option], base: Option, facts: Facts) -> list[Option]:
    """In order of the ladder; but what another option opens too, and more, goes before that one whatever the rungs."""
    by_rung = sorted(found, key=lambda each: (each.grant.rank, len(each.cap_add)))
    return order.narrow_first(by_rung, lambda option: powers(option, base, facts))


def powers(option: Option, base: Option, facts: Facts) -> order.Powers:
    """What an option opens beyond the container's own, as a set that can be compared; None: everything."""
    _, profile = judging.base_profile(option, facts)
    if option.privileged or option.seccomp == "unconfined":
        return None
    more, calls = frozenset(added(option, base)), frozenset(option.opened_calls)
    if more and profile is not None:
        blocked = (call for call in _GATED if not judging.allows(profile, call, frozenset(base.cap_add), facts))
        calls |= {call for call in blocked if judging.allows(profile, call, frozenset(option.cap_add), facts)}
    return more | calls


def _candidates(base: Option, mode: Mode, facts: Facts) -> Iterator[Option]:
    """For each filter the container's own capabilities, then with the fewest more that open everything."""
    name, profile = judging.base_profile(base, facts)
    filters = [base]
    if name != "off" and profile is not None:
        if blocked := order.blocked(profile, mode, frozenset(base.cap_add), facts):
            filters += [replace(base, opened_calls=blocked), replace(base, seccomp="unconfined")]
    elif name != "off":
        filters.append(replace(base, seccomp="unconfined"))
    for filtered in filters:
        yield filtered
        yield from itertools.islice(_more(filtered, _lifters(base, mode, facts), mode, facts), 1)
    yield replace(base, privileged=True, cap_drop=())


def _more(base: Option, names: tuple[str, ...], mode: Mode, facts: Facts) -> Iterator[Option]:
    """`base` with more capabilities, fewest first, where the capabilities are what makes it work."""
    if judging.judge(base, mode, facts)[0] is Verdict.OPEN:
        return
    for size in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, size):
            option = replace(base, cap_add=tuple(sorted({*base.cap_add, *chosen})))
            if judging.judge(option, mode, facts)[0] is Verdict.OPEN:
                yield option


def _lifters(base: Option, mode: Mode, facts: Facts) -> tuple[str, ...]:
    """The capabilities that may open a need: none for a non-root process of Docker's, which has none effective."""
    if base.uid != 0 and facts.engine.name != "podman":
        return ()
    return order.openers(mode, held=base.cap_add)
