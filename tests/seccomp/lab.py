"""An engine under test: its default profile as we carry it, and what its kernel does under any profile."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from debugrun.core.know.inspection import DOCKER_DEFAULT, PODMAN_DEFAULT
from debugrun.core.rules.seccomp import Profile, Runtime, SyscallNeed, default_profile, dump_profile, runtime_of, widen
from tests.host import engines
from tests.host.state import HostError
from tests.seccomp import probe, specs

SPECS = (*probe.EVERY_CALL, *probe.ARGUMENTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """An engine, with what it does to a profile and what its kernel does without one.

    `put` gives a profile the form in which the engine takes it: the text, or a file's path.
    """

    client: docker.APIClient
    name: str
    image: str
    default: Profile
    default_caps: frozenset[str]
    kernel: tuple[int, int]
    runtime: Runtime
    unconfined: dict[probe.Case, str]
    put: Callable[[Profile], str]

    def widened(self, base: Profile, needs: Iterable[SyscallNeed], caps: frozenset[str]) -> Profile:
        """The profile that debugrun makes of `base`."""
        return widen(base, needs, caps=caps, arch="x86_64", kernel=self.kernel, runtime=self.runtime)

    def caps(self, cap_set: str) -> frozenset[str]:
        """The bounding set of a container with one of CAP_SETS."""
        return frozenset() if cap_set == "none" else self.default_caps | ({cap_set} - {"default"})

    def seen(self, cap_set: str, profile: Profile | str | None) -> dict[probe.Case, str]:
        """What became of every call; skips where the engine does not know the capability."""
        added = [] if cap_set in {"none", "default"} else [cap_set]
        given = self.put(profile) if isinstance(profile, Profile) else profile
        try:
            return probe.observe(self.client, self.image, SPECS, cap_add=added, drop=cap_set == "none", seccomp=given)
        except docker.errors.APIError as error:
            if "unknown capability" not in str(error):
                raise
            pytest.skip(f"this engine does not know {cap_set}: Docker 23.0 does")

    def wrong(self, profile: Profile, cap_set: str) -> tuple[int, list[str]]:
        """How many verdicts were held against the kernel under a profile, and those that were wrong."""
        seen = self.seen(cap_set, profile)
        return len(seen), probe.disagreements(
            profile, seen, self.unconfined, caps=self.caps(cap_set), kernel=self.kernel, runtime=self.runtime
        )


def set_up(client: docker.APIClient, prober: bytes, stack: ExitStack) -> Lab:
    name, version, kernel = specs.identify(client)
    default = default_profile(name, version)
    if default is None:
        pytest.skip(f"no profile is known for {name} {version}: derive one (tests/seccomp/derive.py)")
    image = probe.image(client, prober)
    stack.callback(client.remove_image, image, force=True)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="debugrun-")))
    numbers = itertools.count()

    def put(profile: Profile) -> str:
        text = dump_profile(profile)
        if name == "docker":
            return text
        path = folder / f"{next(numbers)}.json"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return Lab(
        client=client,
        name=f"{name} {'.'.join(map(str, version))}",
        image=image,
        default=default,
        default_caps=PODMAN_DEFAULT if name == "podman" else DOCKER_DEFAULT,
        kernel=kernel,
        runtime=runtime_of(name, version, client.info()["DefaultRuntime"]),
        unconfined=probe.observe(client, image, SPECS, cap_add=(), drop=True, seccomp="unconfined"),
        put=put,
    )


def beside(name: str, stack: ExitStack) -> docker.APIClient:
    """The client of another engine, brought up where it does not run. Not to be had here: skipped, under CI failed."""
    try:
        host = engines.up(name)
    except HostError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    return stack.enter_context(closing(docker.APIClient(base_url=host, version="auto", timeout=120)))
