"""Exports: golden texts, and what the consumers' own parsers and schemas make of them."""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import hcl2
import jsonschema
import kubernetes.client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from debugrun.core.ask import dockerline
from debugrun.core.ask.attempt import Attempt
from debugrun.core.export import FORMATS, Ask, Privileges
from debugrun.core.export.cluster import parameters
from debugrun.core.export.host import unit_word
from debugrun.core.export.merge import into_marathon
from debugrun.core.export.words import as_yaml
from debugrun.core.rules.seccomp import parse_profile
from debugrun.errors import DebugrunError, UsageError
from tests import exported
from tests.host import engines
from tests.host.state import HostError

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


@pytest.mark.parametrize(("path", "case", "name"), exported.goldens(), ids=lambda each: getattr(each, "stem", ""))
def test_golden_export(path: Path, case: Mapping[str, object], name: str) -> None:
    assert exported.shown(case, name) == path.read_text(), (
        "python -m tests.exported writes it anew: read the difference"
    )


def made(case: str, name: str) -> Ask | None:
    """The ask of a golden case; None where the format refuses it."""
    try:
        return exported.made(exported.read(exported.FOLDER / f"{case}.toml"), name)[0]
    except DebugrunError:
        return None


ASKS = [(case.stem, name) for case in exported.CASES for name in FORMATS if made(case.stem, name) is not None]


def asks_for(*names: str) -> list[tuple[str, str]]:
    return [each for each in ASKS if each[1] in names]


def rendered(case: str, name: str) -> str:
    ask = made(case, name)
    assert ask is not None
    return FORMATS[name].render(ask).text


def yaml(text: str, version: str = "1.2") -> object:
    parser = YAML(typ="safe", pure=True)
    parser.version = version
    return parser.load(io.StringIO(text))


@pytest.mark.parametrize(("case", "name"), ASKS)
def test_a_profile_that_is_named_comes_with_it_and_is_one(case: str, name: str) -> None:
    ask = made(case, name)
    assert ask is not None
    found = FORMATS[name].render(ask)
    own = {each: text for each, text in found.files.items() if each.endswith(".json")}
    for text in own.values():
        assert parse_profile(text).rules
    if name not in {"swarm", "beats", "systemd"}:
        assert bool(own) == (ask.privileges.seccomp not in {"default", "unconfined"})


@pytest.mark.parametrize(("case", "name"), asks_for("compose"))
def test_compose_as_its_json_schema_has_it(case: str, name: str) -> None:
    vendored = files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
    jsonschema.validate(yaml(rendered(case, name)), json.loads(vendored.read_text()))


def fields(data: object) -> object:
    """Without what is null: the client gives every field of its models."""
    if isinstance(data, dict):
        return {key: fields(each) for key, each in data.items() if each is not None}
    return [fields(each) for each in data] if isinstance(data, list) else data


@pytest.mark.parametrize(("case", "name"), asks_for("kubernetes", "kubernetes-pod", "kubernetes-custom"))
def test_kubernetes_models_know_every_field(case: str, name: str) -> None:
    data = yaml(rendered(case, name))
    assert isinstance(data, dict)
    kind, part = {
        "kubernetes": ("V1EphemeralContainer", lambda: data["spec"]["ephemeralContainers"][0]),
        "kubernetes-pod": ("V1Pod", lambda: data),
        "kubernetes-custom": ("V1SecurityContext", lambda: data["securityContext"]),
    }[name]
    client = kubernetes.client.ApiClient()
    model = client.deserialize(json.dumps(part()), kind, "application/json")  # type: ignore[no-untyped-call]
    assert fields(client.sanitize_for_serialization(model)) == part()  # type: ignore[no-untyped-call]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here: install it to decode pods as it does")
@pytest.mark.parametrize(("case", "name"), asks_for("kubernetes-pod"))
def test_kubectl_decodes_the_pod_strictly(case: str, name: str, tmp_path: Path) -> None:
    text = rendered(case, name)
    done = subprocess.run(
        ["kubectl", "label", "--local", "--dry-run=client", "-o", "json", "-f", "-", "a=b"],
        input=text, capture_output=True, text=True, check=False,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["spec"]["containers"] == yaml(text)["spec"]["containers"]  # type: ignore[index]


@pytest.mark.parametrize(("case", "name"), asks_for("nomad"))
def test_nomad_as_an_hcl_parser_reads_it(case: str, name: str) -> None:
    ask = made(case, name)
    assert ask is not None
    found = FORMATS[name].render(ask)
    text = json.dumps(hcl2.loads(found.text))
    for capability in ask.privileges.cap_add:
        assert capability.lower() in text
    for file in found.files.values():
        if not file.startswith("{"):
            assert "allow_caps" in json.dumps(hcl2.loads(file))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here: install systemd")
@pytest.mark.parametrize(("case", "name"), asks_for("systemd"))
def test_systemd_verifies_the_unit(case: str, name: str, tmp_path: Path) -> None:
    unit = tmp_path / "debugrun-test.service"
    tool = made(case, name)
    assert tool is not None
    unit.write_text(rendered(case, name).replace("ExecStart=" + tool.tool, "ExecStart=/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "debugrun-test" in line]
    said = [line for line in said if "Failed to parse system call" not in line]  # newer than this systemd: left out
    assert said == []


@pytest.mark.parametrize(("case", "name"), asks_for("docker-run", "podman", "docker-exec"))
def test_a_line_reads_back_as_what_it_grants(case: str, name: str) -> None:
    ask = made(case, name)
    assert ask is not None
    words = shlex.split(rendered(case, name))
    line: Attempt = dockerline.parse(words).attempt
    privileges = ask.privileges
    assert line.privileged == privileges.privileged
    assert line.argv[-len(ask.argv) :] == ask.argv or not ask.argv
    if name == "podman":
        assert set(line.cap_add) == set(privileges.cap_add)
        assert line.no_new_privileges == privileges.no_new_privileges


@pytest.mark.parametrize(("case", "name"), asks_for("swarm"))
def test_swarm_sends_the_profile_whole(case: str, name: str) -> None:
    ask, text = made(case, name), rendered(case, name)
    assert ask is not None
    if not text.startswith("{"):
        assert text.startswith(("docker service update --cap-add CAP_", "# nothing to change"))
        return
    privileges = json.loads(text)["TaskTemplate"]["ContainerSpec"]["Privileges"]
    if ask.profile is not None:
        assert base64.b64decode(privileges["Seccomp"]["Profile"]).decode() == ask.profile


@given(st.dictionaries(WORDS, st.lists(WORDS | st.booleans() | st.integers(), max_size=3), max_size=3))
def test_yaml_says_the_same_to_parsers_of_both_versions(data: dict[str, list[object]]) -> None:
    strings = {f"k{at}": value for at, value in enumerate(data.values())}
    assert yaml(as_yaml(strings)) == strings
    assert yaml(as_yaml(strings), version="1.1") == strings


@given(WORDS)
def test_a_word_of_a_unit_is_one_word(word: str) -> None:
    text = unit_word(word)
    plain = text[1:-1].replace('\\"', '"').replace("\\\\", "\\") if text.startswith('"') else text.replace("\\\\", "\\")
    assert plain.replace("%%", "%").replace("$$", "$") == word
    assert text.startswith('"') or (text and not set(text) & set(" \t;'"))


def test_marathon_is_merged_into_an_app_and_everything_else_stays() -> None:
    ask = made("gdb-yama-1", "marathon")
    assert ask is not None
    app = {
        "id": "/a",
        "cpus": 1,
        "container": {"docker": {"image": "x", "parameters": [{"key": "init", "value": "true"}]}},
    }
    merged = json.loads(into_marathon(json.dumps(app), "app.json", ask))
    assert merged["container"]["docker"].pop("parameters") == [
        {"key": "init", "value": "true"},
        {"key": "cap-add", "value": "SYS_PTRACE"},
    ]
    app["container"]["docker"].pop("parameters")  # type: ignore[index]
    assert merged == app
    again = into_marathon(into_marathon(json.dumps(app), "app.json", ask), "app.json", ask)
    assert json.loads(again)["container"]["docker"]["parameters"] == parameters(ask.privileges)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "app.json:1:2"),
        ("[]", "container.type is not DOCKER"),
        ('{"container": {"type": "MESOS", "docker": {}}}', "container.type is not DOCKER"),
        ('{"container": {"docker": {"parameters": {}}}}', "not a list"),
        ("[" * 100000, "not JSON"),
    ],
)
def test_what_is_no_marathon_app_is_refused(text: str, said: str) -> None:
    ask = made("gdb-yama-1", "marathon")
    assert ask is not None
    with pytest.raises(UsageError, match=said):
        into_marathon(text, "app.json", ask)


def test_nothing_that_a_format_cannot_say_is_widened() -> None:
    profile = Privileges(seccomp="debugrun-perf-record.json")
    assert FORMATS["ecs"].missing(profile)
    assert FORMATS["swarm"].missing(Privileges(privileged=True))
    assert made("perf-uid-1000", "ecs") is None


@pytest.mark.slow
@pytest.mark.parametrize(("case", "name"), asks_for("quadlet"))
def test_podmans_own_generator_makes_what_was_planned(case: str, name: str) -> None:
    try:
        root = engines.unpacked("podman-5.8")
    except HostError as error:
        pytest.skip(str(error))
    if os.geteuid() != 0:
        pytest.skip("Podman's generator is run from its unpacked package, by chroot(2): run it as root")
    ask = made(case, name)
    assert ask is not None
    with tempfile.TemporaryDirectory(dir=root / "tmp") as folder:
        (Path(folder) / "x.container").write_text(rendered(case, name))
        inside = "/" + str(Path(folder).relative_to(root))
        words = [
            "chroot",
            str(root),
            "/usr/bin/env",
            f"QUADLET_UNIT_DIRS={inside}",
            "/usr/libexec/podman/quadlet",
            "-dryrun",
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    start = next(line for line in done.stdout.splitlines() if line.startswith("ExecStart="))
    line = dockerline.parse(["podman", *shlex.split(start)[1:]]).attempt
    given = ask.privileges
    assert set(line.cap_add) == set(given.cap_add)
    assert line.cap_drop == given.cap_drop
    assert line.privileged == given.privileged
    assert line.no_new_privileges == given.no_new_privileges
    assert line.pid_mode == (f"container:{given.pid}" if given.pid else "")
    assert (line.apparmor or "") == given.apparmor
    assert line.seccomp == ("custom" if given.seccomp.endswith(".json") else given.seccomp)
    assert (line.user or "") == given.user
