"""Runs a program of ours beside a target and gives what it printed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.resources import files

from debugrun.attach import attach
from debugrun.attach.invocation import Invocation
from debugrun.attach.place import Place
from debugrun.backends import Backend
from debugrun.core.grants import Option
from debugrun.core.know.facts import ContainerFacts
from debugrun.values import dataclass

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


def sent(backend: Backend, option: Option, target: ContainerFacts, argv: Sequence[str], *, tool: str) -> Output:
    """Run a program in a sidecar of the toolbox that no plan was made for. Raises DebugrunError."""
    return beside(backend.beside(option, target, tool=tool, only=argv), argv, tool=tool)


def beside(where: AbstractContextManager[Place], argv: Sequence[str], *, tool: str) -> Output:
    """Run the program that a sidecar starts with, to its end. Raises DebugrunError."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, where as place:
        invocation = Invocation(argv=tuple(argv), tool=tool, input=False)
        result = attach.run(place, invocation, stdout=out.fileno(), stderr=err.fileno())
        out.seek(0)
        err.seek(0)
        return Output(status=result.status, out=out.read(), err=err.read().decode(errors="replace"))
