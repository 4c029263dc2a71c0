"""What somebody typed or would type, word for word: a placement with its flags."""

from __future__ import annotations

from debugrun.core.grants import Placement
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One `docker run` or `docker exec` as typed; defaults are Docker's own.

    `user` is NAME|UID[:GROUP|GID], None: the image's or the container's. `seccomp` is "default", "unconfined" or
    "custom"; then `profile` is the profile's JSON text, and `profile_file` the path that was typed. `selinux` is
    "disable" or None. `pid_mode` and
    `network` are as typed: "" for a namespace of its own, "host", "container:NAME". `mounts` are paths of the host,
    seen at the same place. `argv` is the tool's command line where it is known, and `typed` what of it was typed, if
    the image adds to that; `entrypoint` is the one of the line.

    What the image tells, or the container that an exec enters: `runs_as` is the user as "uid:gid", `missing` a program
    of the line that is not there. `no_image`: the engine does not have it; `no_user`: it has none of that name.

    In a pod `context` is the securityContext of the ephemeral container as JSON text, `custom_file` a partial container
    specification that changes it, and `how` the words of `kubectl debug` that gave it.
    """

    placement: Placement
    user: str | None = None
    image: str | None = None
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    seccomp: str = "default"
    profile: str | None = None
    profile_file: str | None = None
    apparmor: str | None = None
    selinux: str | None = None
    no_new_privileges: bool = False
    privileged: bool = False
    pid_mode: str = ""
    network: str = ""
    userns: str = ""
    runtime: str = ""
    mounts: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    typed: tuple[str, ...] | None = None
    entrypoint: str | None = None
    runs_as: str | None = None
    missing: str = ""
    no_image: bool = False
    no_user: bool = False
    context: str | None = None
    custom_file: str | None = None
    how: tuple[str, ...] = ()
