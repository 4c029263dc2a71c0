"""The private engine of these tests ends itself only, also where the kernel has given its namespace's number anew."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.host import engine


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace of one's own needs root")
def test_a_namespace_is_known_by_its_owner_and_not_by_its_number() -> None:
    script = 'mount -t tmpfs tmpfs /run; printf %s "$OWNER" >/run/debugrun-test; echo up; read -r _'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]
    environment = {"PATH": os.environ["PATH"], "OWNER": "/somebody/elses"}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        number = str(Path(f"/proc/{process.pid}/ns/mnt").readlink())
        assert engine.members(number, Path("/ours")) == set()
        assert engine.members(number, Path("/somebody/elses")) == {process.pid}
        process.communicate(b"\n")
