"""An option as the docker line that does the same: for a person to paste, and as argv for the place. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from debugrun.core.decide import judge_pod
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Option, Placement
from debugrun.core.know import symbols
from debugrun.core.know.facts import Facts
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.know.typed import CAPABILITY_COPIES, PLAINLY
from debugrun.values import dataclass

SCRATCH = "/tmp:mode=1777"  # noqa: S108 - a tmpfs of the sidecar's own
FIXED = {"{gdb-attached}": ("-ex", symbols.GDB_ATTACHED)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Filling:
    """What stands in for the placeholders of a tool's commands. `args` are the user's own; () means the mode's.

    `output` are words before them that make the tool write its file to standard output.
    """

    option: Option
    tool: Tool
    mode: Mode
    pid: int
    args: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    prelude: bool = True


def tool_argv(words: tuple[str, ...], filling: Filling) -> tuple[str, ...]:
    """A command of a tool file with its placeholders filled in.

    With a file capability the program becomes the toolbox's copy that carries it.
    """
    option, pid = filling.option, filling.pid
    argv: list[str] = []
    for word in words:
        if word == "{args}":
            argv.extend(filling.output)
            argv.extend(filling.args or option.tool_args or filling.mode.default_args)
        elif (brought := _brought(word, filling)) is not None:
            argv.extend(brought)
        else:
            argv.extend(FIXED.get(word, (word.replace("{pid}", str(pid)),)))
    if option.file_capability and (binary := filling.tool.binary) in argv:
        argv[argv.index(binary)] = copies(option) + binary
    return tuple(argv)


def handover(mode: Mode, filling: Filling) -> tuple[str, ...]:
    """The lines that are typed for the user at the tool's first prompts."""
    lines = (symbols.GDB_ATTACHED if line == "{gdb-attached}" else line for line in mode.handover)
    return tuple(line.replace("{pid}", str(filling.pid)) for line in lines)


def _brought(word: str, filling: Filling) -> tuple[str, ...] | None:  # noqa: PLR0911 - a placeholder each
    """What stands for a placeholder that brings files or programs along; None: it is none of them."""
    pid, whole = filling.pid, filling.prelude
    if word == "{gdb-symbols}":
        return symbols.gdb_arguments(pid, prelude=whole)
    if word == "{gdb-stacks}":
        return symbols.stacks_arguments([pid]) if whole else ("-batch", "-ex", "...")
    if word == "{core-dump}":
        return symbols.gcore_arguments(pid) if whole else ("-batch", "-p", str(pid), "-ex", "gcore /tmp/core")
    if word == "{perf-symbols}":
        return symbols.perf_arguments(pid)
    if word in PLAINLY and not whole:
        return tuple(each.replace("{pid}", str(pid)) for each in PLAINLY[word])
    if word == "{lldb-attach}":
        return symbols.lldb_arguments(pid)
    if word == "{gdbserver-files}":
        return symbols.gdbserver_arguments(pid) if filling.option.placement is Placement.SIDECAR else ()
    if word == "{delve-attach}":
        return symbols.delve_arguments(pid, filling.tool.binary)
    return None


def copies(option: Option) -> str:
    """Where the toolbox's copies are that carry the option's capabilities, "" where no copy carries them."""
    if not option.file_capability:
        return ""
    return f"{CAPABILITY_COPIES}/{'+'.join(name.lower() for name in sorted(option.cap_add))}/"


def with_lines(decision: Plan) -> Plan:
    """The plan with the docker line of each option, which nobody reads while a tool is started."""
    tool, mode, facts = decision.tool, decision.mode, decision.facts
    options = (replace(each, command=docker_line(each, tool, mode, facts)) for each in decision.options)
    return replace(decision, options=tuple(options))


def useless_copies(tool: Tool, option: Option, facts: Facts, helpers: Sequence[str] = ()) -> tuple[str, ...]:
    """The toolbox's other copies: a sidecar's capabilities are within reach of one program, which needs them.

    Of the `helpers` as well, other programs that this one starts from the same place.
    """
    if not option.file_capability:
        return ()
    needed = {f"{copies(option)}{name}" for name in (tool.binary, *helpers)}
    return tuple(path for path in facts.images.toolbox_copies if path not in needed)


def docker_line(option: Option, tool: Tool, mode: Mode, facts: Facts) -> str:
    """The equivalent `docker run` or `docker exec` line, quoted for a POSIX shell."""
    if option.placement is Placement.RECREATE:
        return shlex.join(["debugrun", tool.name, facts.container.name, "--via", "recreate"])
    filling = Filling(option=option, tool=tool, mode=mode, pid=facts.process.pid, prelude=False)
    argv = tool_argv(mode.command, filling)
    if facts.in_pod:
        return judge_pod.of_option(option, argv, facts)
    terminal = "-it" if mode.prompt else "-i"
    if option.placement is Placement.HERE:
        words = ["docker", "exec", terminal, "--user", option.user]
        words += ["--privileged"] if option.privileged else []
        return shlex.join([*words, facts.container.name, *argv])
    words = ["docker", "run", "--rm", terminal]
    words += ["--pid", f"container:{facts.container.name}"] if option.pid_namespace == "target" else []
    words += ["--network", f"container:{facts.container.name}" if option.network == "target" else "none"]
    words += ["--user", option.user]
    if option.privileged:
        words.append("--privileged")
    else:
        words += _capabilities(option)
    prefix = ""
    for opt in option.security_opt():
        if opt.startswith("seccomp=") and option.opened_calls:
            profile = f"{tool.name}-{mode.name}.json"
            make = ["debugrun", "profile", tool.name, facts.container.name, "--mode", mode.name, "-o", profile]
            make += ["--base", "default"] if facts.container.seccomp == "custom" else []
            prefix = shlex.join(make) + " && "
            words[0] = facts.engine.name  # docker's client sends a profile's text, Podman takes a file's path only
            words += ["--security-opt", f"seccomp={profile}"]
        else:
            words += ["--security-opt", opt]
    words += [word for path in option.mounts for word in ("--mount", f"type=bind,src={path},dst={path},readonly")]
    words += ["--read-only", "--tmpfs", SCRATCH, option.image or "IMAGE"]
    return prefix + shlex.join([*words, *argv])


def _capabilities(option: Option) -> list[str]:
    """Docker's own set needs no words; any other is built from nothing."""
    if frozenset(option.cap_add) == DOCKER_DEFAULT:
        return []
    return ["--cap-drop", "ALL", *(word for name in option.cap_add for word in ("--cap-add", name))]
