"""A manifest with other grants, and everything else in it as it was: one edit of the text at a time. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from debugrun.core.export.ask import Privileges
from debugrun.core.export.cluster import MESOS, NOMAD
from debugrun.core.export.host import CONTAINERS, DEVCONTAINER, unit_word
from debugrun.core.export.kubernetes import FOLDER
from debugrun.core.manifest.document import Node
from debugrun.core.manifest.holding import Holding, Part, Step
from debugrun.core.manifest.options import option, words_of
from debugrun.core.manifest.read import holdings
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class _Words:
    """How a format says a capability and a profile: the path of the list, and the item."""

    capabilities: tuple[str, ...]
    profile: tuple[str, ...] = ()
    folder: str = ""
    sign: str = "="
    lower: bool = False


WORDS = {
    "compose": _Words(capabilities=("cap_add",), profile=("security_opt",), folder="./", sign=":"),
    "devcontainer": _Words(capabilities=("capAdd",), profile=("securityOpt",), folder=DEVCONTAINER),
    "nomad": _Words(capabilities=("config", "cap_add"), profile=("config", "security_opt"), folder=NOMAD, lower=True),
    "ecs": _Words(capabilities=("linuxParameters", "capabilities", "add")),
    "marathon": _Words(
        capabilities=("container", "docker", "parameters"), profile=("container", "docker", "parameters"), folder=MESOS
    ),
    "kubernetes": _Words(
        capabilities=("securityContext", "capabilities", "add"), profile=("securityContext",), folder=f"{FOLDER}/"
    ),
    "quadlet": _Words(capabilities=(), folder=CONTAINERS),
}


def rewritten(text: str, where: str, wanted: Sequence[Privileges | None], form: str = "") -> str | None:
    """The text in which each container holds what is wanted of it, in their order; None: it stays as it is.

    None where no edit of ours says that, as where containers share their grants by an anchor.
    """
    seen = set[str]()
    while text not in seen:
        seen.add(text)
        found = holdings(text, where, form)
        if len(found) != len(wanted):
            return None
        step = next(
            (edit for each, aim in zip(found, wanted, strict=True) if aim and (edit := _next(text, each, aim))), None
        )
        if step is None:
            return text
        start, end, new = step
        text = text[:start] + new + text[end:]
    return None


Edit = tuple[int, int, str]


def _next(text: str, held: Holding, aim: Privileges) -> Edit | None:
    """One edit on the way from what is held to the aim; None where it is reached."""
    now = held.privileges
    extra = [name for name in now.cap_add if name not in aim.cap_add]
    lacking = [name for name in aim.cap_add if name not in now.cap_add]
    if now.seccomp != aim.seccomp:
        return _profile(text, held, aim.seccomp)
    if extra and lacking and held.format not in {"quadlet", "marathon"}:
        part = _part(held, "capability", extra[0])
        if part.way[-1].key is None:
            return _replaced(text, part.way[-1].value, _capability(held.format, lacking[0]))
    if extra:
        return _removed(text, _part(held, "capability", extra[0]))
    if lacking:
        return _added(text, held, WORDS[held.format].capabilities, _capability_item(held.format, lacking[0]))
    for kind, is_held, is_wanted in (
        ("privileged", now.privileged, aim.privileged),
        ("label", now.no_labels, aim.no_labels),
        ("apparmor", now.apparmor, aim.apparmor),
        ("pid", now.pid, aim.pid),
    ):
        if is_held and not is_wanted:
            return _removed(text, next(each for each in held.parts if each.kind == kind))
    gone = next((path for path in now.mounts if path not in aim.mounts), None)
    return _removed(text, _part(held, "mount", gone)) if gone is not None else None


def _part(held: Holding, kind: str, value: str) -> Part:
    return next(each for each in held.parts if each.kind == kind and each.value == value)


def _profile(text: str, held: Holding, name: str) -> Edit | None:
    """The edit that names another seccomp profile, or none."""
    part = next((each for each in held.parts if each.kind == "seccomp"), None)
    if name == "default":
        return _removed(text, part) if part is not None else None
    words = WORDS[held.format]
    value = name if name == "unconfined" else words.folder + name
    if held.format == "kubernetes":
        item: object = {"type": "Localhost", "localhostProfile": value}
        if part is not None:
            return _span(text, part.way[-1].value, _inline(item, part.way[-1].value, text))
        return _added(text, held, words.profile, {"seccompProfile": item})
    if held.format == "quadlet":
        line = f"SeccompProfile={value}"
        return _span(text, part.way[-1].value, line) if part is not None else _line(held, line)
    return _security_opt(text, held, part, f"seccomp{words.sign}{value}")


def _security_opt(text: str, held: Holding, part: Part | None, opt: str) -> Edit | None:
    """The edit that makes an item of security options say this."""
    path = WORDS[held.format].profile
    if part is None:
        item = {"key": "security-opt", "value": opt} if held.format == "marathon" else opt
        return _added(text, held, path, item)
    if held.format == "marathon":
        found = part.way[-1].value.get("value")
        return _replaced(text, found, opt) if found is not None else None
    typed = text[part.way[-1].value.start : part.way[-1].value.end].strip("\"'")
    if typed.startswith("--security-opt"):
        opt = f"--security-opt={opt}"
    return _replaced(text, part.way[-1].value, opt)


def _capability(form: str, name: str) -> str:
    return name.lower() if WORDS[form].lower else name


def _capability_item(form: str, name: str) -> object:
    if form == "quadlet":
        return f"AddCapability={name}"
    return {"key": "cap-add", "value": name} if form == "marathon" else _capability(form, name)


def _replaced(text: str, node: Node, word: str) -> Edit:
    """A scalar with another word in it, quoted as before."""
    before = text[node.start : node.end].strip()
    quote = before[0] if before[:1] in {'"', "'"} else ""
    plain = quote or ('"' if set(word) & set(':{}#,[]$" ') else "")
    return _span(text, node, f"{plain}{word}{plain}")


def _span(text: str, node: Node, word: str) -> Edit:
    end = node.end
    while end > node.start and text[end - 1] in " \t\n":
        end -= 1
    return node.start, end, word


def _removed(text: str, part: Part) -> Edit:
    """The edit that takes a part away, with what would be empty without it."""
    way = list(part.way)
    while len(way) > 1 and _alone(way[-1]) and way[-2].value is way[-1].owner and not _is_root(way):
        way.pop()
    step = way[-1]
    start = (step.key or step.value).start
    if step.key is not None and step.key.text == "PodmanArgs":
        return _without_option(text, step, part)
    siblings = sorted(_siblings(step.owner), key=lambda pair: pair[0])
    at = next(index for index, pair in enumerate(siblings) if pair[0] == start)
    if step.owner.flow:
        return _from_brackets(step, siblings, at)
    line = text.rfind("\n", 0, start) + 1
    if text[line:start].strip(" ") not in {"", "-"} or (text[line:start].strip(" ") == "-" and step.key is not None):
        following = siblings[at + 1][0] if at + 1 < len(siblings) else _line_end(text, step)
        return start, following, ""
    return line, _line_end(text, step), ""


def _without_option(text: str, step: Step, part: Part) -> Edit:
    """A line of PodmanArgs without one option; the others stay."""
    kept = [
        unit_word(name if not value else f"{name}={value}")
        for name, value in words_of(step.value.text)
        if (part.kind, part.value) not in [(found.kind, found.value) for found in option(name, value, part.way)]
    ]
    if not kept:
        return step.value.start, _line_end(text, step), ""
    return step.value.start, step.value.end, f"PodmanArgs={' '.join(kept)}"


def _is_root(way: list[Step]) -> bool:
    """Whether what is above is an item of containers or the like: it stays."""
    return way[-2].key is None and way[-1].key is not None and len(way) == 2  # noqa: PLR2004 - the container itself


def _alone(step: Step) -> bool:
    if step.owner.entries is not None:
        return len(step.owner.entries) + len(step.owner.merged) <= 1
    first = (step.key or step.value).start
    return all(first <= item.start <= step.value.end for item in step.owner.items or ())


def _siblings(owner: Node) -> list[tuple[int, int]]:
    if owner.entries is not None:
        return [(key.start, value.end) for key, value in owner.entries]
    return [(item.start, item.end) for item in owner.items or ()]


def _from_brackets(step: Step, siblings: list[tuple[int, int]], at: int) -> Edit:
    start, end = (step.key or step.value).start, step.value.end
    rest = [pair for pair in siblings[at + 1 :] if pair[0] >= end]
    if at > 0:
        return siblings[at - 1][1], end, ""
    return start, rest[0][0] if rest else end, ""


def _line_end(text: str, step: Step) -> int:
    end = max(step.value.end, step.key.end if step.key else 0)
    while end > 0 and text[end - 1] == "\n":
        end -= 1
    found = text.find("\n", end)
    return len(text) if found < 0 else found + 1


def _added(text: str, held: Holding, path: tuple[str, ...], item: object) -> Edit | None:
    """The edit that adds an item to the list at a path, which it makes where it is not there."""
    if held.format == "quadlet":
        return _line(held, str(item))
    node = held.node
    left = list(path)
    while left and (found := node.get(left[0])) is not None:
        node, left = found, left[1:]
    if not left and node.items is not None:
        return _item(text, node, item)
    value: object = item if isinstance(item, dict) and "seccompProfile" in item else [item]
    for key in reversed(left):
        value = {key: value}
    if not isinstance(value, dict) or not node.entries:
        return None
    ((key, inner),) = value.items()
    return _entry(text, held.format, node, str(key), inner)


def _line(held: Holding, line: str) -> Edit:
    last = held.node.entries[-1][1].end if held.node.entries else held.node.end
    return last, last, f"\n{line}"


def _item(text: str, node: Node, item: object) -> Edit:
    items = node.items or ()
    if not items:
        return node.start + 1, node.start + 1, json.dumps(item)
    last = items[-1]
    if node.flow:
        between = text[node.start : items[0].start]
        indent = "\n" + between.rsplit("\n", 1)[1] if "\n" in between else " "
        return last.end, last.end, f",{indent}{json.dumps(item, ensure_ascii=False)}"
    dash = text.rfind("-", 0, last.start)
    column = dash - text.rfind("\n", 0, dash) - 1
    end = _content_end(text, last.end)
    return end, end, f"\n{' ' * column}- {_block(item, column + 2).lstrip()}"


def _entry(text: str, form: str, node: Node, key: str, value: object) -> Edit:
    """The edit that adds an entry after the last one."""
    assert node.entries  # noqa: S101 - asked before
    first, (last_key, last) = node.entries[0][0], node.entries[-1]
    end = _content_end(text, max(last.end, last_key.end), flow=node.flow)
    column = first.start - text.rfind("\n", 0, first.start) - 1
    if node.flow:
        margin = text[first.start - column : first.start]
        gap = "\n" + margin if not margin.strip() else " "
        return end, end, f",{gap}{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
    indent = " " * column
    if form == "nomad":
        return end, end, f"\n{indent}{key} = {json.dumps(value)}"
    return end, end, f"\n{indent}{key}:{_block(value, column + 2)}"


def _content_end(text: str, end: int, *, flow: bool = False) -> int:
    """Where something can follow: behind the comment on the last line, in brackets behind the last word."""
    while end > 0 and text[end - 1] in " \t\n":
        end -= 1
    found = text.find("\n", end)
    return end if flow else len(text) if found < 0 else found


def _block(value: object, indent: int) -> str:
    """A value in block style, from a new line on where it is no scalar."""
    pad = "\n" + " " * indent
    if isinstance(value, dict):
        return "".join(f"{pad}{key}:{_block(each, indent + 2)}" for key, each in value.items())
    if isinstance(value, list):
        return "".join(f"{pad}- {_block(each, indent + 2).lstrip()}" for each in value)
    word = str(value)
    return f" {json.dumps(word)}" if set(word) & set(':{}#,[]$" ') else f" {word}"


def _inline(value: object, node: Node, text: str) -> str:
    """A mapping in the place of another."""
    if node.flow:
        return json.dumps(value)
    column = node.start - text.rfind("\n", 0, node.start) - 1
    return _block(value, column).lstrip()
