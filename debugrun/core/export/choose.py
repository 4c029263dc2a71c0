"""Which option of a plan an export is of, and the facts that are assumed where no container is named. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace

from debugrun.core.decide import launch
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.export.ask import Ask, Format, of_launch, of_option
from debugrun.core.grants import Ceiling, Grant, Option, Placement, Verdict
from debugrun.core.know.facts import ContainerFacts, EngineFacts, Facts, HostFacts, ImageFacts, ProcessFacts
from debugrun.core.know.inspection import DOCKER_DEFAULT
from debugrun.core.know.tool_file import Tool
from debugrun.core.rules.seccomp.defaults import release_text, releases
from debugrun.core.say import report
from debugrun.errors import RefusedError, UsageError
from debugrun.values import dataclass

ASSUMED = "no container is named: decided for root's process in a plain Docker container, on a host with Yama at 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is to be exported. `number` names an option by its place in the plan, the first is 0.

    `launching`: the program is started under the tool. `target` and `image` go before what the facts say.
    """

    name: str
    format: Format
    mode: str | None = None
    launching: bool = False
    ceiling: Ceiling = field(default_factory=Ceiling)
    number: int | None = None
    target: str = ""
    image: str = ""


def assumed(tool: Tool, toolbox: str) -> Facts:
    """The facts where nothing is known: the newest Docker, and a stock Ubuntu's kernel settings.

    Yama's ptrace_scope is 1 there (10-ptrace.conf), and a cluster's hosts are nobody's to look at.
    """
    held = tuple(sorted(DOCKER_DEFAULT))
    engine = EngineFacts(
        name="docker",
        version=release_text(max(releases("docker"))),
        api_version="1.51",
        architecture="x86_64",
        kernel="6.8.0",
        seccomp="default",
    )
    container = ContainerFacts(
        id="0" * 64,
        name="app",
        image="IMAGE",
        image_id="",
        state="running",
        capabilities=held,
        tools=((tool.binary, tool.binary),),
    )
    process = ProcessFacts(pid=1, comm="app", permitted=held, effective=held, bounding=held, dumpable=True)
    host = HostFacts(yama_ptrace_scope=1, perf_event_paranoid=2)
    return Facts(engine=engine, host=host, container=container, process=process, images=ImageFacts(toolbox=toolbox))


def choose(wish: Wish, tool: Tool, facts: Facts) -> tuple[Ask, str]:
    """The ask, and why it is this one in one line. Raises RefusedError and UsageError."""
    found: RefusedError | None = None
    for placement in wish.format.placements:
        if wish.launching and placement is not Placement.RECREATE:
            continue
        candidates = _plan(wish, tool, facts, placement)
        try:
            return _first(wish, tool, candidates, placement)
        except RefusedError as error:
            found = found or error
    raise found or UsageError(
        "not-launched",
        f"{wish.name} gives nothing to the target's own container, so no program is started under a tool there",
        "--mode attach, or another format",
    )


def _plan(wish: Wish, tool: Tool, facts: Facts, placement: Placement) -> Plan:
    """The plan with the options of one placement; the numbers are those that `debugrun plan` has."""
    if wish.launching:
        mode = tool.launch(wish.mode).mode
        return launch.decide(tool, mode, _started(facts), wish.ceiling, _base(facts))
    mode = tool.mode(wish.mode)
    if placement is Placement.RECREATE:
        # Whether the target's image holds the tool is not asked: the grant is for one that does.
        held = replace(facts.container, tools=((tool.binary, tool.binary), *facts.container.tools))
        facts = replace(facts, container=held)
    return plan(tool, mode, facts, Ceiling(grant=wish.ceiling.grant, via=placement))


def _started(facts: Facts) -> Facts:
    """The program that is to be, as a process: what it had when it was started."""
    held = facts.container.capabilities or () if facts.process.uids[1] == 0 else ()
    process = ProcessFacts(
        pid=1,
        comm=facts.process.comm,
        uids=facts.process.uids,
        gids=facts.process.gids,
        permitted=held,
        dumpable=True,
    )
    return replace(facts, process=process)


def _base(facts: Facts) -> Option:
    """How the target runs without a tool, as an option to widen."""
    return Option(
        placement=Placement.RUN,
        grant=Grant.NONE,
        user=f"{facts.process.uids[1]}:{facts.process.gids[1]}",
        verdict=Verdict.UNKNOWN,
        gates=(),
        cap_add=tuple(sorted(facts.container.capabilities or facts.process.bounding)),
        no_new_privileges=False,
        image=facts.container.image,
    )


def _first(wish: Wish, tool: Tool, decision: Plan, placement: Placement) -> tuple[Ask, str]:
    """The narrowest open option that the format can say, or the one that was named."""
    refusal = ""
    for number, option in _candidates(wish, decision, placement):
        ask = _ask(wish, tool, decision, option)
        said = (*wish.format.missing(ask.privileges), *wish.format.too_old(ask.privileges, decision.facts))
        if said:
            refusal = refusal or f"{_what(option, decision.facts)} is what works, and {'; '.join(said)}"
            continue
        why = f"option {number}, {_what(option, decision.facts)}"
        return ask, f"{why}: {report.why(replace(decision, chosen=number))}" if not refusal else f"{why}: {refusal}"
    if refusal:
        raise RefusedError("not-expressible", refusal, "--max-grant broad may hold one that it can say")
    if decision.ceiling.via is None:
        message = f"nothing within --max-grant {decision.ceiling.grant.value} works"
        raise RefusedError("refused", message, "debugrun plan shows what is wider")
    raise RefusedError("refused", *report.refusal(decision))


def _candidates(wish: Wish, decision: Plan, placement: Placement) -> Iterator[tuple[int, Option]]:
    if wish.number is not None:
        if not 0 <= wish.number < len(decision.options):
            last = len(decision.options) - 1
            raise UsageError("no-option", f"the plan has options 0 to {last}, not {wish.number}", "debugrun plan")
        option = decision.options[wish.number]
        if not wish.launching and option.placement is not placement:
            named = f"option {wish.number} is {option.placement.value}"
            raise RefusedError("not-expressible", f"{named}, which {wish.name} can't say", "name another --option")
        yield wish.number, option
        return
    ceiling = decision.ceiling.grant.rank
    for number, option in enumerate(decision.options):
        fits = wish.launching or option.placement is placement
        if fits and option.verdict is not Verdict.CLOSED and option.grant.rank <= ceiling:
            yield number, option


def _what(option: Option, facts: Facts) -> str:
    words = report.what(option, facts.process.permitted)
    return words if option.placement is not Placement.RECREATE else words.replace("recreate as", "in place as")


def _ask(wish: Wish, tool: Tool, decision: Plan, option: Option) -> Ask:
    if wish.launching:
        return of_launch(option, _base(decision.facts), tool, decision.mode, decision.facts, target=wish.target)
    return of_option(option, tool, decision.mode, decision.facts, target=wish.target, image=wish.image)
