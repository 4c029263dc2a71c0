"""Who says no: one attempt, asked of every layer, and the narrowest way that works. Pure.

An error text narrows the layers down to those that can print it; the facts decide among them.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from debugrun.core import package_data
from debugrun.core.ask.attempt import Attempt
from debugrun.core.decide import judge as judging
from debugrun.core.decide import judge_attempt as attempting
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Gate, Layer, Option, Placement, Verdict
from debugrun.core.know.tool_file import Need, Tool
from debugrun.core.rules.seccomp.calls import calls
from debugrun.values import dataclass

_NAMES = {Layer.YAMA: "Yama", Layer.PERF: "perf_event_paranoid", Layer.LSM: "AppArmor", Layer.SECCOMP: "seccomp"}


_REFUSED = re.compile(r"Operation not permitted|Function not implemented|\bEPERM\b|\bENOSYS\b", re.IGNORECASE)
_NEAR = 80  # characters before that in which the call's name is looked for
# Calls whose names are words of English, or stand in texts of which another one is the cause.
_WORDS = frozenset(
    {"open", "read", "write", "close", "stat", "kill", "ptrace", "access", "bind", "connect", "exit", "link"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """An entry of data/errors.toml: a text, and who may be behind it; its head documents the fields."""

    text: re.Pattern[str]
    says: str
    layers: tuple[Layer, ...]
    tools: tuple[str, ...] = ()
    need: Need | None = None
    blames: Layer | None = None
    asks: str = ""
    instead: str = ""
    caps: tuple[str, ...] = ()
    else_caps: tuple[str, ...] = ()
    own_calls: tuple[str, ...] = ()
    rest: bool = False
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What stops an attempt. `refusals` are in the order met: the first one is the cause.

    `known` says what an error text means; None without one, or where nobody knows it. `not_it` are the layers that a
    tool blames and that let it pass, `plan` holds the way that works.
    """

    option: Option
    refusals: tuple[Gate, ...]
    unsure: tuple[Gate, ...]
    not_it: tuple[str, ...]
    plan: Plan
    error: str | None = None
    known: Known | None = None

    @property
    def cause(self) -> Gate | None:
        """The first layer that says no; None: none does, or it is not known."""
        return self.refusals[0] if self.refusals else None


@functools.cache
def known_errors() -> tuple[Known, ...]:
    """data/errors.toml."""
    table = tomllib.loads(package_data.text("errors.toml"))
    return tuple(_known(entry) for entry in table["error"])


def _known(entry: Mapping[str, object]) -> Known:
    def texts(key: str) -> tuple[str, ...]:
        value = entry.get(key, [])
        return tuple(map(str, value)) if isinstance(value, list) else ()

    gate, blames = entry.get("gate"), entry.get("blames")
    return Known(
        text=re.compile(str(entry["text"]), re.IGNORECASE | re.MULTILINE),
        says=str(entry["says"]),
        layers=tuple(Layer(name) for name in texts("layers")),
        tools=texts("tools"),
        need=Need(gate=str(gate), calls=texts("calls")) if gate else None,
        blames=Layer(str(blames)) if blames else None,
        asks=str(entry.get("asks", "")),
        instead=str(entry.get("instead", "")),
        caps=texts("caps"),
        else_caps=texts("else_caps"),
        own_calls=texts("own_calls"),
        rest=entry.get("rest") is True,
        examples=texts("examples"),
    )


def recognise(error: str, tool: Tool | None) -> Known | None:
    """What an error text means, printed by that tool, or by a program that is none.

    First a text that is known, then a system call that the text names, then a bare errno; the tool's own file is asked
    last, it names one layer only.
    """
    ours = [each for each in known_errors() if not each.tools or tool is None or tool.name in each.tools]
    for known in ours:
        if not known.rest and known.text.search(error):
            return known
    if (called := _called(error)) is not None:
        return called
    for known in ours:
        if known.rest and known.text.search(error):
            return known
    for failure in tool.failures if tool is not None else ():
        if failure.text in error:
            says = f"{tool.name} failed" if tool is not None else ""
            return Known(text=re.compile(re.escape(failure.text)), says=says, layers=(failure.layer,))
    return None


def _called(error: str) -> Known | None:
    """The system call that a text says was refused: "NAME: Operation not permitted", "NAME() failed: EPERM"."""
    for match in _REFUSED.finditer(error):
        before = error[max(0, match.start() - _NEAR) : match.start()].rpartition("\n")[2]
        names = [name for name in re.findall(r"[a-z][a-z0-9_]{2,}", before) if name in calls() and name not in _WORDS]
        if names:
            return Known(
                text=re.compile(re.escape(names[-1])),
                says=f"{names[-1]}(2) was refused",
                layers=(Layer.SECCOMP, Layer.ENGINE),
                need=Need(gate="syscall", calls=(names[-1],)),
            )
    return None


def diagnose(
    attempt: Attempt,
    decision: Plan,
    error: str | None = None,
    asked: Callable[[Option], Option] = lambda option: option,
) -> Diagnosis:
    """What stops `attempt` at the tool of `decision`; `error` is what it printed.

    `asked` gives an option with the answers of all who have to be asked.

    Raises UsageError: a user that only the image's /etc/passwd can tell.
    """
    tool, facts = decision.tool, decision.facts
    known = recognise(error, tool) if error else None
    if known is not None and error:
        attempt = _as_asked(attempt, known, error)
    option = asked(attempting.judged(attempt, tool, decision.mode, facts))
    gates: Sequence[Gate] = option.gates
    if known is not None and known.need is not None:
        about = judging.ask(known.need, option, facts)
        gates = [*(gate for gate in option.gates if gate.layer is Layer.ENGINE), *about]
    if known is not None:
        gates = [gate for gate in gates if gate.layer in known.layers]
    return Diagnosis(
        option=option,
        refusals=tuple(dict.fromkeys(gate for gate in gates if gate.verdict is Verdict.CLOSED)),
        unsure=tuple(dict.fromkeys(gate for gate in gates if gate.verdict is Verdict.UNKNOWN)),
        not_it=_not_it(option, tool, known),
        plan=decision,
        error=error,
        known=known,
    )


def _as_asked(attempt: Attempt, known: Known, error: str) -> Attempt:
    """The attempt with what the text says was asked for."""
    match = known.text.search(error)
    name = match.groupdict().get("capability") if match else None
    if name and name not in attempt.cap_add:
        attempt = replace(attempt, cap_add=(*attempt.cap_add, name.upper()))
    if known.asks == "exec":
        return Attempt(placement=Placement.HERE)
    return replace(attempt, privileged=True) if known.asks == "privileged" else attempt


def _not_it(option: Option, tool: Tool, known: Known | None) -> tuple[str, ...]:
    """The layers that the tool's own text blames and that let it pass, with the fact: people believe the text."""
    entries = (known,) if known else known_errors()
    blamed = {each.blames for each in entries if each.blames and (known or tool.name in each.tools)}
    return tuple(
        dict.fromkeys(
            f"not {_NAMES.get(gate.layer, gate.layer.value)}: {gate.fact} [{gate.source}]"
            for gate in option.gates
            if gate.layer in blamed and gate.verdict is Verdict.OPEN
        )
    )
