"""Why an engine cannot be reached or refuses a request, in one line each, with the next command. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from debugrun.errors import DebugrunError, EngineError, TargetError
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refusal:
    """What the engine's text `pattern` means; its groups are open to `message` and `hint` beside {ref}, {text}."""

    pattern: str
    code: str
    message: str
    hint: str
    kind: type[DebugrunError] = EngineError


# The texts of moby 18.09 to 29 and of Podman's Docker API, which do not come with codes of their own.
REFUSALS = (
    _Refusal(
        pattern=r"Multiple IDs found|more than one result|matches? multiple",
        code="ambiguous-container",
        message="{ref} is an ambiguous id prefix: more than one container has it",
        hint="give more of the id, or the name; `docker ps` lists both",
        kind=TargetError,
    ),
    _Refusal(
        pattern=r"removal of container .* is already in progress",
        code="being-removed",
        message="{ref} is being removed",
        hint="wait for it: `docker ps -a`",
        kind=TargetError,
    ),
    _Refusal(
        pattern=r"joining PID namespace of a non running container|cannot join PID namespace",
        code="container-not-running",
        message="the container does not run: {text}",
        hint="docker start it, or wait for its restart",
        kind=TargetError,
    ),
    _Refusal(
        pattern=r"no such container(?:: (?P<name>\S+))?|no container with (?:name|id)",
        code="no-such-container",
        message="no container {ref}",
        hint="`docker ps` lists those that run; is this the right engine? `docker context show`",
        kind=TargetError,
    ),
    _Refusal(
        pattern=r"no such image|image not known|unable to find .* locally",
        code="no-such-image",
        message="no image {ref} on this engine",
        hint="pull or load it there, or name another with --image",
    ),
    _Refusal(
        pattern=r"unknown capability: \"?(?:CAP_)?(?P<name>\w+)|\"(?:CAP_)?(?P<podman>\w+)\": unknown capability",
        code="unknown-capability",
        message="this engine does not know the capability: {text}",
        hint="`debugrun plan` shows what else would work; PERFMON and BPF need Docker 23 or later",
    ),
    _Refusal(
        pattern=r"cannot be dropped and added|adding all caps and removing all caps",
        code="caps-contradicted",
        message="Podman gives no capability that is dropped as well: {text}",
        hint="leave out the --cap-drop; Docker would take the --cap-add for what is meant",
    ),
    _Refusal(
        pattern=r"unable to apply caps|can't apply capabilities|operation not permitted.*capabilit",
        code="caps-refused",
        message="the engine lacks a capability that it was asked to give: {text}",
        hint="it can only give what its own bounding set holds: `debugrun plan` shows what else would work",
    ),
    _Refusal(
        pattern=r"HTTP request to an HTTPS server",
        code="engine-tls",
        message="the engine speaks TLS and was asked without: {text}",
        hint="set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH",
    ),
    _Refusal(
        pattern=r"port is already allocated|(?:bind|listen).*address already in use|failed to bind (?:host )?port",
        code="port-taken",
        message="a port of {ref} is taken on the engine's host: {text}",
        hint="`docker ps` shows who publishes it, `ss -ltnp` on the engine's host who listens",
    ),
    _Refusal(
        pattern=r"seccomp profile",
        code="seccomp-refused",
        message="the engine does not take the seccomp profile: {text}",
        hint="`debugrun profile` prints it; Podman takes a file on the engine's machine only",
    ),
    _Refusal(
        pattern=r"no space left on device|disk quota exceeded",
        code="disk-full",
        message="the engine's disk is full: {text}",
        hint="`docker system df` shows what takes the room",
    ),
    _Refusal(
        pattern=r"is paused|container is in a paused state",
        code="container-paused",
        message="{ref} is paused: {text}",
        hint="docker unpause it first",
        kind=TargetError,
    ),
    _Refusal(
        pattern=r"is restarting",
        code="container-restarting",
        message="{ref} is restarting: {text}",
        hint="`docker logs` shows why it ends; try again when it runs",
        kind=TargetError,
    ),
    _Refusal(
        pattern=r"is not running|not running container|container state improper",
        code="container-not-running",
        message="{ref} does not run: {text}",
        hint="docker start it first",
        kind=TargetError,
    ),
    _Refusal(
        pattern=r"executable file not found|no such file or directory: OCI|exec: \".*\": stat",
        code="no-such-program",
        message="there is no such program there: {text}",
        hint="name an image that holds it with --image",
    ),
)


def refused(status: int, text: str, where: str, what: str, ref: str) -> DebugrunError:
    """The answer of HTTP `status` with `text` by the engine `where`, to a request to do `what` with `ref`."""
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", " ".join(text.split()))
    for each in REFUSALS:
        if re.search(each.pattern, text, re.IGNORECASE):
            return each.kind(each.code, each.message.format(ref=ref, text=text), each.hint)
    message = f"{where} could not {what} {ref}".rstrip() + f": {text} (HTTP {status})"
    if status == 409:  # noqa: PLR2004 - Conflict
        return EngineError("engine-conflict", message, "the same command again; `docker ps -a` shows its state")
    return EngineError("engine-error", message, "the engine's own log says more: `journalctl -u docker`")


def unreachable(error: Exception, where: str) -> EngineError:
    """A request to the engine `where` that got no answer: the first known cause of all that the exception wraps."""
    causes = list(_causes(error))
    for cause in causes:
        kinds = {kind.__name__ for kind in type(cause).__mro__}
        if "NewConnectionError" in kinds:  # urllib3 counts it as a timeout; why there is none lies below
            continue
        for each in UNREACHABLE:
            if each.kind in kinds:
                return EngineError(each.code, f"{where}: {each.why.format(cause=cause)}", each.hint)
    return EngineError("engine-unreachable", f"{where}: {causes[-1]}", "docker version, which asks the engine alone")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cause:
    """An exception class by name, since half of them belong to libraries, and what it means for the user."""

    kind: str
    code: str
    why: str
    hint: str


UNREACHABLE = (
    _Cause(
        kind="PermissionError",
        code="engine-permission",
        why="permission denied on its socket",
        hint="sudo debugrun ...; the group docker would open it too, and makes whoever is in it root of that machine",
    ),
    _Cause(
        kind="FileNotFoundError",
        code="no-engine-socket",
        why="there is no such socket",
        hint="start it (`systemctl start docker`), or name another in DOCKER_HOST or by `docker context use`",
    ),
    _Cause(
        kind="ConnectionRefusedError",
        code="engine-refused",
        why="connection refused",
        hint="is it running there? `systemctl status docker`",
    ),
    _Cause(
        kind="gaierror",
        code="engine-unknown-host",
        why="its host has no address",
        hint="correct the host's name in DOCKER_HOST or in the context",
    ),
    _Cause(
        kind="SSLError",
        code="engine-tls",
        why="TLS: {cause}",
        hint="DOCKER_CERT_PATH holds ca.pem, cert.pem and key.pem; unset REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE",
    ),
    _Cause(
        kind="TLSParameterError",
        code="engine-tls",
        why="{cause}",
        hint="DOCKER_CERT_PATH holds ca.pem, cert.pem and key.pem",
    ),
    _Cause(
        kind="SshError",
        code="engine-ssh",
        why="{cause}",
        hint="`ssh HOST docker version` must answer without a question: keys in the agent, the host's key known",
    ),
    _Cause(
        kind="ReadTimeout",
        code="engine-timeout",
        why="no answer in time",
        hint="docker version, which asks the engine alone",
    ),
    _Cause(kind="ConnectTimeout", code="engine-timeout", why="no answer in time", hint="does its host answer?"),
    _Cause(
        kind="TimeoutError",
        code="engine-timeout",
        why="no answer in time",
        hint="docker version, which asks the engine alone",
    ),
    _Cause(
        kind="JSONDecodeError",
        code="strange-answer",
        why="its answer is not JSON",
        hint="is that address a container engine's? `docker version` asks it the same",
    ),
    _Cause(
        kind="NameError",  # docker-py's class for it does not exist then
        code="engine-ssh",
        why="docker-py reaches it with paramiko only, which is not installed",
        hint="pip install paramiko",
    ),
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it wraps, outermost first: requests and urllib3 hide them in args and `reason`."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (*each.args, getattr(each, "reason", None), each.__cause__, each.__context__)
        waiting.extend(item for item in inner if isinstance(item, BaseException))
