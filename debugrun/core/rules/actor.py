"""Who asks: the tool's process, as the kernel's rules see it."""

from __future__ import annotations

from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """The tool's process: its ids and the capabilities that are effective (and permitted) in it.

    `privileged` stands for every capability there is. `label` is its AppArmor label; None where AppArmor is not
    in use. `selinux` is "own" (the target's label), "container" (one for itself alone) or "unconfined"; None where
    SELinux is not in use. `mounts` are paths of the engine's host that it sees. `hidden`: it is not root, and its own
    files in /proc belong to root, since its program carries capabilities or can't be read by it (fs/exec.c).
    """

    uid: int
    gid: int
    capabilities: frozenset[str]
    privileged: bool = False
    label: str | None = None
    selinux: str | None = None
    mounts: tuple[str, ...] = ()
    hidden: bool = False

    def has(self, capability: str) -> bool:
        """Whether the capability is effective."""
        return self.privileged or capability in self.capabilities
