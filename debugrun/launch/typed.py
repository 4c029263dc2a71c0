"""What a pasted line would start and as whom: read from its image, or from the container that it enters."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from debugrun.core.ask.attempt import Attempt
from debugrun.core.ask.dockerline import Line
from debugrun.core.grants import Placement
from debugrun.core.know import kinds
from debugrun.core.know.kinds import LABEL_TOOL
from debugrun.engine import ownership
from debugrun.engine.engine import Engine, Json
from debugrun.errors import EngineError
from debugrun.launch import staging
from debugrun.launch.create import Making, create
from debugrun.launch.options import RunOptions

PLACEHOLDER = "IMAGE"  # what our own answers have where a person puts the name of an image


def filled(engine: Engine, line: Line) -> Line:
    """The line with what only its image or its container tells: the user's numbers, the program, whether it is there.

    Raises TargetError: no such container.
    """
    attempt = line.attempt
    if attempt.placement is Placement.HERE:
        if line.container is None:
            return line
        inspected = engine.inspect_container(line.container)
        return replace(line, attempt=_read(engine, line.container, inspected, line, attempt.argv))
    if attempt.image in {None, PLACEHOLDER}:
        return line
    try:
        image = engine.inspect_image(str(attempt.image))
    except EngineError:
        return replace(line, attempt=replace(attempt, no_image=True))
    with _unstarted(engine, line, str(image.get("Id", attempt.image))) as container:
        inspected = engine.inspect_container(container)
        argv = staging.command(inspected)
        return replace(line, attempt=_read(engine, container, inspected, line, argv))


def _read(engine: Engine, container: str, inspected: Json, line: Line, argv: tuple[str, ...]) -> Attempt:
    """The attempt as `container` has it, which is its own or one that was made like it."""
    attempt = line.attempt
    known = replace(attempt, argv=argv)
    words = dict.fromkeys(each[0] for each in (argv, replace(line, attempt=known).argv) if each)
    missing = next((word for word in words if staging.find(engine, container, inspected, word) is None), "")
    known = replace(known, typed=attempt.argv, missing=missing)
    if attempt.placement is Placement.HERE and attempt.user is None:
        return known
    user = staging.known_user(engine, container, inspected, attempt.user)
    return replace(known, no_user=user is None, runs_as=user or staging.NOBODY)


@contextlib.contextmanager
def _unstarted(engine: Engine, line: Line, image: str) -> Iterator[str]:
    """A container of the image that is not started, to look into."""
    attempt, name = line.attempt, f"debugrun-look-{os.urandom(5).hex()}"
    entry = attempt.entrypoint
    making = Making(
        image=image,
        options=RunOptions(name=name),
        entrypoint=None if entry is None else (entry,),
        command=attempt.argv[1:] if entry else attempt.argv,
        labels=ownership.marked(kinds.LOOK, name, {LABEL_TOOL: "judge"}),
    )
    with ownership.creating(engine, name, making.labels):
        container = create(engine, making)
    try:
        yield container
    finally:
        engine.remove(container, force=True)
