"""What is left where a target does get in, or speaks to the user's own gdb."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import docker
import pytest

from tests.live.victims import released, victims

pytestmark = pytest.mark.live

STUB = """\
schema = 1
name = "stub"
summary = "says what a hostile neighbour of gdbserver would write to its output"
binary = "gdbserver"
default_mode = "attach"
remote_protocol = true

[modes.attach]
summary = "attach"
command = ["sh", "-c", "printf '$OK#9a$Fopen,7ffe0000/9,601,1b6#54$Fwrite,3,7ffe0000,4#00$F-1,2#d7+'"]

[[modes.attach.needs]]
gate = "ptrace-read"
why = "a test"
"""


def run(*words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """With that on its standard input, or with none."""
    with open(os.devnull) if given is None else tempfile.TemporaryFile("w+") as stdin:  # noqa: PTH123 - null(4)
        if given is not None:
            stdin.write(given)
            stdin.seek(0)
        return subprocess.run(
            [sys.executable, "-m", "debugrun", *words],
            stdin=stdin, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip


def test_no_request_of_a_stub_reaches_the_users_gdb(engine: docker.APIClient, toolbox: str, tmp_path: Path) -> None:
    assert toolbox
    (tmp_path / "stub.toml").write_text(STUB)
    with victims(engine) as victim:
        done = run("stub", victim.name, "--tool-file", str(tmp_path / "stub.toml"))
        assert done.returncode == 0, done.stderr
        assert done.stdout == "$OK#9a$F-1,2#d7+"
        assert "dropped a File-I/O request to gdb (open)" in done.stderr
        assert "(write)" in done.stderr
        released(victim)


def test_a_pipe_in_the_place_of_a_file_with_symbols_keeps_nobody(engine: docker.APIClient, toolbox: str) -> None:
    """gdb would wait for a writer, its process stopped meanwhile."""
    assert toolbox
    with victims(engine, image="debugrun-test/buildid", user="0:0") as victim:
        found = [path for path in Path(f"/proc/{victim.pid}/root/usr/lib/debug").rglob("*.debug") if path.is_file()]
        for path in found:
            path.unlink()
            os.mkfifo(path, 0o666)
        done = run("gdb", victim.name, "--", "-batch", "-ex", "bt")
        assert found
        assert done.returncode == 0, done.stderr
        assert "#0" in done.stdout
        released(victim)


def test_a_sidecar_that_the_target_could_get_into_starts_nothing(engine: docker.APIClient, toolbox: str) -> None:
    """Its programs can be read again, as those of an older toolbox: the kernel says so, and the labels do not help."""
    ambient = "Podman Engine" in {each["Name"] for each in engine.version().get("Components", [])}
    (image,) = engine.images(name=toolbox)
    labels = image["Labels"]
    made = engine.create_container(toolbox, ["sh", "-c", "chmod -R a+r /usr/bin /usr/lib/debugrun"], user="0:0")["Id"]
    engine.start(made)
    assert engine.wait(made)["StatusCode"] == 0
    changes = [f"LABEL {key}={value}" for key, value in labels.items()]
    opened = engine.commit(made, repository="debugrun-test/opened", changes=changes)["Id"]
    engine.remove_container(made)
    try:
        with victims(engine, command=["/opt/app/worker", "undumpable"], user="0:0") as victim:
            done = run(
                "strace", victim.name, "--image", "debugrun-test/opened", "--max-grant", "none", "--duration", "1"
            )
            assert done.returncode == 126, done.stderr
        with victims(engine, command=["/opt/app/worker", "undumpable"]) as victim:
            done = run("strace", victim.name, "--image", "debugrun-test/opened", "--duration", "1")
            if ambient:  # all of the sidecar holds SYS_PTRACE then, which alone keeps out who does not
                assert done.returncode == 0, done.stderr
            else:
                assert done.returncode == 125, done.stdout + done.stderr
                assert "could get into the sidecar" in done.stderr
                # By exec, as with input or at a terminal: the engine only knows that its sidecar has ended.
                done = run("strace", victim.name, "--image", "debugrun-test/opened", "--duration", "1", given="")
                assert done.returncode == 125, done.stdout + done.stderr
                assert "could get into the sidecar" in done.stderr
            released(victim)
    finally:
        engine.remove_image(opened, force=True)
