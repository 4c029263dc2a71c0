"""Which tools there are: their names and summaries, without reading whole tool files. Light enough for `--help`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from platformdirs import user_config_path

_SHIPPED = Path(__file__).parents[1] / "data" / "tools"


def user_directory() -> Path:
    """The folder of the user's own tool files: DEBUGRUN_TOOLS, else in the configuration directory."""
    override = os.environ.get("DEBUGRUN_TOOLS")
    return Path(override) if override else user_config_path("debugrun") / "tools"


def directories(own: Path | None) -> tuple[Path, ...]:
    """Where tool files are looked up, in order: the user's own first."""
    return (own, _SHIPPED) if own else (_SHIPPED,)


def names(own: Path | None = None) -> tuple[str, ...]:
    """The names of all tools that have a file, sorted; reads no file."""
    found = {path.stem for folder in directories(own) if folder.is_dir() for path in folder.glob("*.toml")}
    return tuple(sorted(found))


def summary(name: str, own: Path | None = None) -> str:
    """What the tool does, from the keys above its file's first table; "" where the file is wrong (`--vet` says how)."""
    for folder in directories(own):
        path = folder / f"{name}.toml"
        if path.is_file():
            head = path.read_text(encoding="utf-8", errors="replace").partition("\n[")[0]
            try:
                return str(tomllib.loads(head).get("summary", ""))
            except tomllib.TOMLDecodeError:
                return ""
    return ""
