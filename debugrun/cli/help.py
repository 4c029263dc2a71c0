"""`debugrun help`: the long texts that travel with the tool; they are Markdown in debugrun/help, here and in print."""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Annotated

import typer

from debugrun import __version__, streams
from debugrun.cli.options import EPILOG, interruptible
from debugrun.errors import UsageError

MAN = "man"
_SYNOPSIS = "debugrun TOOL CONTAINER [PID] [options] [-- TOOL_ARGS...]"


def topics() -> dict[str, str]:
    """The title of each topic by its name: a file NAME.md whose first line is `# Title`."""
    texts = {each.name.removesuffix(".md"): each for each in files("debugrun").joinpath("help").iterdir()}
    return {name: texts[name].read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for name in sorted(texts)}


def complete_topics(incomplete: str) -> list[str]:
    """Names of topics for the shell."""
    return [name for name in (*topics(), MAN) if name.startswith(incomplete)]


@interruptible
def help(  # noqa: A001 - the verb's name
    *,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOPIC]", help="the topic to show (default: list them all)", autocompletion=complete_topics
        ),
    ] = None,
) -> None:
    """Show a longer text, such as `debugrun help engines`; or the options of a tool or verb: `debugrun help gdb`."""
    found = topics()
    if topic is None:
        show(listed(found))
    elif topic == MAN:
        print(manual(found))
    elif topic in found:
        show(f"Options and examples: `debugrun {topic} --help`\n\n" * (topic in _verbs()) + text(topic))
    else:
        raise UsageError("no-topic", f"there is no help on {topic!r}", f"one of: {', '.join((*found, MAN))}")


def text(topic: str) -> str:
    """The topic's Markdown."""
    return files("debugrun").joinpath("help", f"{topic}.md").read_text(encoding="utf-8")


def listed(found: dict[str, str]) -> str:
    """All topics with their titles, as Markdown."""
    rows = [f"- `debugrun help {name}`: {title}" for name, title in found.items()]
    return "\n".join(["# Help", "", *rows, f"- `debugrun help {MAN} | man -l -`: the manual page", ""])


def show(markdown: str) -> None:
    """Page it where there is a terminal; else print it as it is."""
    if not sys.stdout.isatty():
        print(markdown, end="")
        return
    from rich.markdown import Markdown  # noqa: PLC0415 - the same

    console = streams.console()
    with console.pager(styles=True):
        console.print(Markdown(markdown))


def manual(found: dict[str, str]) -> str:
    """The manual page, in the language of man(7)."""
    lines = [f'.TH DEBUGRUN 1 "" "debugrun {__version__}" "User Commands"', ".SH NAME"]
    lines += ["debugrun \\- put a debug tool on a process in a container with the least privilege that works"]
    lines += [".SH SYNOPSIS", ".B " + _escaped(_SYNOPSIS), ".br", ".B debugrun VERB [options]", ".SH VERBS"]
    for name, line in _verbs().items():
        lines += [".TP", f".B {_escaped(name)}", _escaped(line)]
    lines += [".SH EXIT STATUS", _escaped(EPILOG), ".SH TOPICS"]
    for name, title in found.items():
        lines += [".TP", f".B debugrun help {_escaped(name)}", _escaped(title)]
    return "\n".join([*lines, ".SH SEE ALSO", ".BR docker (1), ptrace (2), capabilities (7), seccomp (2)"])


def _verbs() -> dict[str, str]:
    from debugrun.cli.app import VERBS  # noqa: PLC0415 - importing a verb imports no list of verbs

    return VERBS


def _escaped(words: str) -> str:
    """Text as roff takes it: no line of it begins a request."""
    plain = words.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
