"""Text of others, made fit for a terminal and for a record: nothing that moves a cursor, and no secrets. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MASK = "***"
_BYTES = range(0xDC80, 0xDD00)  # as surrogateescape keeps what is no UTF-8

_KEYS = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|auth)"
_OPTION = re.compile(rf"(?i)^-{{1,2}}[\w.-]*{_KEYS}[\w.-]*$")
_ASSIGNED = re.compile(rf"(?i)\b([\w.-]*{_KEYS}[\w.-]*\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)")
_IN_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_KNOWN = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*"
)


def printable(text: str) -> str:
    r"""The text with every character that a terminal would act on written as \xNN or \uNNNN.

    Those are control characters, formatting ones (which turn the writing direction around), separators of lines and
    bytes that are no UTF-8.
    """
    return "".join(each if _harmless(each) else _escaped(each) for each in text)


def _harmless(character: str) -> bool:
    return " " <= character <= "~" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _escaped(character: str) -> str:
    code = ord(character)
    if code in _BYTES:
        code -= _BYTES.start - 0x80
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def command_line(words: Sequence[str]) -> str:
    """A command line without what looks like a secret: values of options and of assignments, passwords in URLs."""
    shown: list[str] = []
    hide = False
    for word in words:
        shown.append(MASK if hide and word and not word.startswith("-") else masked(word))
        hide = _OPTION.match(word) is not None
    return printable(" ".join(shown))


def masked(text: str) -> str:
    """A text without what looks like a secret."""
    text = _IN_URL.sub(rf"\1{MASK}@", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _ASSIGNED.sub(rf"\1{MASK}", text)
    return _KNOWN.sub(MASK, text)
