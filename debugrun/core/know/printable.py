"""Text of others as it may be shown: nothing in it moves the cursor, turns the writing round or begins a line. Pure.

Programs name themselves (prctl(2) PR_SET_NAME), images bring labels and paths, and a terminal obeys what it reads:
ECMA-48 for ESC and the C1 controls, Unicode UAX #9 for the bidirectional marks. What is not a printable character in
Python's sense (categories Other and Separator, but for the space) is shown as an escape, as `ls -b` does. There is no
other way for such a text: what runs in a sidecar and speaks to a terminal by itself does the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

Value = TypeVar("Value")
_BYTES = frozenset(map(chr, range(0xDC80, 0xDD00)))  # what is no UTF-8, as surrogateescape keeps it
_OPAQUE = frozenset({"seccomp_profile"})  # JSON that goes to an engine, never to a person


def printable(text: str, *, allowed: str = "") -> str:
    """The text with an escape for every character that is not printable, but for those `allowed`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in allowed else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    if character in _BYTES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def lines(text: str) -> str:
    """The same for a text of ours with line ends of its own."""
    return printable(text, allowed="\n\t")


def cleaned(value: Value) -> Value:
    """The same value with printable texts only: dataclasses and tuples, as deep as they go."""
    found: Any = value
    if isinstance(found, str):
        return printable(found)  # type: ignore[return-value] # a str is one
    if isinstance(found, tuple):
        new = tuple(map(cleaned, found))
        return value if new == found else new  # type: ignore[return-value] # of the same items
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        told = {each.name: getattr(found, each.name) for each in dataclasses.fields(found) if each.name not in _OPAQUE}
        changed = {name: new for name, each in told.items() if (new := cleaned(each)) is not each and new != each}
        return dataclasses.replace(found, **changed) if changed else value  # type: ignore[return-value] # the same
    return value
