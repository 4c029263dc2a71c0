"""What differs between two containers, or between two requests: nothing secret is in what is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from debugrun.blueprint import Blueprint

Json = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One field that differs: its path with dots, and both values as text that may be shown; None: not there.

    Environment, labels and driver options by name only; command lines not at all; seccomp profiles by their size.
    """

    path: str
    before: str | None
    after: str | None


def added(before: Blueprint, after: Blueprint) -> tuple[Change, ...]:
    """What one request has beyond the other: the diff that a person is asked about. In the order of the paths."""
    raise NotImplementedError


def differences(before: Json, after: Json) -> tuple[Change, ...]:
    """What differs between two inspected containers, beyond what a new container must differ in. ()`: faithful."""
    raise NotImplementedError
