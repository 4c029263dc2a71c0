"""What PodSecurity says to a container that is added to a pod. Pure.

Source: pod-security-admission policy/check_*.go of Kubernetes 1.34, the versions of the checks that `latest` means.
Only what a container's own securityContext can break is here; an ephemeral one has no ports, probes or volumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from debugrun.core.know.facts import PodFacts
from debugrun.core.know.json_access import Json, items, mapping, text

LEVELS = ("privileged", "baseline", "restricted")
#: check_capabilities_baseline.go: NET_RAW is a runtime's default, and not among them.
MAY_BE_ADDED = frozenset(
    {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP"}
    | {"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
)
FILTERS = frozenset({"RuntimeDefault", "Localhost"})
SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})


def refusals(context: Json, pod: PodFacts, level: str) -> tuple[str, ...]:
    """Why a level refuses a container with that securityContext, each in the check's own words; () where it admits."""
    if level == "privileged":
        return ()
    found = [*_baseline(context, pod, restricted=level == "restricted")]
    return tuple(found if level == "baseline" else [*found, *_restricted(context, pod)])


def invalid(context: Json) -> str:
    """What validation says before any policy: kubernetes pkg/apis/core/validation ValidateSecurityContext()."""
    if context.get("allowPrivilegeEscalation") is not False:
        return ""
    if context.get("privileged") is True:
        return "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
    if "CAP_SYS_ADMIN" in items(mapping(context, "capabilities"), "add"):
        return "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
    return ""


def _baseline(context: Json, pod: PodFacts, *, restricted: bool) -> Iterator[str]:
    """The checks of baseline; those that restricted has in a stricter form are left to it."""
    added = [str(each) for each in items(mapping(context, "capabilities"), "add")]
    if context.get("privileged") is True:
        yield "privileged (must not set securityContext.privileged=true)"
    if not restricted and (beyond := sorted(set(added) - MAY_BE_ADDED)):
        yield f"non-default capabilities (must not include {_quoted(beyond)} in securityContext.capabilities.add)"
    if not restricted:
        yield from _forbidden_filter(context, pod)
    mount = context.get("procMount")
    if mount not in {None, "Default"}:
        yield f"procMount (must not set securityContext.procMount to {_quoted([str(mount)])})"
    armor = text(mapping(context, "appArmorProfile"), "type")
    if armor and armor not in FILTERS:
        yield f"forbidden AppArmor profile (must not set AppArmor profile type to {_quoted([armor])})"
    label = mapping(context, "seLinuxOptions")
    if text(label, "type") not in SELINUX_TYPES or text(label, "user") or text(label, "role"):
        yield "seLinuxOptions (set forbidden securityContext.seLinuxOptions)"


def _forbidden_filter(context: Json, pod: PodFacts) -> Iterator[str]:
    types = {text(mapping(context, "seccompProfile"), "type"), pod.seccomp} - {""}
    if bad := sorted(types - FILTERS):
        yield f"seccompProfile (must not set securityContext.seccompProfile.type to {_quoted(bad)})"


def _restricted(context: Json, pod: PodFacts) -> Iterator[str]:
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation != false (must set securityContext.allowPrivilegeEscalation=false)"
    capabilities: Mapping[str, object] = mapping(context, "capabilities")
    wrong = []
    if "ALL" not in items(capabilities, "drop"):
        wrong.append('must set securityContext.capabilities.drop=["ALL"]')
    if added := sorted({str(each) for each in items(capabilities, "add")} - {"NET_BIND_SERVICE"}):
        wrong.append(f"must not include {_quoted(added)} in securityContext.capabilities.add")
    if wrong:
        yield f"unrestricted capabilities ({'; '.join(wrong)})"
    yield from _root(context, pod)
    own = text(mapping(context, "seccompProfile"), "type")
    forbidden = [*_forbidden_filter(context, pod)]
    yield from forbidden
    if not forbidden and not own and not pod.seccomp:
        yield 'seccompProfile (must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'


def _root(context: Json, pod: PodFacts) -> Iterator[str]:
    said = context.get("runAsNonRoot")
    if said is False or pod.non_root is False:
        yield "runAsNonRoot != true (must not set securityContext.runAsNonRoot=false)"
    elif said is not True and pod.non_root is not True:
        yield "runAsNonRoot != true (must set securityContext.runAsNonRoot=true)"
    if 0 in (context.get("runAsUser"), pod.uid):
        yield "runAsUser=0 (must not set runAsUser=0)"


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
