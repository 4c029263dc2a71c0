"""The file that a tool writes, and how it gets to the caller, as its data file tells. Pure."""

from __future__ import annotations

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
    """An option of the tool that gives wrong results in a sidecar: why, and what to type instead."""

    options: tuple[str, ...]
    says: str
    instead: str


def parse_misleading(reader: Reader) -> Misleading:
    """An entry of `misleading` of a mode. Raises ToolError."""
    found = Misleading(
        options=reader.texts("options", required=True),
        says=reader.text("says", required=True),
        instead=reader.text("instead", required=True),
    )
    reader.finish()
    return found


def misled(args: Sequence[str], entries: Sequence[Misleading]) -> Misleading | None:
    """What of it was asked for: an option by itself, with a value, or with others in one word (-fk)."""
    for word in args:
        letters = word[1:] if len(word) > 1 and word[0] == "-" and word[1] != "-" else ""
        for each in entries:
            short = {name[1] for name in each.options if len(name) == 2}  # noqa: PLR2004 - as in -k
            if word.partition("=")[0] in each.options or (letters.isalpha() and short & set(letters)):
                return each
    return None


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
