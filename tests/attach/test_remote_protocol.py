"""What of a gdb stub's output reaches the user's gdb: all packets but those that ask it for a system call."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.attach.remote_protocol import Requests

# GDB manual, "List of Supported Calls"
CALLS = (
    "open",
    "close",
    "read",
    "write",
    "lseek",
    "rename",
    "unlink",
    "stat",
    "fstat",
    "gettimeofday",
    "isatty",
    "system",
)
ANSWERS = (b"$F0#76", b"$F-1,2#d7", b"$F5#7b", b"$F40;\x7fELF}\x04}\x03#aa", b'$F1000*"#ab', b"$Ff,d;x$#00")
OTHERS = (b"+", b"$OK#9a", b"$T05thread:p1.1;#00", b"$E01#a6", b"%Stop:T05#00", b"$qF#00", b"$m0,FF#00", b"$#00")


def request(call: str) -> bytes:
    return f"$F{call},7ffe0000/9,601,1b6#00".encode()


def through(parts: list[bytes]) -> tuple[bytes, list[str]]:
    filtered = Requests()
    passed = b"".join(filtered.feed(part) for part in parts)
    return passed + filtered.rest(), filtered.dropped


@pytest.mark.parametrize("call", CALLS)
def test_a_request_is_dropped_and_nothing_else(call: str) -> None:
    sent = ANSWERS[1] + request(call) + OTHERS[1]
    assert through([sent]) == (ANSWERS[1] + OTHERS[1], [call])


PACKETS = st.one_of(st.sampled_from(ANSWERS), st.sampled_from(OTHERS), st.sampled_from(CALLS).map(request))


@given(packets=st.lists(PACKETS), data=st.data())
def test_in_whatever_parts_it_comes(packets: list[bytes], data: st.DataObject) -> None:
    text = b"".join(packets)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    wanted = b"".join(each for each in packets if not re.match(rb"\$F[a-z]+,", each) or each in ANSWERS)
    assert through(parts)[0] == wanted


@given(st.lists(st.one_of(st.sampled_from([b"$", b"F", b"#", b"*", b"open,", b"system", b"5;", b"00"]), st.binary())))
def test_no_bytes_whatever_become_a_request(parts: list[bytes]) -> None:
    passed, _ = through(parts)
    assert not re.search(rb"\$F(?:" + "|".join(CALLS).encode() + rb")(?:,|#)", passed)
