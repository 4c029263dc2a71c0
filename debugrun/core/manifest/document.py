"""A manifest as a tree whose nodes know where they stand: YAML, JSON with comments, HCL and units alike. Pure.

Nothing in a document is carried out or filled in: no tags, no merges beyond reading them, no templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from debugrun.core.export.words import missing_extra
from debugrun.core.know.printable import printable
from debugrun.errors import UsageError
from debugrun.values import dataclass

LARGEST = 2 << 20  # bytes: parsing in Python takes seconds a megabyte
_DEEPEST = 100


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """A mapping (`entries`), a list (`items`) or a scalar (`text`), from `start` to `end` in the document's text.

    `line` and `column` count from 1. `flow` says that it is written with brackets. `label` is an HCL block's.
    """

    start: int
    end: int
    line: int
    column: int
    entries: tuple[tuple[Node, Node], ...] | None = None
    items: tuple[Node, ...] | None = None
    text: str = ""
    flow: bool = False
    label: str = ""
    merged: tuple[Node, ...] = field(default=())

    def entry(self, key: str) -> tuple[Node, Node] | None:
        """The entry of that key, its own or one that is merged in."""
        for name, value in self.entries or ():
            if name.text == key:
                return name, value
        return next((found for each in self.merged if (found := each.entry(key))), None)

    def owner_of(self, key: str) -> Node:
        """The mapping that has the entry itself: this one, or one that is merged in."""
        if any(name.text == key for name, _ in self.entries or ()):
            return self
        return next((each.owner_of(key) for each in self.merged if each.entry(key)), self)

    def get(self, *path: str) -> Node | None:
        """What stands at the end of a path of keys."""
        node: Node | None = self
        for key in path:
            found = node.entry(key) if node is not None else None
            node = found[1] if found else None
        return node

    def string(self, *path: str) -> str:
        """A scalar's text; "" where there is none."""
        node = self.get(*path)
        return node.text if node is not None and node.is_scalar else ""

    def true(self, *path: str) -> bool:
        """Whether a scalar says true."""
        return self.string(*path).lower() in {"true", "yes", "on"}

    def listed(self, *path: str) -> tuple[Node, ...]:
        """A list's items; () where there is none."""
        node = self.get(*path)
        return (node.items or ()) if node is not None else ()

    def children(self) -> Iterator[tuple[str, Node]]:
        """The entries' keys and values."""
        for key, value in self.entries or ():
            yield key.text, value

    @property
    def is_scalar(self) -> bool:
        """Whether it has neither entries nor items."""
        return self.entries is None and self.items is None


def bad(where: str, line: int, column: int, why: str, hint: str = "correct the file") -> UsageError:
    """The error about a place in a file."""
    return UsageError("bad-manifest", f"{where}:{line}:{column}: {why}", hint)


def parse(text: str, where: str) -> tuple[Node, ...]:
    """The documents of a file, by its name's end. Raises UsageError with file, line and column."""
    if len(text) > LARGEST:
        raise bad(where, 1, 1, f"the file is larger than {LARGEST >> 20} MB, more is not read", "split the file")
    name = where.rsplit("/", 1)[-1]
    try:
        if name.endswith((".hcl", ".nomad")):
            return (_hcl(text, where),)
        if name.endswith((".container", ".service")):
            return (_unit(text, where),)
        if name.endswith((".json", ".jsonc")) or text.lstrip()[:1] in {"{", "["}:
            return _yaml(without_comments(text), text, where)
        return _yaml(text, text, where)
    except RecursionError:
        raise bad(where, 1, 1, "it is nested too deep to be a manifest") from None


def without_comments(text: str) -> str:
    """JSON with its comments blanked out, so that every place stays: // to the line's end, and /* */."""

    def blank(match: re.Match[str]) -> str:
        word = match.group()
        return word if word.startswith('"') else re.sub(r"[^\n]", " ", word)

    return re.sub(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', blank, text, flags=re.DOTALL)


def _yaml(text: str, original: str, where: str) -> tuple[Node, ...]:
    try:
        from ruamel.yaml import YAML  # noqa: PLC0415 - of the extra `export`
        from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415 - the same
    except ImportError as error:
        raise missing_extra("YAML") from error
    try:
        import io  # noqa: PLC0415 - with the library

        composed = list(YAML(typ="rt", pure=True).compose_all(io.StringIO(text)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _not_yaml(original, where, line, column, str(error.problem)) from error
    except (YAMLError, ValueError) as error:
        raise bad(where, 1, 1, f"not YAML: {str(error).splitlines()[0]}") from error
    builder = _FromYaml(where)
    return tuple(builder.node(each, 0) for each in composed if each is not None)


def _not_yaml(text: str, where: str, line: int, column: int, problem: str) -> UsageError:
    lines = text.splitlines()
    near = "\n".join(lines[max(0, line - 2) : line + 1])
    if "{{" in near:
        return _template(where, line, column)
    return bad(where, line, column, f"not YAML: {problem}")


def _template(where: str, line: int, column: int) -> UsageError:
    return bad(where, line, column, "it is a template, with {{ }}", "render it first: helm template, or its like")


class _FromYaml:
    """ruamel.yaml's nodes as ours. Aliases lead to one node each, so that nothing is multiplied."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.made: dict[int, Node | None] = {}

    def node(self, found: Any, depth: int) -> Node:  # noqa: ANN401 - the library's nodes have no common type
        key = id(found)
        line, column = found.start_mark.line + 1, found.start_mark.column + 1
        if key in self.made:
            known = self.made[key]
            if known is None:
                raise bad(self.where, line, column, "an anchor holds itself")
            return known
        if depth > _DEEPEST:
            raise bad(self.where, line, column, "it is nested too deep to be a manifest")
        self.made[key] = None
        self.made[key] = made = self._made(found, line, column, depth)
        return made

    def _made(self, found: Any, line: int, column: int, depth: int) -> Node:  # noqa: ANN401 - the same
        start, end = found.start_mark.index, found.end_mark.index
        if isinstance(found.value, str):
            return Node(start, end, line, column, text=found.value)
        flow = bool(found.flow_style)
        if found.value and isinstance(found.value[0], tuple):
            return self._mapping(found, Node(start, end, line, column, flow=flow), depth)
        if found.tag.endswith(":map"):
            return Node(start, end, line, column, entries=(), flow=flow)
        items = tuple(self.node(each, depth + 1) for each in found.value)
        last = end if flow or not items else items[-1].end
        return Node(start, last, line, column, items=items, flow=flow)

    def _mapping(self, found: Any, place: Node, depth: int) -> Node:  # noqa: ANN401 - the same
        entries, merged, names = list[tuple[Node, Node]](), list[Node](), set[str]()
        for key, value in found.value:
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if not isinstance(key.value, str):
                raise _template(self.where, line, column)
            made = self.node(value, depth + 1)
            if key.value == "<<":
                merged += made.items if made.items is not None else (made,)
                continue
            if key.value in names:
                raise bad(self.where, line, column, f"the key {printable(key.value)} stands twice")
            names.add(key.value)
            entries.append((self.node(key, depth + 1), made))
        ends = [value.end for key, value in entries if value.end >= key.end]  # not an alias's, which is elsewhere
        last = place.end if place.flow else max([*(key.end + 1 for key, _ in entries), *ends], default=place.end)
        return Node(
            place.start, last, place.line, place.column, entries=tuple(entries), flow=place.flow, merged=tuple(merged)
        )


def _hcl(text: str, where: str) -> Node:
    try:
        import hcl2  # noqa: PLC0415 - of the extra `export`
        from lark.exceptions import LarkError, UnexpectedInput  # noqa: PLC0415 - what it is made of
    except ImportError as error:
        raise missing_extra("HCL") from error
    try:
        tree = hcl2.parses_to_tree(text if text.endswith("\n") else f"{text}\n")
    except UnexpectedInput as error:
        raise bad(where, max(error.line, 1), max(error.column, 1), "not HCL2") from error
    except (LarkError, ValueError) as error:
        raise bad(where, 1, 1, f"not HCL2: {str(error).splitlines()[0]}") from error
    return _hcl_body(tree.children[0])


def _hcl_body(body: Any) -> Node:  # noqa: ANN401 - lark's trees
    entries = []
    for each in body.children:
        if each.data == "attribute":
            entries.append((_hcl_scalar(each.children[0]), _hcl_value(each.children[-1])))
        elif each.data == "block":
            labels = [_plain(part) for part in each.children[1:] if getattr(part, "data", "") == "string"]
            inner = next(part for part in each.children if getattr(part, "data", "") == "body")
            made = _hcl_body(inner)
            place = each.meta
            block = Node(
                place.start_pos, place.end_pos, place.line, place.column, entries=made.entries,
                label=labels[0] if labels else "",
            )  # fmt: skip
            entries.append((_hcl_scalar(each.children[0]), block))
    place = body.meta
    if place.empty:
        return Node(0, 0, 1, 1, entries=())
    return Node(place.start_pos, place.end_pos, place.line, place.column, entries=tuple(entries))


def _hcl_value(tree: Any) -> Node:  # noqa: ANN401 - the same
    inner = tree
    while len(inner.children) == 1 and hasattr(inner.children[0], "data") and inner.data != "tuple":
        inner = inner.children[0]
    if inner.data != "tuple":
        return _hcl_scalar(tree)
    meta = inner.meta
    items = tuple(_hcl_scalar(each) for each in inner.children if getattr(each, "data", "") == "expr_term")
    return Node(meta.start_pos, meta.end_pos, meta.line, meta.column, items=items, flow=True)


def _hcl_scalar(tree: Any) -> Node:  # noqa: ANN401 - the same
    meta = tree.meta
    return Node(meta.start_pos, meta.end_pos, meta.line, meta.column, text=_plain(tree))


def _plain(tree: Any) -> str:  # noqa: ANN401 - the same
    """The words of a tree, without a string's quotes."""
    words = "".join(str(token) for token in tree.scan_values(lambda _: True)).strip()
    return words[1:-1] if words[:1] == words[-1:] == '"' and len(words) > 1 else words


def _unit(text: str, where: str) -> Node:
    """A unit of systemd's: sections of KEY=VALUE, a key may stand many times (systemd.syntax(7))."""
    sections: dict[str, list[tuple[Node, Node]]] = {}
    current: list[tuple[Node, Node]] | None = None
    at, number, names = 0, 0, list[Node]()
    for raw in re.split(r"(?<!\\)\n", text):
        number += 1
        line, start, at = raw.strip(), at, at + len(raw) + 1
        first, number = number, number + raw.count("\n")
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            names.append(Node(start, at - 1, first, 1, text=line[1:-1]))
            current = sections.setdefault(line[1:-1], [])
            continue
        name, equals, value = line.partition("=")
        if not equals or current is None:
            raise bad(where, first, 1, "not a line of a unit: no KEY=VALUE in a section")
        key = Node(start, start + len(raw), first, 1, text=name.strip())
        plain = re.sub(r"\\\n\s*", " ", value.strip())
        current.append((key, Node(start, start + len(raw), first, 1, text=plain)))
    made = [(key, Node(key.start, key.end, key.line, 1, entries=tuple(sections[key.text]))) for key in names]
    return Node(0, len(text), 1, 1, entries=tuple(made))


def every(node: Node, seen: Mapping[int, Node] | None = None) -> Iterator[Node]:
    """The node and all below it, each once."""
    known = dict(seen or {})
    stack = [node]
    while stack:
        found = stack.pop()
        if id(found) in known:
            continue
        known[id(found)] = found
        yield found
        stack += [each for _, each in found.entries or ()] + list(found.items or ()) + list(found.merged)
