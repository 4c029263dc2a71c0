"""The lease's lines in a tool's standard error: found wherever they stand, and nothing else of it is touched."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from debugrun.attach.child import Child
from debugrun.attach.lease import Lease
from debugrun.engine.engine import Engine

MARK = "debugrun-0123456789abcdef:"
# Bytes of a tool, among them much that looks like the beginning of a mark.
BEGINNINGS = [MARK[:size].encode() for size in range(1, len(MARK))]
TEXT = st.lists(st.one_of(st.binary(max_size=5), st.sampled_from(BEGINNINGS)))


class Told:
    """The lease's end of the connection: parts as they came, and the words that were found in them."""

    stream = None

    def __init__(self, parts: list[tuple[int, bytes]]) -> None:
        self.parts = [[part] for part in parts]
        self.words: list[str] = []

    def receive(self) -> list[tuple[int, bytes]] | None:
        return self.parts.pop(0) if self.parts else None

    def heard(self, word: str) -> None:
        self.words.append(word)


def read(order: list[int], parts: list[tuple[int, bytes]]) -> tuple[bytes, bytes, list[str], int | None]:
    """Standard output, standard error, words and status of a tool whose streams came one after the other."""
    told = Told(sorted(parts, key=lambda part: order.index(part[0])))
    child = Child(cast("Engine", None), cast("Lease", told), MARK)
    got = {1: b"", 2: b""}
    while (found := child.receive()) is not None:
        for source, data in found:
            got[source] += data
    assert child.ended
    return got[1], got[2], told.words, child.status()


@given(before=TEXT, between=TEXT, data=st.data())
def test_our_lines_are_taken_out_and_nothing_else(
    before: list[bytes], between: list[bytes], data: st.DataObject
) -> None:
    first, second = b"".join(before), b"".join(between)
    errors = first + f"{MARK}gone\n".encode() + second + f"{MARK}143\n".encode()
    parts = [*cut(1, second + f"{MARK}143\n".encode(), data), *cut(2, errors, data)]
    assert read(data.draw(st.permutations([1, 2])), parts) == (second, first + second, ["gone"], 143)


def cut(source: int, text: bytes, data: st.DataObject) -> list[tuple[int, bytes]]:
    """The text of one stream, in parts."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=6)))
    return [(source, text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(text=TEXT)
def test_a_tool_that_was_lost_with_its_container_has_no_status(text: list[bytes]) -> None:
    errors = b"".join(text)
    assert read([1, 2], [(1, errors), (2, errors)]) == (errors, errors, [], None)


def test_the_end_is_known_before_the_connection_s() -> None:
    told = Told([(1, f"out{MARK}0\n".encode()), (2, f"{MARK}0\n".encode()), (1, b"more")])
    child = Child(cast("Engine", None), cast("Lease", told), MARK)
    assert [(child.receive(), child.over) for _ in range(3)] == [([(1, b"out")], False), ([], True), (None, True)]
