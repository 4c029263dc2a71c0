"""Reviews of grants as text, as JSON, and as SARIF 2.1.0 (OASIS). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from debugrun import __version__
from debugrun.core.know.printable import printable
from debugrun.core.manifest.judged import Judged
from debugrun.core.manifest.review import openings

SCHEMA = 1
_SARIF = {"high": "error", "medium": "warning", "low": "note"}


def text(file: Judged) -> str:
    """What a person reads: each container with its grants, what they open, and whether the tools need them."""
    lines = []
    for held, verdict in file.reviews:
        place = f"{file.where}:{held.node.line}:{held.node.column}"
        if not verdict.findings:
            lines.append(f"{place}: {printable(held.name)}: no debug grant{' that is known' if file.unread else ''}")
            continue
        lines.append(f"{place}: {printable(held.name)}")
        for each in verdict.findings:
            mark = "needed" if each.needed else "NOT NEEDED"
            lines.append(f"  line {each.part.node.line}: {_named(each.rule, each.part.value)} ({each.level}): {mark}")
            lines += [f"    opens {each.opens}", f"    {printable(each.why)}"]
    if file.wider and file.after is None:
        lines.append(f"{file.where}: change it by hand: its grants are shared, or the format has no words for less")
    return "\n".join(lines)


def _named(rule: str, value: str) -> str:
    names = {
        "seccomp": "seccomp=unconfined",
        "apparmor": "apparmor=unconfined",
        "label": "label=disable",
        "pid-host": "the host's PID namespace",
        "socket": printable(value),
        "call": printable(value),
    }
    return names.get(rule, rule)


def as_json(files: Sequence[Judged]) -> str:
    """One object for all files."""
    return json.dumps({"schema": SCHEMA, "files": [_file(each) for each in files]}, indent=2)


def _file(file: Judged) -> Mapping[str, object]:
    return {
        "file": file.where,
        "diff": file.diff,
        "profiles": [name for name, _ in file.profiles],
        "unread": [{"line": each.line, "column": each.column, "what": each.what} for each in file.unread],
        "containers": [
            {
                "name": held.name,
                "format": held.format,
                "line": held.node.line,
                "column": held.node.column,
                "findings": [
                    {
                        "grant": each.rule,
                        "value": each.part.value,
                        "line": each.part.node.line,
                        "column": each.part.node.column,
                        "level": each.level,
                        "opens": each.opens,
                        "needed": each.needed,
                        "why": each.why,
                    }
                    for each in verdict.findings
                ],
            }
            for held, verdict in file.reviews
        ],
    }


def as_sarif(results: Iterable[Mapping[str, object]]) -> str:
    """A log of one run; `results` are SARIF's own result objects."""
    rules = [
        {
            "id": name,
            "shortDescription": {"text": f"{name}: {about['opens']}"},
            "defaultConfiguration": {"level": _SARIF[about["level"]]},
        }
        for name, about in openings().items()
    ]
    driver = {"name": "debugrun", "version": __version__, "rules": rules}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": list(results)}],
    }
    return json.dumps(log, indent=2)


def results(file: Judged) -> list[Mapping[str, object]]:
    """The grants of a file that no tool needs, as SARIF results."""
    found: list[Mapping[str, object]] = []
    for held, each in file.wider:
        node = each.part.node
        region = {"startLine": node.line, "startColumn": node.column}
        place = {"artifactLocation": {"uri": file.where}, "region": region}
        message = f"{held.name}: {_named(each.rule, each.part.value)} opens {each.opens}; {each.why}"
        found.append(result(each.rule, each.level, message, {"physicalLocation": place}))
    return found


def result(rule: str, level: str, message: str, place: Mapping[str, object]) -> Mapping[str, object]:
    """One SARIF result."""
    return {"ruleId": rule, "level": _SARIF[level], "message": {"text": message}, "locations": [place]}
