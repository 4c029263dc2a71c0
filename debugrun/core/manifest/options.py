"""Words of `docker run` inside manifests: --security-opt values, `runArgs`, PodmanArgs. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Iterator

from debugrun.core.manifest.document import Node
from debugrun.core.manifest.holding import Part, Step, each

SOCKETS = frozenset({"docker.sock", "podman.sock", "containerd.sock", "crio.sock"})
Way = tuple[Step, ...]


def capability(name: str) -> str:
    """A name as SYS_PTRACE, however it was typed."""
    return name.strip().upper().removeprefix("CAP_")


def capabilities(kind: str, ways: Iterable[Way]) -> Iterator[Part]:
    """The capabilities of a list that are added (`capability`) or dropped (`drop`)."""
    for way in ways:
        yield Part(kind=kind, value=capability(way[-1].value.text), way=way)


def security(opt: str, way: Way) -> Iterator[Part]:
    """One value of --security-opt, with = or : between."""
    separator = min((opt.index(sign) for sign in "=:" if sign in opt), default=len(opt))
    name, value = opt[:separator], opt[separator + 1 :]
    if name == "seccomp" and value not in {"", "default", "builtin"}:
        yield Part(kind="seccomp", value=value if value == "unconfined" else posixpath.basename(value), way=way)
    elif name == "apparmor" and value:
        yield Part(kind="apparmor", value=value, way=way)
    elif (name, value) == ("label", "disable"):
        yield Part(kind="label", value="disable", way=way)
    elif name == "no-new-privileges" and value in {"", "true"}:
        yield Part(kind="no-new-privileges", value="true", way=way)


def socket(source: str, way: Way) -> list[Part]:
    """The mount of an engine's socket, which is root on the host; no other mount is a debug grant."""
    return [Part(kind="mount", value=source, way=way)] if posixpath.basename(source) in SOCKETS else []


def option(name: str, value: str, way: Way) -> Iterator[Part]:
    """One option of docker run or podman run."""
    match name:
        case "--privileged" if value in {"", "true"}:
            yield Part(kind="privileged", value="true", way=way)
        case "--cap-add":
            yield Part(kind="capability", value=capability(value), way=way)
        case "--cap-drop":
            yield Part(kind="drop", value=capability(value), way=way)
        case "--security-opt":
            yield from security(value, way)
        case "--pid":
            yield Part(kind="pid", value=value.removeprefix("container:"), way=way)
        case "--user" | "-u":
            yield Part(kind="user", value=value, way=way)
        case "--volume" | "-v":
            yield from socket(value.partition(":")[0], way)


VALUED = frozenset({"--cap-add", "--cap-drop", "--security-opt", "--pid", "--user", "-u", "--volume", "-v"})


def run_options(node: Node, key: str) -> Iterator[Part]:
    """A list of words: an option's value is its own word, or stands behind =."""
    ways = each(node, key)
    at = 0
    while at < len(ways):
        name, equals, value = ways[at][-1].value.text.partition("=")
        if name in VALUED and not equals and at + 1 < len(ways):
            # The two words are one part: it goes with both.
            first, second = ways[at], ways[at + 1]
            pair = (*first[:-1], Step(first[-1].owner, second[-1].value, first[-1].value))
            yield from option(name, second[-1].value.text, pair)
            at += 1
        else:
            yield from option(name, value, ways[at])
        at += 1


def words_of(text: str) -> list[tuple[str, str]]:
    """The options in a line of words, as (name, value)."""
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    found = []
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        found.append((name, next(left, "") if name in VALUED and not equals else value))
    return found
