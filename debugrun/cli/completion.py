"""What the shell is offered for a word that is not finished."""

from __future__ import annotations

from debugrun.engine import contexts
from debugrun.errors import DebugrunError
from debugrun.toolbox import catalog


def complete_tools(incomplete: str) -> list[str]:
    """Tool names for the shell."""
    return [name for name in catalog.names(catalog.user_directory()) if name.startswith(incomplete)]


def complete_containers(incomplete: str) -> list[str]:
    """Names of running containers for the shell; none when the engine does not answer."""
    return [name for name in _running() if name.startswith(incomplete)]


def complete_grants(incomplete: str) -> list[str]:
    """The rungs of the ladder for the shell, narrow to broad."""
    from debugrun.core.grants import Grant  # noqa: PLC0415 - only while the shell completes

    return [each.value for each in Grant if each.value.startswith(incomplete)]


def complete_placements(incomplete: str) -> list[str]:
    """The values of --via for the shell."""
    return [name for name in ("sidecar", "here", "recreate") if name.startswith(incomplete)]


def complete_contexts(incomplete: str) -> list[str]:
    """Names of Docker contexts for the shell."""
    return [name for name in contexts.names() if name.startswith(incomplete)]


def _running() -> list[str]:
    """Names of running containers; none when the engine does not answer (a shell is completing)."""
    from debugrun.engine import engine  # noqa: PLC0415 - 25 ms that --help need not pay

    try:
        with engine.connect(timeout=2) as connection:
            return list(connection.container_names())
    except DebugrunError:
        return []
