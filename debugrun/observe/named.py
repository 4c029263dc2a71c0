"""The container that a person named: by its name or id, or by the Compose service that it is of."""

from __future__ import annotations

import sys

from debugrun.core.know.json_access import Json, text
from debugrun.engine.engine import COMPOSE_SERVICE, Engine
from debugrun.errors import TargetError


def container(engine: Engine, ref: str) -> Json:
    """GET /containers/REF/json, also for the name of a Compose service that runs in one container: it is told.

    For what a person typed only: a label is whoever's made the container. Raises TargetError.
    """
    try:
        return engine.inspect_container(ref)
    except TargetError as error:
        if error.code != "no-such-container":
            raise
        listed = engine.list_containers(labels=[f"{COMPOSE_SERVICE}={ref}"])
        found = [engine.inspect_container(text(each, "Id")) for each in listed]
        names = sorted(text(each, "Name").removeprefix("/") for each in found)
        if not found:
            raise
        if len(found) > 1:
            message = f"the Compose service {ref} runs in {len(found)} containers"
            raise TargetError("ambiguous-service", message, f"name one of: {', '.join(names)}") from error
        print(f"debugrun: {ref} is the Compose service that {names[0]} runs", file=sys.stderr)
        return found[0]
