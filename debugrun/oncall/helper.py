"""Runs a program of ours beside a target and gives what it printed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from debugrun.attach import apply, attach
from debugrun.attach.invocation import Invocation
from debugrun.core.grants import Option
from debugrun.core.know.facts import ContainerFacts
from debugrun.engine.engine import Engine

PYTHON = ("python3", "-I", "-S", "-B", "-c")  # of the toolbox: nothing of the environment or the working directory


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What a program printed, and its exit status."""

    status: int
    out: bytes
    err: str


def program(name: str) -> str:
    """The text of one of the programs in data/oncall."""
    return (files("debugrun") / "data" / "oncall" / f"{name}.py").read_text("utf-8")


def beside(  # noqa: PLR0913 - what runs, where, as what
    engine: Engine,
    option: Option,
    target: ContainerFacts,
    argv: Sequence[str],
    *,
    tool: str,
    profile_json: str | None = None,
) -> Output:
    """Run a program in a sidecar of the toolbox, without input, to its end. Raises DebugrunError."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        apply.place(
            engine,
            option,
            target,
            session=os.urandom(6).hex(),
            tool=tool,
            breakpoints=False,
            profile_json=profile_json,
            only=argv,
        ) as place,
    ):
        invocation = Invocation(argv=tuple(argv), tool=tool, input=False)
        result = attach.run(place, invocation, stdout=out.fileno(), stderr=err.fileno())
        out.seek(0)
        err.seek(0)
        return Output(status=result.status, out=out.read(), err=err.read().decode(errors="replace"))
