"""Tool data files: what a debug tool runs and what it needs. A tool is only data; this is its shape and checker.

A file `NAME.toml` describes one tool; `debugrun help tool-files` documents every key. `debugrun.toolbox.catalog`
finds and reads them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

from debugrun.core.grants import Layer
from debugrun.core.know.gates import ELSEWHERE, GATES
from debugrun.core.know.toml_table import Reader, mapping
from debugrun.core.know.tool_output import Misleading, Nothing, Output, parse_misleading, parse_nothing
from debugrun.core.know.tool_output import parse as parse_output
from debugrun.errors import ToolError
from debugrun.values import dataclass

SCHEMA = 1

_ATTACHING = {"{gdb-symbols}", "{gdb-attached}", "{gdb-stacks}", "{perf-symbols}", "{lldb-attach}", "{delve-attach}"}
_ATTACHING |= {"{core-dump}", "{gdbserver-files}"}  # by itself, with gdb as its interpreter; before gdbserver
PLACEHOLDERS = frozenset({"{pid}", "{args}"} | _ATTACHING)
LAUNCH_PLACEHOLDERS = frozenset({"{program}", "{args}", "{aslr}", "{environment}", "{scratch}"})
MOUNTS = ("/sys/kernel/tracing",)  # of the engine's host, into the sidecar, at the same path, read-only
STOP_SIGNALS = ("HUP", "INT", "QUIT", "TERM")
NUDGE = "CONT"  # to the target, which ignores it: for a tool that reads only when the target does something
CALL = re.compile(r"[a-z_][a-z0-9_]*(\((0x[0-9a-f]+|[0-9]+)\))?")
NAME = re.compile(r"[a-z][a-z0-9_.-]*")
BINARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")
# deb-policy(7) 5.6.1, without a last "-", by which apt-get would remove the package; no version, no suite, no option.
DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]")
# PEP 508 and PEP 440, pinned: what a registry gives for a name may change, and is run on the user's machines.
PYPI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.+!-]*( sha256:[0-9a-f]{64})+")
CAPABILITY = re.compile(r"[A-Z][A-Z_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """One thing that a mode asks of the kernel.

    `calls` are system calls that seccomp must let through, as `name` or `name(first argument)`. An optional need
    costs `lost` when it is refused, and `workaround` are tool arguments that then avoid it.
    """

    gate: str
    calls: tuple[str, ...] = ()
    why: str = ""
    optional: bool = False
    lost: str = ""
    workaround: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A text in the tool's output that refutes an attach, and the layer that it points to."""

    text: str
    layer: Layer


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """One way to use a tool.

    `command` is argv with PLACEHOLDERS; `default_args` stand in for {args} when none are given. For a terminal are
    `interactive_command`, `prompt` and `handover`: wait for the prompt, send the handover lines, then hand over. `then`
    are commands run after it in the same place. `duration`: in seconds, after it the tool is interrupted (SIGINT).
    `network` is "none" or "target". `mounts` are of MOUNTS. `output`: how `-o FILE` gets what it writes,
    `misleading`: options that give wrong results in a sidecar.
    """

    name: str
    summary: str
    command: tuple[str, ...]
    needs: tuple[Need, ...]
    default_args: tuple[str, ...] = ()
    interactive_command: tuple[str, ...] = ()
    prompt: str | None = None
    handover: tuple[str, ...] = ()
    batch_flags: tuple[str, ...] = ()
    then: tuple[tuple[str, ...], ...] = ()
    duration: int | None = None
    network: str = "none"
    mounts: tuple[str, ...] = ()
    output: Output | None = None
    misleading: tuple[Misleading, ...] = ()

    @property
    def about_process(self) -> bool:
        """Whether it has to see the process: who needs no more than the network takes no place beside it."""
        gates = {need.gate for need in self.needs}
        words = (*self.command, *self.default_args, *self.interactive_command, *self.handover, *sum(self.then, ()))
        named = any("{pid}" in word or word in PLACEHOLDERS - {"{args}"} for word in words)
        return named or "packet-socket" not in gates or not gates <= ELSEWHERE


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A way to start a program under the tool: a mode whose commands hold {program}, its argv, instead of {pid}.

    At a terminal `interactive_command` takes the place of `command`, without the default arguments. {aslr} stands for
    `aslr_on` or `aslr_off`, the tool's own switch for address space randomisation. `elf`: the tool reads the program's
    file, so that a script's interpreter has to stand in for it. `environment` are variables that the tool needs where
    it is not at home, {environment} words that keep each ({name} in `hide`) from the program. {scratch} is a
    folder that can be written to. `below` is how many generations below the tool the program is: 0 where the tool
    becomes it. `ending` follows the arguments where they hold a batch flag: words that end it as the program ended.
    """

    mode: Mode
    elf: bool = False
    aslr_on: tuple[str, ...] = ()
    aslr_off: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    hide: tuple[str, ...] = ()
    below: int = 1
    ending: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A debug tool: its binary, its modes, and how it says no. Without `modes` it only starts programs, by `launches`.

    `breakpoints`: it writes into the target's text. `stop_signal` makes it detach and end: one, or several, a second
    apart. `harms`: what it may do to any process, whatever is granted; "": nothing known. `harms_threads`: the same of
    one with several threads. `spares`: commands that tell as much and do no harm, for a message.
    `toolbox`: the default toolbox image holds it; the large and the rare ones take an image of their own (--image).
    `remote_protocol`: its output is that of a gdb stub. `unsaid` are lines of its errors that are about itself only.
    `examples` are lines to type, each with what it does.
    `nothing` are texts with which it says that there was nothing to see.
    """

    name: str
    summary: str
    binary: str
    modes: tuple[Mode, ...]
    default_mode: str
    failures: tuple[Failure, ...] = ()
    breakpoints: bool = False
    stop_signal: str = "TERM"
    harms: str = ""
    harms_threads: str = ""
    spares: str = ""
    file_capabilities: tuple[tuple[str, ...], ...] = ()
    debian: tuple[str, ...] = ()
    pypi: tuple[str, ...] = ()
    toolbox: bool = True
    remote_protocol: bool = False
    unsaid: tuple[str, ...] = ()
    nothing: tuple[Nothing, ...] = ()
    launches: tuple[Launch, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()

    def launch(self, name: str | None) -> Launch:
        """The way to start a program that has that name, or the first. Raises ToolError with the names there are."""
        if not self.launches:
            message = f"{self.name} starts no programs: it looks at one that runs"
            raise ToolError("no-launch", message, f"debugrun {self.name} CONTAINER", status=2)
        for launch in self.launches:
            if name in {launch.mode.name, None}:
                return launch
        have = ", ".join(launch.mode.name for launch in self.launches)
        message = f"{self.name} has no mode {name!r} that starts a program"
        raise ToolError("no-such-mode", message, f"--mode with one of: {have}", status=2)

    def mode(self, name: str | None) -> Mode:
        """The mode of that name, or the default one. Raises ToolError with the names there are."""
        if not self.modes:
            message = f"{self.name} can't look at a program that runs: it starts it"
            raise ToolError("launch-only", message, f"debugrun run {self.name} IMAGE", status=2)
        wanted = name or self.default_mode
        for mode in self.modes:
            if mode.name == wanted:
                return mode
        have = ", ".join(mode.name for mode in self.modes)
        raise ToolError("no-such-mode", f"{self.name} has no mode {wanted!r}", f"--mode with one of: {have}", status=2)


def parse(text: str, origin: str) -> Tool:
    """A tool from its file's text; `origin` names the file in errors.

    Raises ToolError `bad-tool-file`: message `FILE: KEY: why`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ToolError("bad-tool-file", f"{origin}: not TOML: {error}", "correct the file") from error
    reader = Reader(table, origin, "")
    if reader.take("schema", int, required=True) != SCHEMA:
        raise reader.fail("schema", f"this version reads {SCHEMA}")
    packages = Reader(_table(reader, "packages"), origin, "packages")
    launches = _table(reader, "launch")
    modes = _table(reader, "modes", required=not launches)
    name = reader.text("name", required=True)
    reader.matching("name", (name,), NAME, "a tool name")
    tool = Tool(
        name=name,
        summary=reader.text("summary", required=True),
        binary=reader.text("binary", required=True),
        modes=tuple(_modes(modes, origin)),
        default_mode=reader.text("default_mode", required=bool(modes)),
        failures=tuple(_failure(each) for each in reader.tables("failures")),
        breakpoints=reader.flag("breakpoints"),
        stop_signal=reader.text("stop_signal", "TERM"),
        harms=reader.text("harms"),
        harms_threads=reader.text("harms_threads"),
        spares=reader.text("spares"),
        file_capabilities=reader.word_sets("file_capabilities", CAPABILITY, "a capability name such as SYS_PTRACE"),
        debian=packages.texts("debian"),
        pypi=packages.texts("pypi"),
        toolbox=reader.flag("toolbox", default=True),
        remote_protocol=reader.flag("remote_protocol"),
        unsaid=reader.texts("unsaid"),
        nothing=tuple(parse_nothing(each) for each in reader.tables("nothing")),
        launches=tuple(_launches(launches, origin)),
        examples=reader.pairs("examples"),
    )
    packages.matching("debian", tool.debian, DEBIAN, "the name of a Debian package")
    packages.matching("pypi", tool.pypi, PYPI, "pinned, as in NAME==VERSION sha256:DIGEST, a digest for each wheel")
    reader.matching("binary", (tool.binary,), BINARY, "the plain name of a program")
    packages.finish()
    reader.finish()
    if tool.stop_signal != NUDGE and not set(tool.stop_signal.split(" ")) <= set(STOP_SIGNALS):
        raise reader.fail("stop_signal", f"{tool.stop_signal!r} is neither {NUDGE} nor of {', '.join(STOP_SIGNALS)}")
    if (tool.harms or tool.harms_threads) and not tool.spares:
        raise reader.fail("spares", "missing: what to take where the process may not die")
    if modes and tool.default_mode not in modes:
        raise reader.fail("default_mode", f"no such mode: {tool.default_mode}")
    return tool


def _table(reader: Reader, key: str, *, required: bool = False) -> Mapping[str, object]:
    return mapping(reader.take(key, dict, {}, required=required), reader.origin, key)


def _failure(reader: Reader) -> Failure:
    text = reader.text("text", required=True)
    layer = reader.text("layer", required=True)
    if layer not in {each.value for each in Layer}:
        raise reader.fail("layer", f"{layer!r} is none of {', '.join(each.value for each in Layer)}")
    reader.finish()
    return Failure(text=text, layer=Layer(layer))


def _mode(reader: Reader, name: str, placeholders: frozenset[str]) -> Mode:
    duration = reader.take("duration", int)
    output = _table(reader, "output")
    then = reader.take("then", list, [])
    assert isinstance(then, list)  # noqa: S101 - take() has checked it
    mode = Mode(
        name=name,
        summary=reader.text("summary", required=True),
        command=reader.texts("command", required=True),
        default_args=reader.texts("default_args"),
        interactive_command=reader.texts("interactive_command"),
        prompt=reader.text("prompt") or None,
        handover=reader.texts("handover"),
        batch_flags=reader.texts("batch_flags"),
        then=tuple(tuple(str(word) for word in each) for each in then if isinstance(each, list)),
        duration=duration if isinstance(duration, int) else None,
        network=reader.text("network", "none"),
        mounts=reader.texts("mounts"),
        output=parse_output(Reader(output, reader.origin, f"modes.{name}.output")) if output else None,
        misleading=tuple(parse_misleading(each) for each in reader.tables("misleading")),
        needs=tuple(_need(each) for each in reader.tables("needs", required="{program}" not in placeholders)),
    )
    if len(mode.then) != len(then):
        raise reader.fail("then", "expected a list of commands, each a list of words")
    if strange := set(mode.mounts) - set(MOUNTS):
        raise reader.fail("mounts", f"{min(strange)!r} is none of {', '.join(MOUNTS)}")
    if mode.network not in {"none", "target"}:
        raise reader.fail("network", f"{mode.network!r} is neither 'none' nor 'target'")
    commands = [("command", mode.command), ("interactive_command", mode.interactive_command)]
    for key, words in [*commands, *(("then", each) for each in mode.then)]:
        for word in words:
            if word.startswith("{") and word[: word.find("}") + 1] not in placeholders:
                raise reader.fail(key, f"{word} is none of {', '.join(sorted(placeholders))}")
    return mode


def _modes(tables: Mapping[str, object], origin: str) -> Iterator[Mode]:
    for name in tables:
        reader = Reader(mapping(tables[name], origin, name), origin, f"modes.{name}")
        yield _mode(reader, name, PLACEHOLDERS)
        reader.finish()


def _launches(tables: Mapping[str, object], origin: str) -> Iterator[Launch]:
    for name in tables:
        reader = Reader(mapping(tables[name], origin, name), origin, f"launch.{name}")
        mode = _mode(reader, name, LAUNCH_PLACEHOLDERS)
        below = reader.take("below", int, 1)
        environment = _table(reader, "environment")
        launch = Launch(
            mode=mode,
            elf=reader.flag("elf"),
            aslr_on=reader.texts("aslr_on"),
            aslr_off=reader.texts("aslr_off"),
            environment=tuple((key, str(value)) for key, value in environment.items()),
            hide=reader.texts("hide"),
            below=below if isinstance(below, int) else 1,
            ending=reader.texts("ending"),
        )
        for key, words in (("command", mode.command), ("interactive_command", mode.interactive_command)):
            if words and words.count("{program}") != 1:
                raise reader.fail(key, "{program} has to be in it once")
        if environment and not launch.hide:
            raise reader.fail("hide", "missing: what keeps `environment` from the program")
        reader.finish()
        yield launch


def _need(reader: Reader) -> Need:
    need = Need(
        gate=reader.text("gate", required=True),
        calls=reader.texts("calls"),
        why=reader.text("why", required=True),
        optional=reader.flag("optional"),
        lost=reader.text("lost"),
        workaround=reader.texts("workaround"),
    )
    if need.gate not in GATES:
        raise reader.fail("gate", f"{need.gate!r} is none of {', '.join(sorted(GATES))}")
    if need.optional and not need.lost:
        raise reader.fail("lost", "an optional need says what is lost without it")
    reader.matching("calls", need.calls, CALL, "a system call, as name or name(argument)")
    reader.finish()
    return need
