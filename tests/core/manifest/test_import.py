"""Manifests: what is found in them, what is changed and what stays, and bad ones."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debugrun.core.export import FORMATS, Ask, Privileges
from debugrun.core.manifest import report
from debugrun.core.manifest.document import LARGEST, parse, without_comments
from debugrun.core.manifest.read import READERS, holdings
from debugrun.core.manifest.review import openings
from debugrun.core.manifest.unread import unread
from debugrun.errors import DebugrunError, UsageError
from tests import cases, exported, reviewed

NAMES = {
    "compose": "compose.yaml",
    "kubernetes": "patch.json",
    "kubernetes-pod": "pod.yaml",
    "kubernetes-custom": "custom.json",
    "marathon": "app.json",
    "nomad": "job.hcl",
    "ecs": "task.json",
    "devcontainer": "devcontainer.json",
    "quadlet": "web.container",
}


@pytest.mark.parametrize("path", reviewed.FILES, ids=lambda path: str(path.name))
def test_golden_review(path: Path) -> None:
    expected = path.with_name(f"{path.name}.expected").read_text()
    assert reviewed.shown(path) == expected, "python -m tests.reviewed writes it anew: read the difference"


@pytest.mark.parametrize("path", reviewed.FILES, ids=lambda path: str(path.name))
def test_what_was_changed_needs_no_change(path: Path) -> None:
    found = reviewed.reviewed(path.read_text(), path.name)
    if found.after is not None:
        again = reviewed.reviewed(found.after, path.name)
        assert again.wider == []
        assert again.after == found.after


@pytest.mark.parametrize("path", reviewed.FILES, ids=lambda path: str(path.name))
def test_comments_and_all_other_lines_stay(path: Path) -> None:
    text = path.read_text()
    found = reviewed.reviewed(text, path.name)
    touched = {line[1:] for line in found.diff.splitlines() if line.startswith("-") and not line.startswith("---")}
    words = "privileged|ptrace|sys_admin|seccomp|unconfined|docker.sock|hostPID|cap-add|security-opt|cap_add|PodmanArgs"
    granting = re.compile(words, re.IGNORECASE)
    assert [line for line in touched if not granting.search(line) and line.strip()] == []


def said_by(name: str, given: Privileges) -> Privileges:
    """What of the privileges the format has words for."""
    if name.startswith("kubernetes"):
        given = replace(given, network="", mounts=())
        return given if name == "kubernetes" else replace(given, pid="")
    return given


@pytest.mark.parametrize("case", [path.stem for path in exported.CASES])
@pytest.mark.parametrize("name", NAMES)
def test_an_export_is_read_back_as_what_it_grants(case: str, name: str) -> None:
    try:
        ask = exported.made(exported.read(exported.FOLDER / f"{case}.toml"), name)[0]
    except DebugrunError:
        return
    assert found_in(ask, name) == plain(said_by(name, ask.privileges))


def plain(given: Privileges) -> Privileges:
    """Docker's own set, spelled out or not."""
    default = given.cap_drop == ("ALL",) and set(given.cap_add) == set(cases.DOCKER_DEFAULT)
    return replace(given, cap_add=(), cap_drop=()) if default else given


def found_in(ask: Ask, name: str) -> Privileges:
    text = FORMATS[name].render(ask).text
    return plain(holdings(text, NAMES[name])[-1].privileges)


SOME = st.sampled_from(["SYS_PTRACE", "PERFMON", "BPF", "SYS_ADMIN", "NET_ADMIN"])
GIVEN = st.builds(
    Privileges,
    cap_add=st.lists(SOME, unique=True, max_size=3).map(tuple),
    seccomp=st.sampled_from(["default", "unconfined", "debugrun-perf-record.json"]),
    no_labels=st.booleans(),
    privileged=st.booleans(),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given=GIVEN, name=st.sampled_from(["compose", "marathon", "nomad", "devcontainer", "quadlet", "kubernetes-pod"]))
def test_any_grant_of_a_container_is_read_back(given: Privileges, name: str) -> None:
    if name.startswith("kubernetes") and given.privileged:
        given = Privileges(privileged=True)  # Kubernetes takes nothing beside it
    profile = "{}" if given.seccomp.endswith(".json") else None
    ask = Ask(tool="gdb", mode="attach", target="web", image="i", privileges=given, beside=False, profile=None)
    ask = replace(ask, profile=profile if not name.startswith("kubernetes") else None)
    assert found_in(ask, name) == given


def long(text: str) -> str:
    return text + "# " + "x" * LARGEST


BAD = [
    ("a.yaml", "services:\n  web:\n    image: [x\n", "a.yaml:4:1: not YAML"),
    ("a.yaml", "services:\n\tweb: {}\n", "a.yaml:2:1: not YAML"),
    ("a.yaml", "services: *nope\n", "a.yaml:1:11: not YAML: found undefined alias"),
    ("a.yaml", "services:\n  web: &a [*a]\n", "a.yaml:2:8: an anchor holds itself"),
    ("a.yaml", "kind: Pod\nspec:\n  containers: {{ .Values.x }}\n", "a.yaml:3:16: it is a template"),
    ("a.yaml", "kind: Pod\n{{- if .Values.x }}\nspec: {}\n{{- end }}\n", "it is a template"),
    ("a.yaml", "just: something\n", "a.yaml:1:1: it is none of: compose"),
    ("a.yaml", "", "a.yaml:1:1: it is none of"),
    ("a.yaml", long("services: {}\n"), "a.yaml:1:1: the file is larger than 2 MB"),
    ("a.yaml", "a: " + "[" * 20000, "a.yaml:1:1: it is nested too deep"),
    ("a.yaml", "services:\n  web:\n    cap_add: [A]\n    cap_add: [B]\n", "a.yaml:4:5: the key cap_add stands twice"),
    ("a.yaml", "kind: Pod\n---\nkind: [broken\n", "a.yaml:4:1: not YAML"),
    ("a.json", '{"privileged": false, "privileged": true}', "a.json:1:23: the key privileged stands twice"),
    ("a.json", '{"a": [1, 2}', "a.json:1:12: not YAML"),
    ("a.hcl", 'job "a" {\n', "a.hcl:2:1: not HCL2"),
    ("a.container", "Image=x\n", "a.container:1:1: not a line of a unit"),
    ("a.container", "[Container]\nImage\n", "a.container:2:1: not a line of a unit"),
]


@pytest.mark.parametrize(("name", "text", "said"), BAD)
def test_a_bad_file_is_named_with_its_line_and_column(name: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as failed:
        reviewed.reviewed(text, name)
    assert "\n" not in failed.value.message


UNREAD = [
    ("a.yaml", "services:\n  a:\n    cap_add: ['${CAP}']\n", "a.yaml:3:15", True),
    ("a.yaml", "services:\n  a:\n    privileged: '${P:-true}'\n", "a.yaml:3:17", True),
    ("a.yaml", "services:\n  a:\n    security_opt: [seccomp=$PROFILE]\n", "a.yaml:3:20", True),
    ("a.yaml", "services:\n  a:\n    extends: {file: b.yaml, service: c}\n", "a.yaml:3:14", False),
    ("a.yaml", "include: [b.yaml]\nservices: {a: {image: x}}\n", "a.yaml:1:10", False),
    ("devcontainer.json", '{"capAdd": ["${localEnv:CAP}"]}', "devcontainer.json:1:13", True),
    ("devcontainer.json", '{"dockerComposeFile": "c.yaml"}', "devcontainer.json:1:23", False),
    ("a.yaml", "apiVersion: apps/v9\nkind: Deployment\nspec: {}\n", "a.yaml:1:13", False),
]


@pytest.mark.parametrize(("name", "text", "place", "grant"), UNREAD)
def test_what_is_filled_in_or_stands_elsewhere_is_no_clean_bill(
    name: str, text: str, place: str, *, grant: bool
) -> None:
    found = unread(text, name)
    assert [(f"{name}:{each.line}:{each.column}", each.grant) for each in found] == [(place, grant)]


@pytest.mark.parametrize(
    "text", ["services:\n  a:\n    security_opt: ['label=$$x']\n", "services:\n  a:\n    image: ${IMAGE}\n"]
)
def test_a_dollar_that_is_no_grant_is_left_alone(text: str) -> None:
    assert unread(text, "a.yaml") == []


def test_a_bomb_of_aliases_is_read_without_being_unfolded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    bomb = "\n".join([*lines, "services: {web: {image: x, cap_add: *a19}}"])
    (held,) = holdings(bomb, "a.yaml")
    assert len(held.parts) == 10  # the outermost list only


def test_nothing_in_a_file_is_carried_out(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    tag = f"!!python/object/apply:os.system ['touch {mark}']"
    text = f"services:\n  web: {tag}\n  db: {{image: '$(touch {mark})', privileged: true}}\n"
    found = reviewed.reviewed(text, "a.yaml")
    assert [each.rule for _, each in found.wider] == ["privileged"]
    assert not mark.exists()


def test_names_cannot_steer_a_terminal() -> None:
    found = reviewed.reviewed('services: {"we\\u001b[31mb": {privileged: true, cap_add: ["\\u001b]0;x"]}}\n', "a.yaml")
    assert found.wider
    assert "\x1b" not in report.text(found)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    for name in ("a.yaml", "a.json", "a.container", "a.hcl"):
        try:
            reviewed.reviewed(text, name)
        except UsageError as refused:
            place = refused.message.split(":")[:3]
            assert [each.isdigit() for each in place] == [False, True, True]


@given(st.text(alphabet='"\\/* \n{}a', max_size=40))
def test_comments_are_blanked_and_every_place_stays(text: str) -> None:
    blanked = without_comments(text)
    assert len(blanked) == len(text)
    assert re.sub(r"[^\n]", " ", blanked) == re.sub(r"[^\n]", " ", text)


def test_comments_in_strings_are_none() -> None:
    assert json.loads(without_comments('{"a": "http://x", // y\n "b": "/*" /* z */}')) == {"a": "http://x", "b": "/*"}


def test_templates_in_strings_are_none() -> None:
    text = 'services: {web: {image: "{{.Image}}", privileged: true}}\n'
    assert reviewed.reviewed(text, "a.yaml").wider


def test_a_service_by_an_anchor_is_left_to_a_person_where_another_needs_it() -> None:
    assert parse("a: &x {b: c}\nd: *x\n", "a.yaml")[0].get("d", "b") is not None


def test_sarif_points_at_the_line() -> None:
    path = reviewed.FOLDER / "compose.yaml"
    log = json.loads(report.as_sarif(report.results(reviewed.reviewed(path.read_text(), "compose.yaml"))))
    (run,) = log["runs"]
    lines = path.read_text().splitlines()
    for result in run["results"]:
        region = result["locations"][0]["physicalLocation"]["region"]
        assert re.search("privileged|unconfined|docker.sock", lines[region["startLine"] - 1])
        assert result["ruleId"] in {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert log["version"] == "2.1.0"


def test_every_opening_has_a_level_and_words() -> None:
    assert {table["level"] for table in openings().values()} <= {"low", "medium", "high"}
    assert all(table["opens"] and not table["opens"].endswith(".") for table in openings().values())


def test_every_reader_reads_what_its_export_writes() -> None:
    assert set(READERS) <= {name.removesuffix("-pod") for name in FORMATS}


def test_a_large_manifest_is_reviewed_within_seconds() -> None:
    services = "".join(f"  s{at}:\n    image: x\n    privileged: true\n" for at in range(50))
    began = time.process_time()
    found = reviewed.reviewed(f"services:\n{services}", "a.yaml")
    assert found.after is not None
    assert "privileged" not in found.after
    assert time.process_time() - began < 60
