"""What people type first, and what it means here: other programs' words for help, and a tool's own options."""

from __future__ import annotations

import difflib
import functools
import shlex
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence

from debugrun.core import package_data
from debugrun.errors import ToolError, UsageError
from debugrun.values import dataclass


def meant(words: Sequence[str], known: Collection[str], topics: Collection[str]) -> list[str]:
    """The words with another program's ways to ask for help or version put into ours.

    `known` are the tools and verbs: `help gdb` is `gdb --help`, but a topic of that name goes first.
    """
    if list(words) == ["version"]:
        return ["--version"]
    asked = words[1] if len(words) == 2 and words[0] == "help" else ""  # noqa: PLR2004 - help WORD
    return [asked, "--help"] if asked in known and asked not in {"help", *topics} else list(words)


@functools.cache
def meanings() -> Mapping[str, Mapping[str, str]]:
    """data/meanings.toml: words that people have for what is called otherwise here."""
    table = tomllib.loads(package_data.text("meanings.toml"))
    return {word: {key: str(value) for key, value in entry.items()} for word, entry in table.items()}


def unknown(word: str, known: Collection[str], running: Callable[[], Collection[str]] = tuple) -> ToolError:
    """The error about a first word that is neither a tool nor a verb, with what does it.

    `running` are the names of containers and Compose services, asked for where nothing else is known of the word.
    """
    if entry := meanings().get(word):
        return ToolError("no-such-tool", f"{word} is neither a tool nor a verb: {entry['because']}", entry["instead"])
    near = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    if not near and word in running():
        message = f"{word} is a container, and no tool or verb says what is to be done with it"
        verbs = ("ps", "stacks", "gdb", "strace")
        return ToolError("no-such-tool", message, ", ".join(f"debugrun {verb} {word}" for verb in verbs))
    near_names = f": did you mean {' or '.join(near)}?" if near else ""
    return ToolError("no-such-tool", f"{word} is neither a tool nor a verb{near_names}", "debugrun --help")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options that a command has: by name, whether a value follows."""

    takes_value: Mapping[str, bool]

    def value_follows(self, word: str) -> bool | None:
        """Whether the next word is this option's value; None: it is no option of ours."""
        name, equals, _ = word.partition("=")
        if name in self.takes_value:
            return self.takes_value[name] and not equals
        short = word[:2]  # -mstack
        return False if not word.startswith("--") and self.takes_value.get(short) else None


def check(words: Sequence[str], tool_args: Sequence[str], options: Options) -> None:
    """Raise UsageError for a tool's own options before `--`, with the line that passes them on.

    `words` begin with the tool's name.
    """
    ours, theirs, named, value = [words[0]], list[str](), 0, False
    for word in words[1:]:
        option = not value and word.startswith("-") and len(word) > 1
        follows = options.value_follows(word) if option else None
        target = not option and (named == 0 or (named == 1 and word.isdigit() and not theirs))  # CONTAINER [PID]
        if value or target or follows is not None:
            ours.append(word)
            named += target and not value
        else:
            theirs.append(word)
        value = bool(follows)
    wrong = next((word for word in theirs if word.startswith("-")), None)
    if wrong is None:
        return
    line = shlex.join(["debugrun", *ours, "--", *theirs, *tool_args])
    message = f"debugrun has no option {wrong}; {words[0]}'s own options go behind --"
    raise UsageError("tools-option", message, line)
