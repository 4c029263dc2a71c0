"""Typed keys out of a TOML table; every complaint names the file and the key."""

from __future__ import annotations

import re
from collections.abc import Mapping

from debugrun.errors import ToolError


class Reader:
    """One table; every key that is taken is gone, and `finish` complains of what is left."""

    def __init__(self, table: Mapping[str, object], origin: str, where: str) -> None:
        self.table = dict(table)
        self.origin = origin
        self.where = where

    def fail(self, key: str, why: str) -> ToolError:
        """The error to raise about a key."""
        place = f"{self.where}.{key}" if self.where else key
        return ToolError("bad-tool-file", f"{self.origin}: {place}: {why}", "debugrun help tool-files")

    def take(self, key: str, kind: type, default: object = None, *, required: bool = False) -> object:
        """The value of a key, of that type. Raises ToolError."""
        if key not in self.table:
            if required:
                raise self.fail(key, "missing")
            return default
        value = self.table.pop(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.fail(key, f"expected {kind.__name__}, found {type(value).__name__}")
        return value

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """A string."""
        return str(self.take(key, str, default, required=required))

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A boolean."""
        return bool(self.take(key, bool, default=default))

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of strings."""
        value = self.take(key, list, [], required=required)
        assert isinstance(value, list)  # noqa: S101 - take() has checked it
        if not all(isinstance(item, str) for item in value):
            raise self.fail(key, "expected a list of strings")
        return tuple(value)

    def tables(self, key: str, *, required: bool = False) -> list[Reader]:
        """A list of tables."""
        value = self.take(key, list, [], required=required)
        assert isinstance(value, list)  # noqa: S101 - take() has checked it
        readers = []
        for number, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.fail(f"{key}[{number}]", "expected a table")
            readers.append(Reader(item, self.origin, f"{self.where}.{key}[{number}]".lstrip(".")))
        return readers

    def word_sets(self, key: str, pattern: re.Pattern[str], what: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of words, none of them empty; the words sorted. Raises ToolError."""
        value = self.take(key, list, [])
        assert isinstance(value, list)  # noqa: S101 - take() has checked it
        sets = []
        for number, words in enumerate(value):
            if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
                raise self.fail(f"{key}[{number}]", "expected a list of words")
            self.matching(f"{key}[{number}]", tuple(words), pattern, what)
            sets.append(tuple(sorted(words)))
        return tuple(sets)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """A list of pairs of strings. Raises ToolError."""
        value = self.take(key, list, [])
        assert isinstance(value, list)  # noqa: S101 - take() has checked it
        for number, pair in enumerate(value):
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(each, str) for each in pair):  # noqa: PLR2004 - a pair
                raise self.fail(f"{key}[{number}]", "expected two strings")
        return tuple((str(first), str(second)) for first, second in value)

    def matching(self, key: str, items: tuple[str, ...], pattern: re.Pattern[str], what: str) -> None:
        """Raise ToolError for an item that the pattern does not match."""
        for item in items:
            if not pattern.fullmatch(item):
                raise self.fail(key, f"{item!r} is not {what}")

    def finish(self) -> None:
        """Raise ToolError for a key that nobody took."""
        for key in self.table:
            raise self.fail(key, "unknown key")


def mapping(value: object, origin: str, where: str) -> Mapping[str, object]:
    """The value as a table. Raises ToolError."""
    if not isinstance(value, dict):
        raise ToolError("bad-tool-file", f"{origin}: {where}: expected a table", "debugrun help tool-files")
    return value
