"""Recreating and restoring as a transaction of their own, without a tool: in this process, or in one to be killed.

`python -m tests.live.transacting recreate|restore NAME` does it through the engine of DOCKER_HOST.
"""

from __future__ import annotations

import os
import sys
import time

from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.rebuild.blueprint import blueprint, with_grant
from debugrun.core.rebuild.transaction import Record
from debugrun.engine.engine import Engine, connect
from debugrun.recreate import journal, recreate, restore
from debugrun.recreate.recreate import Change

TIMEOUT = 4.0  # seconds that an answer may take here
GRANT = Option(
    placement=Placement.RECREATE, grant=Grant.CAPS, user="0:0", verdict=Verdict.OPEN, gates=(), cap_add=("SYS_PTRACE",)
)


def change_of(engine: Engine, name: str) -> Change:
    """The container with SYS_PTRACE."""
    before = engine.inspect_container(name)
    major, minor = (int(part) for part in engine.client.api_version.split(".")[:2])
    plain = blueprint(before, engine.inspect_image(str(before["Image"])), api=(major, minor))
    record = Record(
        original=str(before["Id"]),
        name=plain.name,
        running=True,
        restart=restore.described(before).restart,
        tool="gdb",
        grant="SYS_PTRACE",
        since=time.time(),
        session=f"test-{os.urandom(6).hex()}",
    )
    return Change(before=before, drawn=with_grant(plain, GRANT), record=record)


def put_back(engine: Engine, name: str) -> None:
    """What `debugrun restore NAME` does; nothing where nothing is left to do."""
    for scene in restore.scenes(engine):
        if scene.record.name == name:
            with journal.working_on(scene.record.original, name):
                restore.undo(engine, scene.record)


def main() -> None:
    """Do it, to the end or to ours."""
    what, name = sys.argv[1:]
    with connect(timeout=TIMEOUT) as engine:
        if what == "recreate":
            with connect(os.environ["DIRECTLY"]) as directly:
                change = change_of(directly, name)
            recreate.recreate(engine, change)
        else:
            put_back(engine, name)


if __name__ == "__main__":
    main()
