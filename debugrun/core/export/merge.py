"""A grant merged into somebody's own Marathon app: everything else in it stays. Pure."""

from __future__ import annotations

import json

from debugrun.core.export.ask import Ask
from debugrun.core.export.cluster import parameters
from debugrun.core.export.words import as_json
from debugrun.errors import UsageError


def into_marathon(text: str, where: str, ask: Ask) -> str:
    """The app with the parameters that it lacks. Raises UsageError: not an app of the Docker containerizer."""
    try:
        app = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError("bad-app", f"{where}{place}: not JSON: {error}", "name a Marathon app definition") from error
    container = app.get("container") if isinstance(app, dict) else None
    docker = container.get("docker") if isinstance(container, dict) else None
    if not isinstance(container, dict) or not isinstance(docker, dict) or container.get("type", "DOCKER") != "DOCKER":
        message = f"{where}: container.type is not DOCKER: `parameters` exist for the Docker containerizer only"
        raise UsageError("bad-app", message, "name an app with container.docker.image")
    listed = docker.setdefault("parameters", [])
    if not isinstance(listed, list):
        raise UsageError("bad-app", f"{where}: container.docker.parameters is not a list", "correct the app")
    listed += [each for each in parameters(ask.privileges) if each not in listed]
    if ask.privileges.privileged:
        docker["privileged"] = True
    return as_json(app)
