"""Connections by way of an ssh client, with a stand-in for that program: how they end, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from debugrun.engine.ssh import Client, Destination, Login, SshError
from debugrun.errors import EngineError

Dial = Callable[[str], Client]


@pytest.fixture
def dial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dial]:
    """Start a connection whose ssh client does that, in shell; asked for its configuration it says nothing."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    logins = []

    def started(does: str) -> Client:
        program = tmp_path / "ssh"
        program.write_text(f'#!/bin/sh\n[ "$1" = -G ] && exit\n{does}\n')
        program.chmod(0o755)
        logins.append(Login(Destination.of("ssh://somebody@example.org")))
        made = logins[-1].dial()
        made.socket.settimeout(10)
        return made

    yield started
    for each in logins:
        each.close()


def test_what_is_sent_arrives_and_the_end_of_it_too(dial: Dial) -> None:
    client = dial("cat; echo over")
    client.socket.sendall(b"hello\n")
    client.socket.shutdown(1)
    assert b"".join(iter(lambda: client.socket.recv(100), b"")) == b"hello\nover\n"


def test_the_end_is_seen_of_a_client_that_lives_on_and_keeps_its_input(dial: Dial) -> None:
    """As one does that carries others, when its own command has ended."""
    client = dial("echo hello; exec >/dev/null; exec sleep 60")
    assert b"".join(iter(lambda: client.socket.recv(100), b"")) == b"hello\n"
    assert client.process.poll() is None


def test_a_client_that_fails_says_why(dial: Dial) -> None:
    client = dial("echo 'Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(SshError, match=r"Permission denied \(publickey\)"):
        client.socket.recv(100)


@pytest.mark.parametrize(
    ("url", "words", "command"),
    [
        ("ssh://host", ["--", "host"], "docker system dial-stdio"),
        ("ssh://me@host:2222", ["-l", "me", "-p", "2222", "--", "host"], "docker system dial-stdio"),
        ("ssh://host/run/a b", ["--", "host"], "docker --host 'unix:///run/a b' system dial-stdio"),
    ],
)
def test_where_it_leads(url: str, words: list[str], command: str) -> None:
    destination = Destination.of(url)
    assert destination.words() == words
    assert destination.command() == command


@pytest.mark.parametrize("url", ["ssh://", "ssh://me:secret@host", "ssh://host:port", "ssh://host?x=1"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(EngineError, match="is not the address"):
        Destination.of(url)
