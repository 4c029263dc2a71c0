"""Reading decoded JSON whose shape is not ours: what is missing, null or of another kind is empty. Pure."""

from __future__ import annotations

from collections.abc import Mapping

Json = Mapping[str, object]


def text(data: Json, key: str) -> str:
    """A string; "" without one."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def mapping(data: Json, key: str) -> Json:
    """An object; {} without one."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def items(data: Json, key: str) -> list[object]:
    """A list's items; [] without one."""
    value = data.get(key)
    return list(value) if isinstance(value, list) else []


def maps(data: Json, key: str) -> list[Json]:
    """The objects in a list."""
    return [each for each in items(data, key) if isinstance(each, Mapping)]
