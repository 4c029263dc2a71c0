"""Ownership by proof: every part of it counts, and no two kinds can be taken for each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.know.kinds import COMMON, KINDS, LABEL_PROOF, Found, Kind, Thing, doubt, proof

SECRET = b"s" * 32
ID = "0123456789abcdef" * 4
NAMES = {
    "sidecar": "debugrun-gdb-0123456789",
    "scout": "debugrun-scout-0123456789ab",
    "look": "debugrun-look-0123456789",
    "program": "web",
    "lasting": "web",
    "selftest": "debugrun-selftest-01234567",
    "copier": "debugrun-toolbox-0123456789ab-copy",
    "trial": "debugrun-minimize-0123456789",
    "stand-in": "web.debugrun-recreating",
    "layer": "",
    "kept": "debugrun-kept:web-0123456789ab",
    "volume": "debugrun-toolbox-0123456789ab",
}


def found(kind: Kind, secret: bytes = SECRET) -> Found:
    """One that is ours."""
    name = NAMES.get(kind.name, f"debugrun-{kind.name}-0123456789")
    labels = {**dict.fromkeys((*COMMON, *kind.facts), "1"), "debugrun.kind": kind.name}
    labels[LABEL_PROOF] = proof(kind, name, labels, secret)
    host = {
        key: {"PidMode": f"container:{ID}", "ReadonlyRootfs": "True"}.get(key) or kind.host[key].split("|")[0]
        for key in kind.host
    }
    return Found(id=ID, names=(name,) if name else (), labels=labels, host=host)


ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


@ALL
def test_what_we_made_is_ours(kind: Kind) -> None:
    assert doubt(found(kind), kind.thing, SECRET) == ""


@ALL
def test_every_label_that_counts_counts(kind: Kind) -> None:
    true = found(kind)
    for key in (*COMMON, *kind.facts, LABEL_PROOF):
        for value in ({}, {key: true.labels[key] + "1"}):
            labels = {name: text for name, text in true.labels.items() if name != key} | value
            assert doubt(replace(true, labels=labels), kind.thing, SECRET)


@ALL
def test_a_label_of_the_image_is_no_proof(kind: Kind) -> None:
    true = found(kind)
    assert doubt(replace(true, inherited=true.labels), kind.thing, SECRET) == "its labels are those of its image"


@ALL
def test_a_secret_of_another_machine_is_no_proof(kind: Kind) -> None:
    assert "not of this machine's secret" in doubt(found(kind, b"o" * 32), kind.thing, SECRET)


@ALL
def test_name_and_host_configuration_count(kind: Kind) -> None:
    true = found(kind)
    if not kind.renamed:
        assert doubt(replace(true, names=("web2/x",)), kind.thing, SECRET)
    if kind.thing is Thing.CONTAINER and not kind.renamed:
        other = true.names[0].replace("0", "1") + ("x" if "0" not in true.names[0] else "")
        assert doubt(replace(true, names=(other,)), kind.thing, SECRET)
    for key in kind.host:
        assert doubt(replace(true, host={**true.host, key: "other"}), kind.thing, SECRET)
        assert doubt(replace(true, host={}), kind.thing, SECRET)


@ALL
def test_a_thing_of_another_sort_or_without_an_id_is_not_ours(kind: Kind) -> None:
    for thing in set(Thing) - {kind.thing}:
        assert doubt(found(kind), thing, SECRET)
    if kind.thing is not Thing.VOLUME:
        for short in (ID[:12], "", ID + "0", ID.upper()):
            assert doubt(replace(found(kind), id=short), kind.thing, SECRET)


@given(st.dictionaries(st.sampled_from([*COMMON, LABEL_PROOF, "debugrun.recreated"]), st.text()), st.text(), st.text())
def test_no_text_is_taken_for_a_proof(labels: dict[str, str], name: str, identity: str) -> None:
    for thing in Thing:
        assert doubt(Found(id=identity, names=(name,), labels=labels), thing, SECRET)


def test_no_kind_can_pass_for_another() -> None:
    for kind in KINDS.values():
        for other in KINDS.values():
            if other is not kind:
                posing = found(kind)
                labels = {**posing.labels, "debugrun.kind": other.name}
                assert doubt(replace(posing, labels=labels), other.thing, SECRET)
