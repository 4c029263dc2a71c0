"""What crashes left behind of all that debugrun creates: `kinds` has the list, and says how each kind ends.

A sidecar that runs is in use, by the lease: its script ends the tool, and with it the container, when nothing was heard
of the client for a while. The exception is a tool that will not let go, or a client that sleeps while the sidecar's
shell can't count seconds; these are ended only when a person says so, as gently as everything else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from debugrun.attach.apply import STOP_TIMEOUT
from debugrun.core.know import json_access
from debugrun.core.know.kinds import LABEL_SESSION, LABEL_TARGET, LABEL_TOOL, End, Kind
from debugrun.engine import ownership
from debugrun.engine.engine import Engine
from debugrun.engine.ownership import Doubted, Owned
from debugrun.errors import TargetError
from debugrun.values import dataclass

STARTING = 60.0  # seconds that a session may need from creating its sidecar to starting it
_LIVE = frozenset({"running", "paused", "restarting"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """A container of ours. `target` is a container's id; `age` is in seconds, by the engine's clock.

    `abandoned` says that no session can be using it.
    """

    kind: Kind
    id: str
    name: str
    session: str
    tool: str
    target: str
    state: str  # created, running, paused, exited, dead, removing
    age: float
    abandoned: bool


def leftovers(engine: Engine) -> tuple[Leftover, ...]:
    """All containers that are ours by proof and shall not stay, the oldest first."""
    return look(engine)[0]


def look(engine: Engine) -> tuple[tuple[Leftover, ...], tuple[Doubted, ...]]:
    """The same, and what carries our label without a proof: that is never touched."""
    owned, doubted = ownership.containers(engine)
    if not owned:
        return (), tuple(doubted)
    now = dt.datetime.fromisoformat(str(engine.info()["SystemTime"])).timestamp()
    born = {
        json_access.text(each, "Id"): float(str(each.get("Created", now)))
        for each in engine.list_containers(everything=True, labels=[LABEL_SESSION])
    }
    found = [_described(each, now - born.get(each.id, now)) for each in owned if not _stays(each)]
    return tuple(sorted(found, key=lambda each: -each.age)), tuple(doubted)


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
        force = each.kind.end is End.FORCE
        if each.state in _LIVE and not force:
            engine.stop(each.id, timeout=STOP_TIMEOUT)
        engine.remove(each.id, force=force)
    return tuple(chosen)


def _stays(owned: Owned) -> bool:
    started = owned.kind.end is End.STARTED and owned.state != "created"
    return started or owned.kind.end is End.RESTORE


def _named(leftover: Leftover, ref: str) -> bool:
    return bool(ref) and (leftover.name == ref or leftover.id.startswith(ref))


def _described(owned: Owned, age: float) -> Leftover:
    return Leftover(
        kind=owned.kind,
        id=owned.id,
        name=owned.name,
        session=owned.labels.get(LABEL_SESSION, ""),
        tool=owned.labels.get(LABEL_TOOL, ""),
        target=owned.labels.get(LABEL_TARGET, ""),
        state=owned.state,
        age=age,
        abandoned=_is_abandoned(owned, age),
    )


def _is_abandoned(owned: Owned, age: float) -> bool:
    """What was never started is, once its maker is gone; what runs, if its kind holds nothing of anybody's."""
    if owned.orphaned is False:
        return False
    if owned.state in _LIVE:
        return owned.kind.end is End.FORCE and (owned.orphaned is True or age > STARTING)
    return owned.state in {"exited", "dead"} or (
        owned.state == "created" and (owned.orphaned is True or age > STARTING)
    )
