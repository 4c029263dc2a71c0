"""Documents that engines were given: what they made of each is on record, and our word is the same."""

from __future__ import annotations

import pytest

from debugrun.core.rules.seccomp import runtime_of
from tests.seccomp.readings import Reading, predicted, readings

#: Where they were read: the engine's release and its runtime, on that kernel.
READ_BY = {"docker": ((28, 5, 2), "runc"), "podman": ((5, 8, 6), "crun")}
KERNEL = (6, 18)


@pytest.mark.parametrize("engine", READ_BY)
@pytest.mark.parametrize("reading", readings(), ids=lambda reading: reading.what.replace(" ", "-"))
def test_a_document_means_what_the_engine_made_of_it(reading: Reading, engine: str) -> None:
    version, oci_runtime = READ_BY[engine]
    runtime = runtime_of(engine, version, oci_runtime)
    assert predicted(reading.document, engine, KERNEL, runtime) == reading.became[engine]


def test_both_engines_are_on_record() -> None:
    assert all(set(reading.became) == set(READ_BY) for reading in readings())
    assert len(readings()) > 100
