"""Completions as zsh and fish take them: Typer's own drop apostrophes, and load rich to print a line."""

from __future__ import annotations

from typer._click.shell_completion import CompletionItem, add_completion_class
from typer._completion_classes import FishComplete, ZshComplete


class Zsh(ZshComplete):
    """zsh: the words stand in double quotes, in a list in single quotes, which is evaluated once by eval."""

    def format_completion(self, item: CompletionItem) -> str:
        """The word, quoted for both, with its description."""
        words = [str(item.value), *([item.help] if item.help else [])]
        return ":".join(f'"{_quoted(word)}"' for word in words)


def _quoted(word: str) -> str:
    for special in ("\\", '"', "$", "`"):
        word = word.replace(special, f"\\{special}")
    return word.replace(":", r"\\:").replace("'", "'\\''")


class Fish(FishComplete):
    """fish: a word and its description, on a line."""

    def format_completion(self, item: CompletionItem) -> str:
        """The word, a tab, what is said of it."""
        return f"{item.value}\t{' '.join(item.help.split())}" if item.help else f"{item.value}"


def register() -> None:
    """Use them instead of Typer's, which have to be registered already."""
    add_completion_class(Zsh, "zsh")
    add_completion_class(Fish, "fish")
