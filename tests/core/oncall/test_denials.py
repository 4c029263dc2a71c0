"""Who refused a call: the table of calls, and the order of the layers."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.know.procfs import CAPABILITIES
from debugrun.core.oncall import denials
from debugrun.core.oncall.denials import Denied, Filter
from debugrun.core.rules import seccomp
from debugrun.core.rules.seccomp import calls

PROFILE = seccomp.default_profile("docker", (28, 5, 2))
DEFAULT = frozenset("CHOWN DAC_OVERRIDE FOWNER KILL SETUID SETGID NET_RAW SYS_CHROOT MKNOD".split())  # noqa: SIM905
DOCKER = Filter(
    name="the default profile", profile=PROFILE, capabilities=DEFAULT, kernel=(6, 1), runtime=seccomp.Runtime()
)
OPEN = replace(DOCKER, profile=None)
PLAIN = Denied(
    call="openat", arch="x86_64", words=(0, 0, 0, 0, 0, 0), number=errno.EPERM, path=None, barrier={}, uid=1000,
    effective=0, filters=1,
)  # fmt: skip
BARRIER = {"path": "/srv/key", "mode": 0o100640, "uid": 0, "gid": 42, "want": 4}


def layer(denied: Denied, filtered: Filter = DOCKER, module: str = "") -> str:
    return denials.answer(denied, filtered, module).layer


@pytest.mark.parametrize("name", denials.rules())
def test_a_line_of_the_table_makes_sense(name: str) -> None:
    rule = dict(denials.rules()[name])
    assert name in calls.calls()
    assert rule.pop("capability", "CHOWN") in CAPABILITIES
    assert ("path" in rule) == ("want" in rule)
    assert rule.pop("want", "") in {"", "w", "x", "mode", "flags", "parent"}
    assert all(isinstance(rule.pop(key, 0), int) for key in ("path", "dir", "mode"))
    rule.pop("when", "")
    assert rule == {}


@pytest.mark.parametrize("call", ["mount", "bpf", "keyctl", "add_key", "unshare", "reboot", "perf_event_open", "iopl"])
def test_what_the_filter_blocks_is_the_filters_word(call: str) -> None:
    denied = replace(PLAIN, call=call)
    assert layer(denied) == "seccomp"
    assert layer(denied, OPEN) != "seccomp"


def test_a_filter_that_looks_at_words_is_asked_with_them() -> None:
    personality = replace(PLAIN, call="personality", words=(0x40000, 0, 0, 0, 0, 0))
    assert layer(personality) == "seccomp"
    assert layer(replace(personality, words=(8, 0, 0, 0, 0, 0))) == "kernel"


def test_the_filter_gives_another_error_than_was_seen() -> None:
    assert layer(replace(PLAIN, call="mount", number=errno.EACCES, words=(1, 2, 3, 4, 5, 6))) == "capability"


def test_the_order_of_the_layers() -> None:
    barred = replace(PLAIN, number=errno.EACCES, barrier=BARRIER)
    assert layer(barred) == layer(barred, module="docker-default (enforce)") == "file permissions"
    chown = replace(PLAIN, call="chown")
    assert layer(chown, module="docker-default (enforce)") == "capability"
    able = replace(chown, effective=1 << CAPABILITIES.index("CHOWN"))
    assert layer(able, module="docker-default (enforce)") == "security module"
    assert layer(able) == "kernel"
    assert layer(replace(able, filters=2)) == "seccomp"
    assert layer(replace(PLAIN, number=errno.ENOSYS), OPEN) == "kernel"


@pytest.mark.parametrize(
    ("mode", "want", "mend"),
    [(0o640, 4, "--group-add 42"), (0o600, 4, "--user 0"), (0o000, 4, "change the file's mode"), (0o620, 2, "--group")],
)
def test_the_narrowest_mend_of_a_mode(mode: int, want: int, mend: str) -> None:
    barred = replace(PLAIN, barrier={**BARRIER, "mode": 0o100000 | mode, "want": want})
    assert denials.answer(barred, OPEN, "").mend.startswith(mend)


def test_one_capability_for_filter_and_kernel() -> None:
    found = denials.answer(replace(PLAIN, call="mount", uid=0), DOCKER, "")
    assert found.mend == "--cap-add SYS_ADMIN, which the call takes, and which opens it in this profile"
    assert "that profile with keyctl allowed" in denials.answer(replace(PLAIN, call="keyctl"), DOCKER, "").mend


@given(st.dictionaries(st.sampled_from(["call", "arch", "words", "errno", "path", "barrier", "facts"]), st.integers()))
def test_what_makes_no_sense_is_refused(why: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no call"):
        denials.decoded(why)
