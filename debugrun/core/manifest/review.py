"""What a container's debug grants open, whether the named tools need them, and the narrowest instead. Pure.

Decided as `debugrun plan --via recreate` decides, about the container as it would be without any debug grant.
"""

from __future__ import annotations

import functools
import posixpath
import tomllib
from collections.abc import Sequence
from dataclasses import replace

from debugrun.core import package_data
from debugrun.core.decide import judge, regrant, widen_profile
from debugrun.core.decide.launch import ASLR_OFF
from debugrun.core.export.ask import Privileges
from debugrun.core.grants import Grant, Option, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.core.manifest.holding import Part
from debugrun.core.manifest.options import SOCKETS
from debugrun.core.rules import seccomp
from debugrun.values import dataclass

PROFILE = "debugrun.json"
LEVELS = ("low", "medium", "high")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One grant: `rule` is its key in data/openings.toml. `needed` says whether it stays; `why` gives the fact."""

    part: Part
    rule: str
    level: str
    opens: str
    needed: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """What was found on one container, the privileges instead, and the profile that they name (JSON text)."""

    findings: tuple[Finding, ...]
    narrowest: Privileges
    profile: str | None = None

    @property
    def wider(self) -> tuple[Finding, ...]:
        """What is granted and not needed."""
        return tuple(each for each in self.findings if not each.needed)


Asked = tuple[Tool, Mode]


def instead_of(found: Review) -> str:
    """The narrowest instead in the words of `docker run`; "none of it" where nothing is needed."""
    given = found.narrowest
    words = [f"--cap-add {name}" for name in given.cap_add]
    if found.profile is not None:
        words.append(f"--security-opt seccomp={given.seccomp}")
    return " ".join(words) or "none of it"


@functools.cache
def openings() -> dict[str, dict[str, str]]:
    """data/openings.toml: what each grant opens, and how much."""
    tables = tomllib.loads(package_data.text("openings.toml"))
    return {key: {name: str(value) for name, value in table.items()} for key, table in tables.items()}


def rule_of(part: Part) -> str:
    """The key of a debug grant in data/openings.toml; "" for what is no debug grant."""
    found = {
        "privileged": "privileged",
        "capability": part.value,
        "seccomp": "seccomp" if part.value == "unconfined" else "",
        "apparmor": "apparmor" if part.value == "unconfined" else "",
        "label": "label",
        "pid": "pid-host" if part.value == "host" else "",
        "call": "call",
        "mount": "socket" if posixpath.basename(part.value) in SOCKETS else "",
    }.get(part.kind, "")
    return found if found in openings() else ""


def with_aslr_off(mode: Mode) -> Mode:
    """The mode with what it takes to give programs the same addresses in every run."""
    return replace(mode, needs=(*mode.needs, ASLR_OFF))


def review(parts: Sequence[Part], given: Privileges, asked: Sequence[Asked], host: Facts) -> Review:
    """The verdict on a container that holds `given`; `host` are the facts of the engine and its machine."""
    found = [(part, rule) for part in parts if (rule := rule_of(part))]
    clean = _without(given, found)
    options = {tool.name: _narrowest(tool, mode, clean, host, _ceiling(given)) for tool, mode in asked}
    instead, profile = _together(clean, given, [each for each in options.values() if each is not None], host)
    findings = []
    for part, rule in found:
        about = openings()[rule]
        if part.kind == "call":
            needed, why = _called(part.value, asked)
        else:
            needed, why = _still(part, instead), _why(part, given, options, instead, profile)
        findings.append(
            Finding(part=part, rule=rule, level=about["level"], opens=about["opens"], needed=needed, why=why)
        )
    return Review(findings=tuple(findings), narrowest=instead, profile=profile)


def _without(given: Privileges, found: Sequence[tuple[Part, str]]) -> Privileges:
    """The container without any debug grant: what else it holds is its own affair."""
    names = {part.value for part, _ in found if part.kind == "capability"}
    kinds = {part.kind for part, _ in found}
    return replace(
        given,
        privileged=False,
        cap_add=tuple(name for name in given.cap_add if name not in names),
        seccomp="default" if "seccomp" in kinds else given.seccomp,
        apparmor="" if "apparmor" in kinds else given.apparmor,
        no_labels=False,
        pid="" if given.pid == "host" else given.pid,
        mounts=tuple(path for path in given.mounts if posixpath.basename(path) not in SOCKETS),
    )


def _ceiling(given: Privileges) -> Grant:
    """The widest rung that a replacement may take: never wider than what is there."""
    if given.privileged:
        return Grant.BROAD
    return Grant.BROAD if set(given.cap_add) & {"SYS_ADMIN", "ALL"} else Grant.SECCOMP


def _held(given: Privileges) -> frozenset[str]:
    """The capabilities of the container's root."""
    own = frozenset() if "ALL" in given.cap_drop else DOCKER_DEFAULT - frozenset(given.cap_drop)
    return frozenset(CAPABILITIES) if given.privileged or "ALL" in given.cap_add else own | frozenset(given.cap_add)


def facts_of(given: Privileges, host: Facts, tool: Tool) -> Facts:
    """The container as facts: its main process is the target, and a tool in it the actor."""
    held = tuple(sorted(_held(given)))
    uid, _, gid = given.user.partition(":")
    ids = (int(uid) if uid.isdigit() else 0, int(gid) if gid.isdigit() else int(uid) if uid.isdigit() else 0)
    if uid and not uid.isdigit() and uid != "root":
        ids = (1000, 1000)  # a name: whoever it is, not root
    container = replace(
        host.container,
        capabilities=held,
        privileged=given.privileged,
        seccomp="unconfined" if given.privileged or given.seccomp == "unconfined" else "default",
        seccomp_profile=None,
        tools=((tool.binary, tool.binary),),
        no_new_privileges=given.no_new_privileges,
    )
    own = held if ids[0] == 0 else ()
    process = replace(
        host.process, uids=(ids[0],) * 4, gids=(ids[1],) * 4, permitted=own, effective=own, bounding=held, dumpable=True
    )
    return replace(host, container=container, process=process)


def _narrowest(tool: Tool, mode: Mode, clean: Privileges, host: Facts, ceiling: Grant) -> Option | None:
    """The first option that may work in the container, beyond what it has without a debug grant."""
    facts = facts_of(clean, host, tool)
    own = f"{facts.process.uids[1]}:{facts.process.gids[1]}"
    found = [
        option
        for option in regrant.options(tool, mode, facts)
        if option.verdict is not Verdict.CLOSED and option.grant.rank <= ceiling.rank
    ]
    # Who works in the container as somebody else has no capability there: what works for that user goes first.
    return next((option for option in found if option.user == own), found[0] if found else None)


def _together(
    clean: Privileges, given: Privileges, options: Sequence[Option], host: Facts
) -> tuple[Privileges, str | None]:
    """What all the options take at once, and the profile for their calls."""
    caps = tuple(dict.fromkeys(name for option in options for name in option.cap_add))
    calls = tuple(dict.fromkeys(call for option in options for call in option.opened_calls))
    kept = tuple(name for name in given.cap_add if name in caps or name in clean.cap_add)
    made = replace(clean, cap_add=(*kept, *(name for name in caps if name not in kept)))
    if not calls or clean.seccomp != "default":
        return made, None
    base = judge.engine_profile(host.engine)[1]
    held = _held(made)
    # What the capabilities open in the default profile needs no profile of its own.
    left = [call for call in calls if base is not None and judge.allows(base, call, held, host) is False]
    if base is None or not left:
        return made, None
    text = seccomp.dump_profile(widen_profile.widened(base, left, caps=held, facts=host))
    return replace(made, seccomp=PROFILE), text


def _called(call: str, asked: Sequence[Asked]) -> tuple[bool, str]:
    """Whether a tool makes that call, and which."""
    users = [
        tool.name
        for tool, mode in asked
        if any(call == each.partition("(")[0] for need in mode.needs for each in need.calls)
    ]
    return bool(users), f"needed by {', '.join(users)}" if users else "no tool that is asked about makes it"


def _still(part: Part, instead: Privileges) -> bool:
    """Whether a grant is in what is left."""
    return {
        "privileged": instead.privileged,
        "capability": part.value in instead.cap_add,
        "seccomp": instead.seccomp == "unconfined",
        "apparmor": instead.apparmor == part.value,
        "label": instead.no_labels,
        "pid": instead.pid == part.value,
        "mount": part.value in instead.mounts,
    }[part.kind]


def _why(
    part: Part, given: Privileges, options: dict[str, Option | None], instead: Privileges, profile: str | None
) -> str:
    tools = ", ".join(options)
    if _still(part, instead):
        users = [name for name, option in options.items() if option is not None and part.value in option.cap_add]
        return f"needed by {', '.join(users)} as root" if users else "kept"
    if part.kind in {"privileged", "seccomp"}:
        more = [name for name in instead.cap_add if name in openings() or name not in given.cap_add]
        more = [name for name in more if part.kind == "privileged" or name not in given.cap_add]
        more += [f"the profile {instead.seccomp}"] if profile is not None else []
        return f"{tools}: {' and '.join(more)} will do" if more else f"{tools} work without it"
    if part.kind == "mount":
        return "no debug tool talks to the engine"
    if part.kind == "pid":
        return f"{tools}: join the PID namespace of one container instead"
    blocked = [name for name, option in options.items() if option is None]
    return f"it does not help {', '.join(blocked)}" if blocked else f"{tools} work without it"
