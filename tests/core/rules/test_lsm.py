"""Labels of security modules: the sidecar gets the target's own; less than that is taken only when it is named."""

from __future__ import annotations

import dataclasses

import pytest

from debugrun.core.decide.plan import Plan, plan
from debugrun.core.grants import Ceiling, Grant, Layer, Option, Verdict
from debugrun.core.know.facts import Facts
from debugrun.core.rules import lsm
from debugrun.toolbox import catalog
from tests.cases import NOBODYS_FOLDER, PLAIN, vary

CONTAINER_T = "system_u:system_r:container_t:s0:c12,c34"
SPC_T = "system_u:system_r:spc_t:s0"
BY_APPARMOR = vary(PLAIN, {"engine": {"apparmor": True}, "container": {"apparmor": "docker-default"}})
OWN_PROFILE = vary(BY_APPARMOR, {"container": {"apparmor": "web"}, "process": {"label": "web (enforce)"}})
NO_PROFILE = vary(BY_APPARMOR, {"container": {"apparmor": "unconfined"}, "process": {"label": "unconfined"}})
CONFINED = vary(
    PLAIN, {"engine": {"selinux": True}, "container": {"selinux": CONTAINER_T}, "process": {"label": CONTAINER_T}}
)
DISABLED = vary(PLAIN, {"engine": {"selinux": True}, "process": {"label": SPC_T}})
PRIVILEGED = vary(DISABLED, {"container": {"selinux": SPC_T}})


def decided(facts: Facts, ceiling: Ceiling | None = None) -> Plan:
    tool = catalog.load("gdb", NOBODYS_FOLDER)
    return plan(tool, tool.mode(None), facts, ceiling or Ceiling())


def chosen(decision: Plan) -> Option:
    assert decision.option is not None
    return decision.option


@pytest.mark.parametrize(
    ("facts", "label", "verdict"),
    [
        (PLAIN, (), Verdict.OPEN),
        (BY_APPARMOR, (), Verdict.OPEN),
        (NO_PROFILE, ("apparmor=unconfined",), Verdict.OPEN),
        (OWN_PROFILE, ("apparmor=web",), Verdict.UNKNOWN),
        (CONFINED, (), Verdict.UNKNOWN),  # the engine copies the label of the container whose PIDs are joined
        (DISABLED, ("label=disable",), Verdict.OPEN),
        (PRIVILEGED, ("label=disable",), Verdict.OPEN),
    ],
)
def test_the_sidecar_is_labelled_as_the_target_is(facts: Facts, label: tuple[str, ...], verdict: Verdict) -> None:
    option = chosen(decided(facts))
    assert option.security_opt() == ("no-new-privileges", *label)
    assert (option.grant, option.verdict) == (Grant.NONE, verdict)


@pytest.mark.parametrize(("facts", "label"), [(OWN_PROFILE, "apparmor=unconfined"), (CONFINED, "label=disable")])
def test_where_its_own_label_is_refused_none_is_left_for_who_allows_it(facts: Facts, label: str) -> None:
    decision = decided(facts)
    while decision.option is not None:
        decision = decision.refute(Layer.LSM, "ptrace: Permission denied.")
    wider = decision.beyond()
    assert wider is not None
    assert (wider.grant, wider.verdict) == (Grant.UNCONFINED, Verdict.OPEN)
    assert wider.security_opt() == ("no-new-privileges", label)
    assert wider.seccomp == "default"
    allowed = decided(facts, Ceiling(grant=Grant.UNCONFINED))
    while chosen(allowed).verdict is Verdict.UNKNOWN:
        allowed = allowed.refute(Layer.LSM, "ptrace: Permission denied.")
    assert chosen(allowed).security_opt() == ("no-new-privileges", label)


def test_a_label_of_the_engines_own_traces_its_equal_only() -> None:
    unlabelled = dataclasses.replace(chosen(decided(NO_PROFILE)), apparmor=None)
    assert not lsm.widens(unlabelled, NO_PROFILE)
    (answer,) = lsm.apparmor("docker-default", NO_PROFILE)
    assert answer[:2] == (Layer.LSM, Verdict.CLOSED)
    (answer,) = lsm.selinux(lsm.selinux_of(dataclasses.replace(unlabelled, selinux=None), DISABLED), DISABLED)
    assert answer[:2] == (Layer.LSM, Verdict.CLOSED)
