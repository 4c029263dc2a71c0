"""The file that a tool writes, and how it gets to the caller, as its data file tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from debugrun.core.know.toml_table import Reader
from debugrun.values import dataclass

# stdout: its standard output becomes the file; copy: what it says goes to the file as well; core: records of a core
# (data/gcore/dump.py), of which the file is made: with no -o that is standard output.
KINDS = ("stdout", "copy", "core")


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """How a mode gives its file to `-o FILE`.

    `args` make the tool write it to its standard output. `options` are the tool's own that name a file: one of them
    among its arguments is taken for ours, since the file that it names would be the sidecar's and go with it.
    """

    kind: str
    args: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Misleading:
    """An option of the tool that gives wrong results in a sidecar: why, and what to type instead.

    `right`: the values, as a pattern, that give right ones.
    """

    options: tuple[str, ...]
    says: str
    instead: str
    right: re.Pattern[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Nothing:
    """A text of the tool's that means that it has found nothing, and ends with 0: what that says, and what to do.

    `{pid}` and `{container}` in `says` and `instead` are the target's.
    """

    text: str
    says: str
    instead: str

    def of(self, pid: int, container: str) -> Nothing:
        """The same about one target."""
        says, instead = (
            each.replace("{pid}", str(pid)).replace("{container}", container) for each in (self.says, self.instead)
        )
        return Nothing(text=self.text, says=says, instead=instead)


def parse_nothing(reader: Reader) -> Nothing:
    """An entry of `nothing` of a tool. Raises ToolError."""
    found = Nothing(
        text=reader.text("text", required=True),
        says=reader.text("says", required=True),
        instead=reader.text("instead", required=True),
    )
    reader.finish()
    return found


def parse_misleading(reader: Reader) -> Misleading:
    """An entry of `misleading` of a mode. Raises ToolError."""
    right = reader.text("right")
    try:
        pattern = re.compile(right) if right else None
    except re.error as error:
        raise reader.fail("right", f"{right!r} is no regular expression: {error}") from error
    found = Misleading(
        options=reader.texts("options", required=True),
        says=reader.text("says", required=True),
        instead=reader.text("instead", required=True),
        right=pattern,
    )
    reader.finish()
    return found


def misled(args: Sequence[str], entries: Sequence[Misleading]) -> Misleading | None:
    """What of it was asked for: an option by itself, with a value, or with others in one word (-fk)."""
    for number, word in enumerate(args):
        letters = word[1:] if len(word) > 1 and word[0] == "-" and word[1] != "-" else ""
        for each in entries:
            short = {name[1] for name in each.options if len(name) == 2}  # noqa: PLR2004 - as in -k
            if each.right is not None:
                value = _value(args, number, each.options)
                if value is not None and each.right.fullmatch(value) is None:
                    return each
            elif word.partition("=")[0] in each.options or (letters.isalpha() and short & set(letters)):
                return each
    return None


def _value(args: Sequence[str], number: int, options: Sequence[str]) -> str | None:
    """What is given to one of the options by that word, or by it and the next: getopt_long(3). None: it is none."""
    word = args[number]
    name, equals, value = word.partition("=")
    if word in options:
        return args[number + 1] if number + 1 < len(args) else ""
    if equals and name.startswith("--") and name in options:
        return value
    return word[2:] if not word.startswith("--") and word[:2] in options else None


def parse(reader: Reader) -> Output:
    """The table `output` of a mode. Raises ToolError."""
    output = Output(kind=reader.text("kind", required=True), args=reader.texts("args"), options=reader.texts("options"))
    if output.kind not in KINDS:
        raise reader.fail("kind", f"{output.kind!r} is none of {', '.join(KINDS)}")
    if output.options and not output.args:
        raise reader.fail("args", "missing: what takes the place of `options`")
    reader.finish()
    return output


def taken(args: Sequence[str], output: Output) -> tuple[str | None, tuple[str, ...]]:
    """(the file that the tool's own arguments name, the arguments without it): -o FILE, -oFILE, --output=FILE.

    getopt_long(3). The last one counts, as it does for the tools.
    """
    found: str | None = None
    rest: list[str] = []
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        if word in output.options:
            found = next(words, "")
        elif equals and name.startswith("--") and name in output.options:
            found = value
        elif not word.startswith("--") and word[:2] in output.options:
            found = word[2:]
        else:
            rest.append(word)
    return found, tuple(rest)
