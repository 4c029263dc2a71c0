"""What `judge` and `why` are asked: about the target in reach or saved facts, in words or as a pasted line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from debugrun import backends
from debugrun.cli.saved_facts import read_facts
from debugrun.core.ask import dockerline, kubectl_line
from debugrun.core.ask.attempt import Attempt
from debugrun.core.ask.pod_reference import is_pod_reference
from debugrun.core.ask.request import Request
from debugrun.core.decide import admitted
from debugrun.core.decide.plan import Plan
from debugrun.core.grants import Ceiling, Option
from debugrun.core.know.facts import Facts
from debugrun.core.know.json_access import Json, mapping
from debugrun.core.know.tool_file import Mode, Tool
from debugrun.engine import engine
from debugrun.errors import UsageError
from debugrun.launch import typed
from debugrun.toolbox import catalog
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What was asked: a request, and the docker line pasted after `--`. Without one `attempt` is as typed, if at all.

    Empty `tool` and `container` in the request are taken from the line.
    """

    request: Request
    folder: Path
    facts_file: Path | None = None
    pasted: tuple[str, ...] = ()
    attempt: Attempt | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What an answer is made of; `decide` lets who has to be asked answer to the option that a plan takes."""

    tool: Tool
    mode: Mode
    facts: Facts
    attempt: Attempt | None
    decide: Callable[[Plan], Plan]
    answers: Callable[[Plan], Plan]  # the same, to all of its options

    def asked(self, option: Option, ceiling: Ceiling) -> Option:
        """One option, with the answers of all who have to be asked."""
        alone = Plan(tool=self.tool, mode=self.mode, facts=self.facts, ceiling=ceiling, options=(option,), chosen=None)
        return self.answers(alone).options[0]


@contextlib.contextmanager
def look(question: Question) -> Iterator[Looked]:
    """What was asked, with the facts. The pasted line fills in what was not said; both must agree."""
    line = _parsed(question.pasted) if question.pasted else None
    with contextlib.ExitStack() as stack:
        backend: backends.Backend | None = None
        if question.facts_file is None and line is not None and line.attempt.context is None and not _in_pod(line):
            connection = stack.enter_context(engine.connect())
            backend, line = backends.Containers(connection), typed.filled(connection, line)
        yield _looked(question, line, lambda wanted: backend or stack.enter_context(backends.reach(wanted)))


def _in_pod(line: dockerline.Line) -> bool:
    return line.container is not None and is_pod_reference(line.container)


def _looked(question: Question, line: dockerline.Line | None, reach: Callable[[Request], backends.Backend]) -> Looked:
    request, attempt = question.request, question.attempt
    if line is not None:
        attempt = line.attempt
        request = _filled(request, line, question)
    if not request.tool:
        raise UsageError("no-tool", "which tool?", "debugrun judge TOOL CONTAINER ..., or a docker line after --")
    tool, mode = catalog.find_tool(request, question.folder)
    if line is not None and request.mode is None:
        mode = tool.mode(dockerline.mode_of(line.argv, tool.modes, tool.default_mode))
    if line is not None and request.pid is None and request.host_pid is None:
        pid = dockerline.pid_of(line.argv, mode)
        on_host = line.attempt.pid_mode == "host"
        request = dataclasses.replace(request, pid=None if on_host else pid, host_pid=pid if on_host else None)
    attempt = _read(attempt)
    if question.facts_file is not None:
        facts, rules = read_facts(question.facts_file), admitted.with_admission
        return Looked(tool=tool, mode=mode, facts=facts, attempt=attempt, decide=rules, answers=rules)
    if not request.container:
        raise UsageError("no-target", "name a container, or give --facts FILE", f"debugrun judge {tool.name} CONTAINER")
    backend = reach(request)
    facts = backend.look(request, tool)
    answers = functools.partial(backend.decide, everything=True)
    return Looked(tool=tool, mode=mode, facts=facts, attempt=attempt, decide=backend.decide, answers=answers)


def _parsed(words: tuple[str, ...]) -> dockerline.Line:
    return kubectl_line.parse(words) if kubectl_line.is_kubectl(words) else dockerline.parse(words)


def _filled(request: Request, line: dockerline.Line, question: Question) -> Request:
    """The request with the tool and the container of the line. Raises UsageError where they contradict."""
    tool = request.tool or _tool_of(line.programs, question.folder)
    container = request.container or line.container or ""
    if not container and question.facts_file is None:
        message = "the line joins no container: it has a PID namespace of its own"
        if line.attempt.pid_mode == "host":
            message = "a line with --pid host does not tell which container is meant"
        raise UsageError("no-target", message, "add --pid container:NAME to the line, or name the container before --")
    if is_pod_reference(container) and line.container is not None and "/" not in line.container:
        raise UsageError(
            "not-a-pod", f"{container} is a pod, and the line is about a container", "paste kubectl's line"
        )
    return dataclasses.replace(
        request,
        tool=tool,
        container=container,
        namespace=request.namespace or line.namespace,
        kubernetes_context=request.kubernetes_context or line.kubernetes_context,
    )


def _tool_of(programs: tuple[str, ...], folder: Path) -> str:
    """The tool whose binary the line runs."""
    for binary in programs:
        for name in sorted(catalog.names(folder), key=lambda name: name != binary):
            if catalog.load(name, folder).binary == binary:
                return name
    message = f"the line runs {(*programs, 'no command')[0]!r}, which is not a tool that debugrun knows"
    raise UsageError("no-such-tool", message, "debugrun tools")


def _read(attempt: Attempt | None) -> Attempt | None:
    """The attempt with the text of the files that it names. Raises UsageError."""
    if attempt is not None and attempt.custom_file is not None:
        attempt = kubectl_line.customized(attempt, read_partial(Path(attempt.custom_file)))
    if attempt is None or attempt.profile_file is None:
        return attempt
    try:
        return dataclasses.replace(attempt, profile=Path(attempt.profile_file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"seccomp={attempt.profile_file}: {error}"
        raise UsageError("bad-profile", message, "name a readable profile") from error


def read_partial(path: Path) -> Json:
    """A partial container specification, JSON or YAML, as kubectl debug --custom takes it. Raises UsageError."""
    try:
        found = _decoded(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("bad-context", f"{path}: {error}", "name a readable file of JSON or YAML") from error
    if not isinstance(found, dict):
        raise UsageError("bad-context", f"{path} holds no object", "kubectl explain pod.spec.ephemeralContainers")
    return found


def read_context(path: Path) -> Json:
    """A securityContext, or a partial container specification that holds one. Raises UsageError."""
    found = read_partial(path)
    return mapping(found, "securityContext") if "securityContext" in found else found


def _decoded(text: str) -> object:
    """JSON, else YAML. Raises ValueError; UsageError: what reads YAML is not installed."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        from ruamel.yaml import YAML  # noqa: PLC0415 - of the extra `export`
        from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - the same
    except ImportError as error:
        raise UsageError("no-yaml", "only JSON can be read here", "pip install 'debugrun[export]'") from error
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
