"""What of a gdb stub's output reaches the user's gdb: all packets but those that ask it for a system call."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.attach.remote_protocol import Files, Requests, packet
from debugrun.core.know import symbols

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


def asked(*requests: str) -> list[bytes]:
    return [packet(request.encode()) for request in requests]


def in_hex(path: str) -> str:
    return path.encode().hex()


def led(parts: list[bytes]) -> bytes:
    files = Files(31, "/srv/view")
    return b"".join(files.feed(part) for part in parts)


REQUESTS = [
    # gdb's, and what becomes of it
    ("vFile:setfs:0", "vFile:setfs:0"),
    (f"vFile:open:{in_hex('/lib/a.so')},0,0", f"vFile:open:{in_hex('/lib/a.so')},0,0"),
    ("vFile:setfs:1f", "vFile:setfs:0"),
    (f"vFile:open:{in_hex('/lib/a.so')},0,0", f"vFile:open:{in_hex('/srv/view/lib/a.so')},0,0"),
    (f"vFile:readlink:{in_hex('/lib')}", f"vFile:readlink:{in_hex('/srv/view/lib')}"),
    (f"vFile:open:{in_hex('/proc/31/exe')},0,0", f"vFile:open:{in_hex('/proc/31/exe')},0,0"),
    (f"vFile:open:{in_hex('/lib/a.so')},601,1ff", f"vFile:open:{in_hex('/lib/a.so')},601,1ff"),
    (f"vFile:unlink:{in_hex('/lib/a.so')}", f"vFile:unlink:{in_hex('/lib/a.so')}"),
    ("vFile:pread:5,3fff,0", "vFile:pread:5,3fff,0"),
    ("m7ffe0000,40", "m7ffe0000,40"),
    ("vFile:setfs:20", "vFile:setfs:20"),
    (f"vFile:open:{in_hex('/lib/a.so')},0,0", f"vFile:open:{in_hex('/lib/a.so')},0,0"),
]


@given(cuts=st.sets(st.integers(0, 900), max_size=9))
def test_files_of_the_process_are_read_below_the_view_and_nothing_else_is_changed(cuts: set[int]) -> None:
    text = b"+".join(asked(*(request for request, _ in REQUESTS))) + b"\x03"
    marks = sorted(cut for cut in cuts if cut < len(text))
    parts = [text[start:end] for start, end in zip([0, *marks], [*marks, len(text)], strict=True)]
    assert led(parts) == b"+".join(asked(*(becomes for _, becomes in REQUESTS))) + b"\x03"


@given(st.lists(st.one_of(st.sampled_from([b"$", b"#", b"$vFile:", b"open:2f,0,0", b"setfs:1f", b"00"]), st.binary())))
def test_no_input_breaks_it_or_is_lost(parts: list[bytes]) -> None:
    files = Files(31, "/srv/view")
    passed = b"".join(files.feed(part) for part in [*parts, b"#00"])
    if b"vFile" not in b"".join(parts):
        assert (passed + b"$").startswith((b"".join(parts) + b"#00").rstrip(b"$")) or passed == b"".join(parts) + b"#00"


def test_the_view_is_where_gdbserver_makes_it() -> None:
    source = symbols.gdbserver_arguments(31)[-1]
    assert source.endswith("serve(31)\n")
    assert symbols.files_of(31) == "/tmp/root.31"  # noqa: S108 - of the sidecar
    assert '"/tmp/root.{pid}"' in source or 'f"/tmp/root.{pid}"' in source
