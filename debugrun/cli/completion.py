"""What the shell is offered for a word that is not finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from debugrun.core.grants import Grant
from debugrun.engine import contexts
from debugrun.errors import DebugrunError
from debugrun.toolbox import catalog

if TYPE_CHECKING:
    from debugrun.engine.engine import Engine


def complete_tools(incomplete: str) -> list[str]:
    """Tool names for the shell."""
    return [name for name in catalog.names(catalog.user_directory()) if name.startswith(incomplete)]


def complete_containers(incomplete: str) -> list[str]:
    """Names of running containers and of Compose services for the shell; none when the engine does not answer."""
    return [name for name in asked(lambda engine: engine.container_names(services=True)) if name.startswith(incomplete)]


def complete_grants(incomplete: str) -> list[str]:
    """The rungs of the ladder for the shell, narrow to broad."""
    return [each.value for each in Grant if each.value.startswith(incomplete)]


def complete_placements(incomplete: str) -> list[str]:
    """The values of --via for the shell."""
    return [name for name in ("sidecar", "here", "recreate") if name.startswith(incomplete)]


def complete_contexts(incomplete: str) -> list[str]:
    """Names of Docker contexts for the shell."""
    return [name for name in contexts.names() if name.startswith(incomplete)]


def asked(question: Callable[[Engine], Iterable[str]], otherwise: Sequence[str] = ()) -> list[str]:
    """The engine's answer to a shell that completes; `otherwise` where it does not answer."""
    from debugrun.engine import engine  # noqa: PLC0415 - 25 ms that --help need not pay

    try:
        with engine.connect(timeout=2) as connection:
            return list(question(connection))
    except DebugrunError:
        return list(otherwise)
