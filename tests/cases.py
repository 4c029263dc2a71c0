"""Facts for decisions: a plain Docker host and a plain container, and golden cases that say what differs."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from debugrun.core.ask.request import ceiling
from debugrun.core.decide.plan import Plan, plan
from debugrun.core.know import facts as f
from debugrun.core.say import report
from debugrun.core.say.command import with_lines
from debugrun.toolbox import catalog

DOCKER_DEFAULT = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
NOBODYS_FOLDER = Path("/nonexistent")

PLAIN = f.Facts(
    engine=f.EngineFacts(
        name="docker", version="28.5.2", api_version="1.51", architecture="x86_64", kernel="6.12.1", seccomp="default"
    ),
    host=f.HostFacts(
        yama_ptrace_scope=0,
        perf_event_paranoid=2,
        lockdown="none",
        proc_mem_override="always",
        cross_memory_attach=True,
    ),
    container=f.ContainerFacts(
        id="c" * 64,
        name="web",
        image="web:1",
        image_id="sha256:" + "d" * 64,
        state="running",
        capabilities=DOCKER_DEFAULT,
    ),
    process=f.ProcessFacts(
        pid=1, comm="worker", permitted=DOCKER_DEFAULT, effective=DOCKER_DEFAULT, bounding=DOCKER_DEFAULT, dumpable=True
    ),
    images=f.ImageFacts(toolbox="debugrun-toolbox:latest"),
)


def vary(base: f.Facts, changes: Mapping[str, Mapping[str, object]]) -> f.Facts:
    """`base` with fields of its parts replaced: {"process": {"dumpable": False}}. Checked as a facts file is.

    TOML has no null: "null" stands for it.
    """
    data = json.loads(f.dump(base))
    for part, fields in changes.items():
        data[part].update({key: None if value == "null" else value for key, value in fields.items()})
    return f.load(json.dumps(data))


def decide(case: Mapping[str, object]) -> Plan:
    """The plan of a golden case."""
    tool = catalog.load(str(case["tool"]), NOBODYS_FOLDER)
    changes = case.get("facts", {})
    assert isinstance(changes, dict)
    via = case.get("via")
    limit = ceiling(str(case.get("max_grant", "seccomp")), str(via) if via else None)
    mode = tool.mode(str(case["mode"]) if "mode" in case else None)
    return with_lines(plan(tool, mode, vary(PLAIN, changes), limit))


def outcome(decision: Plan) -> dict[str, object]:
    """What a golden case expects: the choice in words, and each rejected option with the facts that close it."""
    own = decision.facts.process.permitted
    chosen = decision.option
    return {
        "chosen": report.what(chosen, own) if chosen else "nothing",
        "why": report.why(decision),
        "lost": list(chosen.lost) if chosen else [],
        "rejected": [
            f"{report.what(option, own)}: " + "; ".join(dict.fromkeys(gate.fact for gate in option.closed_gates))
            for option in decision.narrower()
        ],
    }


def as_toml(expected: Mapping[str, object]) -> str:
    """`[expect]` ready to paste into a golden file."""
    lines = ["[expect]"]
    for key, value in expected.items():
        if isinstance(value, list):
            lines.append(
                f"{key} = [" + "".join(f"\n    {json.dumps(item)}," for item in value) + ("\n]" if value else "]")
            )
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def read(path: Path) -> dict[str, object]:
    """A golden case."""
    return tomllib.loads(path.read_text())


def replace_process(base: f.Facts, process: f.ProcessFacts) -> f.Facts:
    """`base` about another process."""
    return dataclasses.replace(base, process=process)
