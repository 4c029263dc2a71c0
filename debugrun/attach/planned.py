"""The place of a decision: everything that follows from the plan is taken from it here, so that no verb forgets a part.

What keeps the target out of its sidecar (the closed programs, the copies that are hidden, the process that was decided
about) belongs to the option and the facts, whoever starts the tool.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager

from debugrun.attach import apply
from debugrun.attach.invocation import attached_to, is_our_toolbox
from debugrun.attach.place import Place
from debugrun.core.decide import programs
from debugrun.core.decide.plan import Plan
from debugrun.core.decide.widen_profile import profile_json
from debugrun.core.grants import Option
from debugrun.core.say.command import useless_copies
from debugrun.engine.engine import Engine


def place(  # noqa: PLR0913 - what the plan does not say
    engine: Engine,
    decision: Plan,
    option: Option,
    *,
    only: Sequence[str] = (),
    lets_go: bool = False,
    helpers: Sequence[str] = (),
) -> AbstractContextManager[Place]:
    """Where the decision's tool runs under `option`.

    `only` is its argv where it starts with the sidecar. One that `lets_go` by itself, at once and whatever ends it,
    writes no breakpoints and needs nothing mended. `helpers` are other tools that it starts from the same copies.
    Raises DebugrunError when the engine refuses a step.
    """
    tool, facts = decision.tool, decision.facts
    return apply.place(
        engine,
        option,
        facts.container,
        session=os.urandom(6).hex(),
        tool=tool.name,
        breakpoints=tool.breakpoints and not lets_go,
        stop_signal="TERM" if lets_go else tool.stop_signal,
        process=None if lets_go else attached_to(decision),
        expected=facts.process.identity if option.pid_namespace == "target" else "",
        mender=not lets_go and is_our_toolbox(option, facts),
        profile_json=profile_json(option, facts),
        only=only,
        toolbox=programs.of_toolbox(option, facts),
        hidden=useless_copies(tool, option, facts, helpers),
    )
