"""What crashes left behind: sidecars that never started, or that the engine forgot to remove.

A sidecar that runs is in use, by the lease: its script ends the tool, and with it the container, when nothing was heard
of the client for a while. The exception is a tool that will not let go, or a client that sleeps while the sidecar's
shell can't count seconds; these are ended only when a person says so, as gently as everything else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from debugrun.attach.apply import LABEL_SESSION, LABEL_TARGET, LABEL_TOOL, STOP_TIMEOUT
from debugrun.engine.engine import Engine, Json
from debugrun.errors import TargetError

STARTING = 60.0  # seconds that a session may need from creating its sidecar to starting it


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """A container of ours. `target` is a container's id; `age` is in seconds, by the engine's clock.

    `abandoned` says that no session can be using it.
    """

    id: str
    name: str
    session: str
    tool: str
    target: str
    state: str  # created, running, paused, exited, dead, removing
    age: float
    abandoned: bool


def leftovers(engine: Engine) -> tuple[Leftover, ...]:
    """All containers that carry our labels, the oldest first."""
    listed = engine.list_containers(everything=True, labels=[LABEL_SESSION])
    if not listed:
        return ()
    now = dt.datetime.fromisoformat(str(engine.info()["SystemTime"])).timestamp()
    return tuple(sorted((_described(each, now) for each in listed), key=lambda found: -found.age))


def collect(engine: Engine, *, everything: bool = False, only: Collection[str] = ()) -> tuple[Leftover, ...]:
    """Remove what is abandoned; with `everything`, end what is in use too; `only` names or ids, in use or not.

    What runs gets TERM, which makes its tool detach, and is removed by the engine when it has ended. Returns what
    was collected. Raises TargetError for an `only` that is not among the leftovers.
    """
    found = leftovers(engine)
    for ref in only:
        if not any(_named(each, ref) for each in found):
            raise TargetError("no-such-leftover", f"{ref} is not a container of debugrun's", "debugrun gc")
    if only:
        chosen = [each for each in found if any(_named(each, ref) for ref in only)]
    else:
        chosen = [each for each in found if everything or each.abandoned]
    for each in chosen:
        if each.state in {"running", "paused", "restarting"}:
            engine.stop(each.id, timeout=STOP_TIMEOUT)
        engine.remove(each.id)
    return tuple(chosen)


def _named(leftover: Leftover, ref: str) -> bool:
    return bool(ref) and (leftover.name == ref or leftover.id.startswith(ref))


def _described(container: Json, now: float) -> Leftover:
    labels = container.get("Labels")
    labels = labels if isinstance(labels, Mapping) else {}
    names = container.get("Names")
    state = str(container.get("State", ""))
    age = now - float(str(container.get("Created", now)))
    return Leftover(
        id=str(container["Id"]),
        name=str(names[0]).removeprefix("/") if isinstance(names, list) and names else "",
        session=str(labels.get(LABEL_SESSION, "")),
        tool=str(labels.get(LABEL_TOOL, "")),
        target=str(labels.get(LABEL_TARGET, "")),
        state=state,
        age=age,
        abandoned=state in {"exited", "dead"} or (state == "created" and age > STARTING),
    )
