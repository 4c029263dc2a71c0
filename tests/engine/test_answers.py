"""Engines that are none: every answer that makes no sense is one clear line, and never a bug of debugrun's."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debugrun.engine import answers
from debugrun.engine.transport import without_password
from debugrun.errors import EngineError

ID = "0123456789abcdef" * 4
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["Id", "Name", "State"]), inner),
    max_leaves=6,
)
SHAPES = (answers.CONTAINER, answers.IMAGE, answers.INFO, answers.VERSION, answers.LISTED)
RIGHT = {"/version": {"ApiVersion": "1.41", "Arch": "amd64", "KernelVersion": "6.1", "Version": "20.10"}}


@contextmanager
def served(path: Path, answer: Callable[[str], bytes | None]) -> Iterator[str]:
    """An engine's socket at which everything is answered so; None: not at all. Its DOCKER_HOST."""
    over = threading.Event()

    def handle(client: socket.socket) -> None:
        with suppress(OSError), client:
            head = b""
            while b"\r\n\r\n" not in head and (more := client.recv(65536)):
                head += more
            body = answer(re.sub(r"^/v[0-9.]+", "", head.split(b" ")[1].decode().partition("?")[0])) if head else b""
            if body is None:
                over.wait(60)
                return
            length = str(len(body)).encode()
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + length + b"\r\n\r\n" + body)

    def accept() -> None:
        while not over.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(client,), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"unix://{path}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


def debugrun(host: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_HOST": host, "NO_PROXY": "*", **more}
    return subprocess.run(
        [sys.executable, "-m", "debugrun", *words], env=environment, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=100,
    )  # fmt: skip


VERBS = [
    ("gdb", "web"), ("plan", "gdb", "web"), ("facts", "web"), ("run", "gdb", "app"), ("gc",), ("restore",),
    ("doctor", "--json"), ("syscalls",), ("gdb", "web", "--via", "recreate", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize("body", ["[]", "{}", "null", '"text"', "[1]", json.dumps({"Id": [], "State": 1})])
def test_an_engine_that_answers_one_thing_to_everything(tmp_path: Path, body: str) -> None:
    with served(tmp_path / "s", lambda _: body.encode()) as host:
        for words in VERBS[:1] if body != "[]" else VERBS:
            assert_clear(debugrun(host, *words))


@pytest.mark.parametrize("body", [b"", b"<html>log in</html>", b'{"Id": "ab', b"[" * 100_000, b'{"Id": "\xff"}', b"\0"])
def test_an_engine_that_answers_no_json(tmp_path: Path, body: bytes) -> None:
    """Nothing, a page, an answer that was cut off, one that never comes to an end, bytes that are no text."""
    with served(tmp_path / "s", lambda _: body) as host:
        assert_clear(debugrun(host, "gdb", "web"))


@pytest.mark.parametrize("body", [[], {}, [{}], {"Id": ID}, {"Id": ID, "Config": [], "State": {}}, "no"])
def test_an_engine_that_knows_its_version_and_nothing_else(tmp_path: Path, body: object) -> None:
    def answer(path: str) -> bytes:
        return json.dumps(RIGHT.get(path, body)).encode()

    with served(tmp_path / "s", answer) as host:
        for words in VERBS if body in ([], [{}]) else (VERBS[0], VERBS[3], VERBS[6]):
            assert_clear(debugrun(host, *words))


def assert_clear(done: subprocess.CompletedProcess[str]) -> None:
    assert "Traceback" not in done.stderr, (done.args, done.stderr)
    assert "this is a bug" not in done.stderr, (done.args, done.stderr)
    assert done.returncode in {0, 2, 125, 126, 127}, (done.args, done.stderr)


@settings(max_examples=300)
@given(JSON, st.sampled_from(SHAPES))
def test_whatever_comes_is_decoded_or_refused(answer: object, shape: Mapping[str, Any]) -> None:
    try:
        found = answers.decoded(answer, shape)
    except EngineError as error:
        assert error.code == "strange-answer"  # noqa: PT017 - the other way is no error
    else:
        assert isinstance(found, dict)
        for key, wanted in shape.items():
            if isinstance(wanted, type):
                assert found.get(key) is None or isinstance(found[key], wanted)


def test_a_shape_says_which_key_is_wrong() -> None:
    with pytest.raises(EngineError, match=r"State\.Pid is to be int, and is bool"):
        answers.decoded({"Id": ID, "State": {"Pid": True}}, answers.CONTAINER)
    with pytest.raises(EngineError, match=r"Mounts\[1\] is to be an object, and is str"):
        answers.decoded({"Id": ID, "Mounts": [{}, "x"]}, answers.CONTAINER)


def test_an_engine_that_says_nothing_is_told_of_after_three_seconds(tmp_path: Path) -> None:
    with served(tmp_path / "s", lambda _: None) as host:
        words = [sys.executable, "-m", "debugrun", "plan", "gdb", "web"]
        environment = {**os.environ, "DOCKER_HOST": host}
        began = time.monotonic()
        with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "has not answered for 3 s; waiting" in line
            assert time.monotonic() - began >= 3
            process.kill()


def test_a_password_in_an_address_is_not_shown(tmp_path: Path) -> None:
    for url in ("ssh://me:hunter2@host.invalid", "ssh://me:hunter2@host.invalid:bad", "tcp://a:hunter2@127.0.0.1:1"):
        done = debugrun(url, "plan", "gdb", "web", HOME=str(tmp_path))
        assert done.returncode == 125
        assert "hunter2" not in done.stderr + done.stdout
    assert without_password("ssh://me@host") == "ssh://me@host"
    assert without_password("ssh://me:secret@host:22/x") == "ssh://me@host:22/x"


@pytest.mark.parametrize("text", ["{", "[]", '{"currentContext": 1}', "\xff"])
def test_a_broken_docker_config_is_no_reason_to_take_another_engine(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    done = debugrun("", "plan", "gdb", "web", DOCKER_CONFIG=str(tmp_path))
    assert done.returncode == 125
    assert f"{tmp_path}/config.json can't be read, so which engine is meant is not known" in done.stderr
