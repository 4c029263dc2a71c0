"""Facts that were saved, for verbs that decide without an engine."""

from __future__ import annotations

from pathlib import Path

from debugrun.core.know.facts import Facts, FactsError, load
from debugrun.errors import UsageError


def read_facts(path: Path) -> Facts:
    """Facts that were saved. Raises UsageError naming the file and the key."""
    try:
        return load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, FactsError) as error:
        hint = "debugrun facts CONTAINER --json writes one"
        raise UsageError("bad-facts", f"{path}: {error}", hint) from error
