from __future__ import annotations

import pytest

from debugrun.core.ask.pod_reference import PodReference, is_pod_reference, parse
from debugrun.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pod/web", PodReference(kind="pods", name="web")),
        ("po/web/app", PodReference(kind="pods", name="web", container="app")),
        ("Deployment/web", PodReference(kind="deployments", name="web")),
        ("sts/db", PodReference(kind="statefulsets", name="db")),
        ("job/x.y-1", PodReference(kind="jobs", name="x.y-1")),
    ],
)
def test_what_kubectl_takes_is_taken(text: str, expected: PodReference) -> None:
    assert is_pod_reference(text)
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["svc/web", "pod/", "/web", "pod/a/b/c", "pod/UP", "pod/a b", "pod/../x", "pod/x\n"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize("text", ["web", "/web", "1234abcd"])
def test_names_of_an_engine_are_none_of_kubernetes(text: str) -> None:
    assert not is_pod_reference(text)
