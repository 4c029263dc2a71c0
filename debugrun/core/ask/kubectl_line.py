"""A pasted `kubectl debug ...` or `kubectl exec ...` line, as an Attempt: what bears on a verdict. Pure.

What each profile asks for: kubectl pkg/cmd/debug/profiles.go (1.37; the same since 1.31 but for the default, which was
legacy up to 1.35).
"""

from __future__ import annotations

import copy
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from debugrun.core.ask.attempt import Attempt
from debugrun.core.ask.dockerline import Line
from debugrun.core.ask.pod_reference import KINDS
from debugrun.core.grants import Placement
from debugrun.core.know.json_access import Json, mapping
from debugrun.errors import UsageError

DEFAULT_PROFILE = "general"
#: The securityContext of an ephemeral container by each profile.
PROFILES: Mapping[str, Mapping[str, object]] = {
    "legacy": {},
    "general": {"capabilities": {"add": ["SYS_PTRACE"]}},
    "baseline": {},
    "restricted": {
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "allowPrivilegeEscalation": False,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "netadmin": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
    "sysadmin": {"privileged": True},
}
# Options that take a value, those of every kubectl command among them (kubectl options).
_VALUES = frozenset(
    {"--namespace", "--context", "--kubeconfig", "--cluster", "--user", "--server", "--token", "--as", "--as-group"}
    | {"--as-uid", "--certificate-authority", "--client-certificate", "--client-key", "--tls-server-name", "--v"}
    | {"--request-timeout", "--cache-dir", "--profile", "--custom", "--container", "--copy-to", "--env", "--image"}
    | {"--image-pull-policy", "--set-image", "--target", "--filename", "--pod-running-timeout"}
)
_SWITCHES = frozenset(
    {"--attach", "--stdin", "--tty", "--quiet", "--arguments-only", "--share-processes", "--replace", "--same-node"}
    | {"--keep-labels", "--keep-annotations", "--keep-liveness", "--keep-readiness", "--keep-startup"}
    | {"--keep-init-containers", "--insecure-skip-tls-verify"}
)
_SHORT = {
    "-n": "--namespace", "-c": "--container", "-i": "--stdin", "-t": "--tty", "-q": "--quiet", "-f": "--filename",
    "-s": "--server", "-v": "--v",
}  # fmt: skip


def is_kubectl(words: Sequence[str]) -> bool:
    """Whether a line begins as one of kubectl's."""
    return any(posixpath.basename(word) in {"kubectl", "oc"} for word in words[:2])


def parse(words: Sequence[str]) -> Line:
    """The line as words. Raises UsageError: it starts no tool beside a pod's process, or an option is not known."""
    left = list(words)
    while left and posixpath.basename(left[0]) not in {"kubectl", "oc"}:
        left.pop(0)
    before, verb, rest = _verb(left[1:])
    options, names, argv = _options(before + rest)
    where = {"namespace": options.get("--namespace"), "kubernetes_context": options.get("--context")}
    if verb == "exec":
        return _exec(options, names, argv, where)
    if verb != "debug":
        raise _usage(f"only `kubectl debug` and `kubectl exec` start a tool, not {verb or 'nothing'!r}")
    return _debug(options, names, argv, where)


def _usage(why: str) -> UsageError:
    hint = "debugrun judge -- kubectl debug -it pod/web --image IMAGE --target app -- gdb -p 1"
    return UsageError("bad-kubectl-line", why, hint)


def _verb(words: list[str]) -> tuple[list[str], str, list[str]]:
    """(the options before it, the verb, what follows): options of all commands may go first."""
    for at, word in enumerate(words):
        if not word.startswith("-") and (at == 0 or not _takes_next(words[at - 1])):
            return words[:at], word, words[at + 1 :]
    return words, "", []


def _takes_next(word: str) -> bool:
    return "=" not in word and _SHORT.get(word, word) in _VALUES


def _options(words: list[str]) -> tuple[dict[str, str], list[str], tuple[str, ...]]:
    """(the options by their long names, the other words, what follows `--`)."""
    at = words.index("--") if "--" in words else len(words)
    found: dict[str, str] = {}
    names = []
    left = iter(words[:at])
    for word in left:
        if not word.startswith("-") or word == "-":
            names.append(word)
            continue
        found |= dict(_option(word, left))
    return found, names, tuple(words[at + 1 :])


def _option(word: str, left: Iterator[str]) -> Iterator[tuple[str, str]]:
    """One word: a long option, or short ones, of which the last may take what is left of the word, or the next."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        if name in _SWITCHES:
            yield name, value if equals else "true"
        elif name in _VALUES:
            yield name, value if equals else _value(name, left)
        else:
            raise _usage(f"{name} is not an option of kubectl that is known here")
        return
    letters = word[1:]
    for at, letter in enumerate(letters):
        name = _SHORT.get(f"-{letter}", "")
        if name in _SWITCHES:
            yield name, "true"
        elif name in _VALUES:
            yield name, letters[at + 1 :].removeprefix("=") or _value(name, left)
            return
        else:
            raise _usage(f"-{letter} is not an option of kubectl that is known here")


def _value(name: str, left: Iterator[str]) -> str:
    value = next(left, None)
    if value is None:
        raise _usage(f"{name} needs a value")
    return value


def _debug(
    options: Mapping[str, str], names: Sequence[str], argv: tuple[str, ...], where: Mapping[str, str | None]
) -> Line:
    pod = _pod(names)
    if not pod.startswith("pod/"):
        raise _usage(f"kubectl debug takes a pod, and not {pod}")
    if "--copy-to" in options:
        raise _usage("--copy-to debugs a copy of the pod, whose processes are others")
    profile = options.get("--profile", DEFAULT_PROFILE)
    if profile not in PROFILES:
        raise _usage(f"kubectl has no profile {profile!r}: one of {', '.join(PROFILES)}")
    target, custom = options.get("--target"), options.get("--custom")
    attempt = Attempt(
        placement=Placement.SIDECAR,
        image=options.get("--image"),
        pid_mode=f"container:{pod}/{target}" if target else "",
        argv=argv,
        context=json.dumps(PROFILES[profile]),
        custom_file=custom,
        how=(f"--profile={profile}", *([f"--custom={custom}"] if custom else [])),
    )
    return Line(attempt=attempt, container=f"{pod}/{target}" if target else pod, **where)


def _exec(
    options: Mapping[str, str], names: Sequence[str], argv: tuple[str, ...], where: Mapping[str, str | None]
) -> Line:
    pod = _pod(names[:1])
    container = options.get("--container")
    attempt = Attempt(placement=Placement.HERE, argv=argv or tuple(names[1:]))
    return Line(attempt=attempt, container=f"{pod}/{container}" if container else pod, **where)


def _pod(names: Sequence[str]) -> str:
    """The pod as we refer to it: `web`, `pod/web` and `pods web` are the same."""
    named = "/".join(names[:2]) if len(names) > 1 and names[0] in KINDS else (names[0] if names else "")
    kind, slash, name = named.partition("/")
    if not slash:
        kind, name = "pod", kind
    if kind.lower() in {"node", "nodes", "no"}:
        raise _usage(f"a line about {named} starts a pod of its own, and does not tell which process is meant")
    if not name:
        raise _usage("the line names no pod")
    return f"pod/{name}" if KINDS.get(kind.lower()) == "pods" else f"{kind}/{name}"


def customized(attempt: Attempt, partial: Json) -> Attempt:
    """The attempt with a partial container specification: a strategic merge, in which null takes a field away.

    Lists of capabilities are replaced as a whole: the API reference of Capabilities v1 core, listType atomic.
    """
    context = json.loads(attempt.context or "{}")
    changed = _merged(context, mapping(partial, "securityContext"))
    image = partial.get("image")
    return replace(
        attempt,
        context=json.dumps(changed),
        image=image if isinstance(image, str) and image else attempt.image,
    )


def _merged(old: Json, new: Json) -> dict[str, object]:
    found = copy.deepcopy(dict(old))
    for key, value in new.items():
        own = found.get(key)
        if value is None:
            found.pop(key, None)
        elif isinstance(own, Mapping) and isinstance(value, Mapping):
            found[key] = _merged(own, value)
        else:
            found[key] = value
    return found
