"""What a default seccomp profile does with each system call, why, and since when: data/syscalls/blocked.toml. Pure.

Reasons and sources are written down there; verdicts and their history are computed from the profiles.
"""

from __future__ import annotations

import errno
import functools
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from debugrun.core import package_data
from debugrun.core.decide import judge
from debugrun.core.know import versions
from debugrun.core.know.facts import EngineFacts
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.know.tool_file import Tool
from debugrun.core.rules import seccomp
from debugrun.core.rules.seccomp.calls import ARCHES, calls
from debugrun.core.rules.seccomp.defaults import release_text, releases
from debugrun.errors import UsageError
from debugrun.values import dataclass

# Kernel and architecture that a table named by hand is shown for.
_KERNEL, _ARCHITECTURE = "6.1", "x86_64"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One call of the reference. `argument` is the first argument asked about, None: any; `means` is its name."""

    call: str
    why: str = ""
    kernel: tuple[str, ...] = ()
    source: str = ""
    argument: int | None = None
    means: str = ""
    correction: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What a profile does with a call: `bare` without a capability, `default` with Docker's default set.

    `opened_by` are the capabilities each of which opens it alone; empty where it is open without.
    """

    entry: Entry
    arch: str
    bare: seccomp.Outcome
    default: seccomp.Outcome
    opened_by: tuple[str, ...]

    @property
    def word(self) -> str:
        """`allowed`, `blocked: EPERM`, `limited`: some arguments are blocked."""
        if self.bare.passes:
            return "allowed"
        number = self.bare.errno
        how = errno.errorcode.get(number, str(number)) if number is not None else self.bare.action
        return f"{'blocked' if self.bare.certain else 'limited'}: {how}"


@functools.cache
def entries() -> Mapping[str, Entry]:
    """The reference by call."""
    table = tomllib.loads(package_data.text("syscalls/blocked.toml"))
    return {
        name: Entry(
            call=name,
            why=group["why"],
            kernel=tuple(group.get("kernel", ())),
            source=group["source"],
            argument=group.get("arguments"),
            means=group.get("means", ""),
            correction=group.get("correction", ""),
        )
        for group in table["call"]
        for name in group["names"]
    }


def entry(name: str) -> Entry:
    """The entry of a call, one without a reason where the reference does not have it. Raises UsageError: no such call.

    `name(argument)` asks about that first argument.
    """
    call, bracket, argument = name.partition("(")
    known = entries().get(call)
    if known is None and call not in calls():
        raise UsageError("no-such-call", f"{call!r} is not a system call", "debugrun syscalls --blocked")
    found = known or Entry(call=call)
    if bracket:
        try:
            return replace(found, argument=int(argument.rstrip(")"), 0), means="as asked")
        except ValueError:
            hint = "debugrun syscalls 'personality(0x40000)'"
            raise UsageError("no-such-call", f"{name!r}: no number", hint) from None
    return found


def named_engine(text: str) -> EngineFacts:
    """`docker:28.5` as an engine with its own default profile. Raises UsageError: a table that we do not have."""
    name, _, version = text.partition(":")
    engine = EngineFacts(
        name=name, version=version, api_version="", architecture=_ARCHITECTURE, kernel=_KERNEL, seccomp="default"
    )
    if not version or profile_of(engine) is None:
        raise UsageError("no-such-table", f"no default profile of {text!r} is known", "--engine docker:28.5.2")
    return engine


def profile_of(engine: EngineFacts) -> seccomp.Profile | None:
    """The default profile of an engine; None where it has none or it is not known."""
    return judge.engine_profile(engine)[1]


def standing(asked: Entry, engine: EngineFacts, profile: seccomp.Profile) -> Standing:
    """What the engine's profile does with a call, for programs of its own architecture or the 32-bit ones."""
    arch = _abi(asked.call, engine.architecture)
    args = () if asked.argument is None else (asked.argument,)
    ask = functools.partial(seccomp.evaluate, profile, asked.call, args, arch=arch, kernel=versions.two(engine.kernel))
    bare = ask(caps=frozenset[str]())
    conditions = [
        name.removeprefix("CAP_")
        for rule in profile.rules
        if asked.call in rule.names
        for name in (*rule.includes.caps, *rule.excludes.caps)
    ]
    each = tuple(name for name in CAPABILITIES if name in conditions and ask(caps=frozenset({name})).passes)
    opened_by = () if bare.passes else each
    return Standing(entry=asked, arch=arch, bare=bare, default=ask(caps=DOCKER_DEFAULT), opened_by=opened_by)


def _abi(call: str, architecture: str) -> str:
    """The ABI that has the call: the native one, else a 32-bit one of the same kernel."""
    numbers = calls()[call].numbers
    abis = [name for name, abi in ARCHES.items() if abi.native == architecture and name in numbers]
    return abis[0] if abis else architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """From `since` on: allowed, or opened by each of `opened_by` alone."""

    since: str
    allowed: bool
    opened_by: tuple[str, ...]


def history(asked: Entry, engine: EngineFacts) -> tuple[Change, ...]:
    """How releases of the engine dealt with a call, from the oldest that is known; computed, not remembered."""
    found: list[Change] = []
    for release in releases(engine.name):
        profile = seccomp.default_profile(engine.name, release)
        if profile is None:
            continue
        there = standing(asked, engine, profile)
        change = Change(since=release_text(release), allowed=there.bare.passes, opened_by=there.opened_by)
        if not found or (found[-1].allowed, found[-1].opened_by) != (change.allowed, change.opened_by):
            found.append(change)
    return tuple(found)


def blocked(engine: EngineFacts, profile: seccomp.Profile) -> Iterator[Entry]:
    """Every call of the engine's own architecture that does not pass without a capability, whatever its arguments."""
    for name, call in sorted(calls().items()):
        if engine.architecture in call.numbers:
            found = entries().get(name, Entry(call=name))
            if not standing(found, engine, profile).bare.passes:
                yield found


def of_tool(tool: Tool) -> Iterator[Entry]:
    """The calls that a tool's needs name, in their order."""
    named: Iterable[str] = dict.fromkeys(call for mode in tool.modes for need in mode.needs for call in need.calls)
    for call in named:
        wanted = judge.parse_call(call)
        found = entries().get(wanted.call, Entry(call=wanted.call))
        argument = wanted.args[0].value if wanted.args else None
        whys = (need.why for mode in tool.modes for need in mode.needs if call in need.calls)
        used = f"{tool.name}: {next(whys)}"
        yield replace(found, argument=argument, means=found.means if argument == found.argument else "", why=used)
