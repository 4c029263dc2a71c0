"""`debugrun recreate`: a container made again with more for its own program, and nothing attached to it."""

from __future__ import annotations

from dataclasses import replace

from debugrun.attach import apply
from debugrun.core.ask.request import Recreation, Request
from debugrun.core.decide import regrant
from debugrun.core.grants import BROAD_CAPABILITIES, Ceiling, Grant, Option, Placement, Verdict
from debugrun.core.say.own import recreate_line
from debugrun.engine import engine
from debugrun.errors import RefusedError, UsageError
from debugrun.observe.target import look
from debugrun.recreate import flow, recreate
from debugrun.recreate.flow import Wanted


def run(
    container: str, *, caps: tuple[str, ...], calls: tuple[str, ...], ceiling: Ceiling, recreation: Recreation
) -> int:
    """Make the container again with these capabilities added and these calls opened. 0; raises DebugrunError."""
    if not caps and not calls:
        message = "nothing says what it is to get: a capability, or a call"
        raise UsageError("nothing-more", message, f"debugrun recreate {container} --cap-add SYS_PTRACE")
    via = replace(ceiling, via=Placement.RECREATE)
    request = Request(tool="its own program", container=container, ceiling=via, recreation=recreation)
    with engine.connect() as connection, apply.ending():
        facts = look(connection, request, None)
        option = Option(
            placement=Placement.RECREATE,
            grant=_grant(caps, calls),
            user=f"{facts.process.uids[1]}:{facts.process.gids[1]}",
            verdict=Verdict.UNKNOWN,
            gates=(),
            cap_add=caps,
            cap_drop=(),
            opened_calls=calls,
            no_new_privileges=facts.container.no_new_privileges,
        )
        if list(Grant).index(option.grant) > list(Grant).index(ceiling.grant):
            message = f"{', '.join(caps)} is wider than --max-grant {ceiling.grant.value}"
            raise RefusedError(
                "refused", message, f"{recreate_line(option, container)} --max-grant {option.grant.value}"
            )
        wanted = Wanted(option=option, profile=regrant.profile_json(option, facts), engine=facts.engine.name)
        change, said = flow.draw(connection, request, connection.inspect_container(facts.container.id), wanted)
        flow.ask(request, change, said)
        done = recreate.recreate(connection, change)
        name = change.record.name
        flow.say(f"{name} is recreated with {change.record.grant}; it was down for {done.down:.2f} s")
        flow.say(f"`debugrun restore {name}` puts the original back")
    return 0


def _grant(caps: tuple[str, ...], calls: tuple[str, ...]) -> Grant:
    if BROAD_CAPABILITIES & set(caps):
        return Grant.BROAD
    return Grant.SECCOMP if calls else Grant.CAPS
