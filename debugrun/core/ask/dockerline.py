"""A pasted `docker run ...` or `docker exec ...` line, as an Attempt: only the options that bear on a verdict. Pure.

Options that do not matter are skipped; a table says which ones take a value, so that their values are not taken for
the image. Values of environment variables are never kept.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import posixpath
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence

from debugrun.core import package_data
from debugrun.core.ask.attempt import Attempt
from debugrun.core.ask.number import is_number
from debugrun.core.grants import Placement
from debugrun.core.know.tool_file import Mode
from debugrun.core.know.typed import as_typed
from debugrun.errors import UsageError
from debugrun.values import dataclass

_LONG = {"-u": "--user", "-v": "--volume", "--net": "--network"}
_MAPS = ("--uidmap", "--gidmap", "--subuidname", "--subgidname")
_SHELLS = frozenset({"sh", "bash", "ash", "dash"})


@functools.cache
def known_options(kind: str) -> frozenset[str]:
    """The options of one kind: `global_values`, `switches` or `values` of data/docker/options.toml."""
    table = tomllib.loads(package_data.text("docker/options.toml"))
    return frozenset(str(table[kind]).split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A pasted line. `container` is the one that it enters or joins, None when it joins none.

    `namespace` and `kubernetes_context` are those of a line of kubectl.
    """

    attempt: Attempt
    container: str | None
    namespace: str | None = None
    kubernetes_context: str | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """What the line runs, inside `sh -c` too where that is all that the shell is for."""
        return _unwrapped(self.attempt.argv)

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of what the line may run: its first word, and the one that an image's entrypoint is given."""
        typed = self.attempt.typed or ()
        words = (argv[0] for argv in (self.argv, _unwrapped(typed)) if argv)
        return tuple(dict.fromkeys(posixpath.basename(word) for word in words))


def _unwrapped(words: tuple[str, ...]) -> tuple[str, ...]:
    """What `sh -c` runs, where that is all of it."""
    if len(words) == 3 and posixpath.basename(words[0]) in _SHELLS and words[1] == "-c":  # noqa: PLR2004
        return tuple(shlex.split(words[2]))
    return words


def parse(words: Sequence[str]) -> Line:
    """The line as words. Raises UsageError: no docker line, an option without its value, a word that is unknown."""
    left = list(words)
    while left and posixpath.basename(left[0]) in {"sudo", "env", "time"}:
        left.pop(0)
    if not left or posixpath.basename(left[0]) not in {"docker", "podman", "nerdctl"}:
        raise _usage(f"{words[0] if words else 'nothing'!r} is not a docker command")
    client, left = posixpath.basename(left[0]), _after_global_options(left[1:])
    if left[:1] == ["container"]:
        left.pop(0)
    if left[:1] == ["run"]:
        return _run(left[1:], client)
    if left[:1] == ["exec"]:
        return _exec(left[1:])
    raise _usage(f"only `docker run` and `docker exec` start a tool, not {' '.join(left[:1]) or 'nothing'!r}")


def _usage(why: str) -> UsageError:
    return UsageError("bad-docker-line", why, "debugrun judge -- docker run -it --pid container:web IMAGE gdb -p 1")


def not_of_exec(name: str) -> UsageError:
    """`docker exec` gives a process what its container has: the option is none of its."""
    message = f"docker exec has no {name}: what a container may do is fixed when it is made"
    return UsageError("not-of-exec", message, "debugrun recreate CONTAINER --cap-add NAME, or a sidecar: docker run")


def _after_global_options(words: list[str]) -> list[str]:
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in known_options("global_values") and words:
            words.pop(0)
    return words


def _run(words: list[str], client: str) -> Line:
    options, rest = _options(words)
    if not rest:
        raise _usage("the line names no image")
    entry = options.last("--entrypoint")
    add, drop = (capability_names(options.all(name)) for name in ("--cap-add", "--cap-drop"))
    if client == "docker":  # it does not even send the drop (docker/cli opts/capabilities.go EffectiveCapAddCapDrop())
        drop = tuple(name for name in drop if name not in (("ALL",) if "ALL" in add else add))
    attempt = Attempt(
        placement=Placement.SIDECAR,
        user=options.last("--user") or None,
        image=rest[0],
        cap_add=add,
        cap_drop=drop,
        privileged=options.switch("--privileged"),
        pid_mode=options.last("--pid"),
        network=options.last("--network"),
        userns=options.last("--userns") or next((name for name in _MAPS if options.all(name)), ""),
        runtime=options.last("--runtime"),
        mounts=tuple(_mounts(options)),
        argv=((entry,) if entry else ()) + tuple(rest[1:]),
        entrypoint=entry or None,
    )
    for opt in options.all("--security-opt"):
        attempt = _secured(attempt, opt)
    kind, _, ref = attempt.pid_mode.partition(":")
    return Line(attempt=attempt, container=ref if kind == "container" and ref else None)


def _mounts(options: _Options) -> Iterator[str]:
    """The paths of the host that are mounted where they are there: `-v A:A`, `--mount type=bind,src=A,dst=A`."""
    for value in options.all("--volume"):
        source, _, rest = value.partition(":")
        if rest.split(":", 1)[0].rstrip("/") == source.rstrip("/"):
            yield source.rstrip("/")
    for value in options.all("--mount"):
        fields = dict(part.partition("=")[::2] for part in value.split(","))
        source = fields.get("source", fields.get("src", ""))
        target = next((fields[key] for key in ("target", "dst", "destination") if key in fields), "")
        if fields.get("type") == "bind" and source.rstrip("/") == target.rstrip("/"):
            yield source.rstrip("/")


def _exec(words: list[str]) -> Line:
    options, rest = _options(words)
    if strange := sorted(set(options.values) - known_options("of_exec")):
        raise not_of_exec(strange[0])
    if not rest:
        raise _usage("the line names no container")
    attempt = Attempt(
        placement=Placement.HERE,
        user=options.last("--user") or None,
        privileged=options.switch("--privileged"),
        argv=tuple(rest[1:]),
    )
    return Line(attempt=attempt, container=rest[0])


def capability_names(values: Sequence[str]) -> tuple[str, ...]:
    """Names as typed, with or without CAP_, in one word or in several, as SYS_PTRACE."""
    names = (name for value in values for name in value.split(","))
    return tuple(dict.fromkeys(name.upper().removeprefix("CAP_") for name in names if name))


def _secured(attempt: Attempt, opt: str) -> Attempt:
    """One `--security-opt`: NAME=VALUE, NAME:VALUE of old, or a name alone (docker/cli parseSecurityOpts())."""
    separator = min((opt.index(sign) for sign in "=:" if sign in opt), default=len(opt))
    name, value = opt[:separator], opt[separator + 1 :]
    if name == "no-new-privileges":
        return dataclasses.replace(attempt, no_new_privileges=value in {"", "true"})
    if name == "apparmor":
        return dataclasses.replace(attempt, apparmor=value)
    if (name, value) == ("label", "disable"):
        return dataclasses.replace(attempt, selinux="disable")
    if name == "seccomp":
        return with_seccomp(attempt, value)
    return attempt


def with_seccomp(attempt: Attempt, value: str) -> Attempt:
    """`default` (`builtin`), `unconfined`, a profile's JSON text, or the path of a file that is yet to be read."""
    if value in {"default", "builtin", ""}:
        return dataclasses.replace(attempt, seccomp="default")
    if value == "unconfined":
        return dataclasses.replace(attempt, seccomp="unconfined")
    if value.lstrip().startswith("{"):
        return dataclasses.replace(attempt, seccomp="custom", profile=value)
    return dataclasses.replace(attempt, seccomp="custom", profile_file=value)


class _Options:
    """The options of a line by their long names, each with the values in their order."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        self.values.setdefault(_LONG.get(name, name), []).append(value)

    def all(self, name: str) -> list[str]:
        return self.values.get(name, [])

    def last(self, name: str) -> str:
        return self.all(name)[-1] if self.all(name) else ""

    def switch(self, name: str) -> bool:
        return self.last(name) == "true"


def walk(words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(the options as typed, a switch's value is "true", and what follows them). Raises UsageError as `parse`."""
    found: list[tuple[str, str]] = []
    return found, _walk(words, lambda name, value: found.append((name, value)))


def _options(words: list[str]) -> tuple[_Options, list[str]]:
    """The options up to the first word that is none, and what follows it."""
    found = _Options()
    return found, _walk(words, found.add)


def _walk(words: list[str], add: Callable[[str, str], None]) -> list[str]:
    left = iter(words)
    for word in left:
        if word == "--":
            return list(left)
        if not word.startswith("-") or word == "-":
            return [word, *left]
        if word.startswith("--"):
            _long(word, left, add)
        else:
            _short(word[1:], left, add)
    return []


def _long(word: str, left: Iterator[str], add: Callable[[str, str], None]) -> None:
    name, equals, value = word.partition("=")
    if name in known_options("switches"):
        add(name, value if equals else "true")
    elif equals:
        add(name, value)  # one that we do not know carries its value along
    elif name in known_options("values"):
        add(name, _value(name, left))
    else:
        raise _usage(f"{name} is not an option of docker that is known here")


def _short(letters: str, left: Iterator[str], add: Callable[[str, str], None]) -> None:
    """`-it`, `-u 1000`, `-u1000`, `-itu 1000`: switches, then at most one that takes what is left of the word."""
    for at, letter in enumerate(letters):
        name = f"-{letter}"
        if name in known_options("switches"):
            add(name, "true")
        elif name in known_options("values"):
            add(name, letters[at + 1 :].removeprefix("=") or _value(name, left))
            return
        else:
            raise _usage(f"{name} is not an option of docker that is known here")


def _value(name: str, left: Iterator[str]) -> str:
    value = next(left, None)
    if value is None:
        raise _usage(f"{name} needs a value")
    return value


def mode_of(argv: Sequence[str], modes: Sequence[Mode], default: str) -> str:
    """The mode whose command the words look like most; the default one where they tell nothing."""
    said = set(argv)
    ranked = sorted(modes, key=lambda mode: mode.name != default)
    best = max(ranked, key=lambda mode: sum(word in said for word in mode.command if not word.startswith("{")))
    return best.name


def pid_of(argv: Sequence[str], mode: Mode) -> int | None:
    """The PID among the words: what stands where the mode's command has it, else the last number."""
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--") else [word])]
    typed = as_typed(mode.command)
    at = typed.index("{pid}") if "{pid}" in typed else 0
    flag = typed[at - 1] if at else ""
    for before, word in itertools.pairwise(words):
        if before == flag and is_number(word):
            return int(word)
    for word in words:
        if flag and len(flag) == 2 and word.startswith(flag) and is_number(word[2:]):  # noqa: PLR2004 - `-p1`
            return int(word[2:])
    return next((int(word) for word in reversed(words[1:]) if is_number(word)), None)
