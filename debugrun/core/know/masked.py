"""Text of others without what looks like a secret. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from debugrun.core.know.printable import printable

MASK = "***"
_KEYS = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|auth)"
_OPTION = re.compile(rf"(?i)^-{{1,2}}[\w.-]*{_KEYS}[\w.-]*$")
_ASSIGNED = re.compile(rf"(?i)\b([\w.-]*{_KEYS}[\w.-]*\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)")
_IN_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_KNOWN = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*"
)


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
