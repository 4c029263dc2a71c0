"""The data that ships with debugrun: as constant as its code, and so the one thing that the core may read by itself."""

from __future__ import annotations

from importlib.resources import files


def text(name: str) -> str:
    """The file `name` below debugrun/data, such as "syscalls/blocked.toml"."""
    return files("debugrun").joinpath("data", name).read_text(encoding="utf-8")
