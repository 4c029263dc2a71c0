"""What people and programs read: the contract of `plan --json`, the one line, the refusal."""

from __future__ import annotations

import json

import pytest

from debugrun.core.grants import Layer
from debugrun.core.say import report
from tests import cases

UID_1000 = {"uids": [1000] * 4, "gids": [1000] * 4, "permitted": []}


def test_plan_json_is_the_documented_contract() -> None:
    decision = cases.decide({"tool": "gdb", "facts": {"process": UID_1000}})
    envelope = json.loads(report.plan_json(decision))
    assert set(envelope) == {"schema", "tool", "mode", "target", "harm", "chosen", "options"}
    assert envelope["schema"] == 1
    assert set(envelope["target"]) == {"container", "name", "pid", "uid", "gid", "comm", "exe"}
    for option in envelope["options"]:
        assert set(option) == {
            "placement", "grant", "user", "cap_add", "cap_drop", "security_opt", "image", "verdict", "gates", "lost",
            "mounts", "command", "pid_namespace", "by_name",
        }  # fmt: skip
        assert option["placement"] in {"here", "sidecar", "run", "recreate"}
        assert option["grant"] in {"none", "caps", "seccomp", "broad", "unconfined", "privileged"}
        assert option["verdict"] in {"open", "closed", "unknown"}
        for gate in option["gates"]:
            assert set(gate) == {"need", "layer", "verdict", "fact", "source"}
            assert gate["layer"] in {"seccomp", "ptrace", "dac", "yama", "perf", "lsm", "engine"}
    chosen = envelope["options"][envelope["chosen"]]
    assert (chosen["placement"], chosen["grant"], chosen["user"], chosen["cap_add"], chosen["cap_drop"]) == (
        "sidecar", "none", "1000:1000", [], ["ALL"],
    )  # fmt: skip
    assert chosen["security_opt"] == ["no-new-privileges"]


def test_the_one_line() -> None:
    decision = cases.decide({"tool": "gdb", "facts": {"process": UID_1000}})
    assert report.announce(decision) == (
        "debugrun: sidecar as 1000:1000, no capabilities, default seccomp - same uid as PID 1, dumpable, Yama off"
    )


def test_a_refusal_names_the_layer_and_the_flag_that_would_allow_it() -> None:
    decision = cases.decide({"tool": "gdb", "max_grant": "none", "facts": {"process": {"dumpable": False}}})
    message, hint = report.refusal(decision)
    assert "PID 1 is not dumpable" in message
    assert hint.startswith("debugrun gdb web 1 --max-grant caps")
    assert "SYS_PTRACE" in hint


def test_a_refusal_that_no_grant_opens_says_so() -> None:
    message, hint = report.refusal(cases.decide({"tool": "gdb", "facts": {"host": {"yama_ptrace_scope": 3}}}))
    assert "nothing" in message
    assert "until the host reboots" in hint


@pytest.mark.parametrize("tool", ["gdb", "strace", "perf", "tcpdump"])
def test_the_plan_as_text_ends_with_a_line_to_paste(tool: str) -> None:
    text = report.plan_text(cases.decide({"tool": tool}))
    assert text.splitlines()[-2] == "the same by hand:"
    assert text.splitlines()[-1].strip().startswith(("docker run --rm", "debugrun profile"))


def test_a_refuted_option_is_recorded_and_the_next_one_taken() -> None:
    first = cases.decide({"tool": "gdb", "facts": {"process": {"dumpable": "null"}}})
    assert first.option is not None
    second = first.refute(Layer.PTRACE, "ptrace: Operation not permitted.")
    assert second.option is not None
    assert second.option.cap_add == ("SYS_PTRACE",)
    assert "tried: ptrace: Operation not permitted." in [g.fact for g in second.options[first.chosen or 0].gates]


def test_a_tool_that_may_kill_says_why_and_what_tells_as_much_without() -> None:
    harmful = cases.decide({"tool": "ltrace", "facts": {"process": {"threads": 3}}})
    message, hint = report.danger(harmful)
    assert "3 threads" in message
    assert "debugrun strace web 1," in hint
    assert "debugrun gdb web 1 " in hint
    assert hint.endswith("--may-kill, where the process may die")
    assert message in report.plan_text(harmful)
    assert json.loads(report.plan_json(harmful))["harm"] == harmful.harm != ""
    alone = cases.decide({"tool": "ltrace", "facts": {"process": {"threads": 1}}})
    assert alone.harm
    assert alone.harm != harmful.harm
    assert "threads" not in report.danger(alone)[0]
    assert not cases.decide({"tool": "strace", "facts": {"process": {"threads": 3}}}).harm


def test_a_tool_that_is_nowhere_at_hand_says_how_to_get_it() -> None:
    none = {"tool": "gdb", "facts": {"images": {"toolbox": "null"}}}
    message, hint = report.refusal(cases.decide(none))
    assert "no image at hand holds the tool" in message
    assert hint == "debugrun toolbox build; or name an image that holds it: --image IMAGE"
    lacking = {"tool": "gdb", "facts": {"images": {"toolbox_binaries": ["strace"]}}}
    assert report.refusal(cases.decide(lacking))[1] == "name an image that holds it: --image IMAGE"


def test_here_needs_the_tool_in_the_container() -> None:
    message, hint = report.refusal(cases.decide({"tool": "gdb", "via": "here", "facts": {"process": UID_1000}}))
    assert message == "web holds no gdb: there is nothing to run in it"
    assert hint == "debugrun gdb web 1  (sidecar as 1000:1000, no capabilities, default seccomp)"


@pytest.mark.parametrize("uid", [0, 1000])
def test_what_closes_everything_is_the_only_reason_given(uid: int) -> None:
    changes = {"uids": [uid] * 4, "gids": [uid] * 4, **({} if uid == 0 else {"permitted": []})}
    case = {"tool": "gdb", "facts": {"host": {"yama_ptrace_scope": 3}, "process": changes}}
    message, hint = report.refusal(cases.decide(case))
    assert message.endswith("lets gdb attach: yama: ptrace_scope is 3: no process may attach, until the host reboots")
    assert hint == "no grant opens it: ptrace_scope is 3: no process may attach, until the host reboots"
