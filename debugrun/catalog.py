"""Which tools there are: their names and summaries, without reading whole tool files. Light enough for `--help`."""

from __future__ import annotations

import tomllib
from pathlib import Path

_SHIPPED = Path(__file__).parent / "data" / "tools"


def directories(user_directory: Path | None) -> tuple[Path, ...]:
    """Where tool files are looked up, in order: the user's own first."""
    return (user_directory, _SHIPPED) if user_directory else (_SHIPPED,)


def names(user_directory: Path | None = None) -> tuple[str, ...]:
    """The names of all tools that have a file, sorted; reads no file."""
    found = {path.stem for folder in directories(user_directory) if folder.is_dir() for path in folder.glob("*.toml")}
    return tuple(sorted(found))


def summary(name: str, user_directory: Path | None = None) -> str:
    """What the tool does, from the keys above its file's first table; "" where the file is wrong (`--vet` says how)."""
    for folder in directories(user_directory):
        path = folder / f"{name}.toml"
        if path.is_file():
            head = path.read_text(encoding="utf-8", errors="replace").partition("\n[")[0]
            try:
                return str(tomllib.loads(head).get("summary", ""))
            except tomllib.TOMLDecodeError:
                return ""
    return ""
