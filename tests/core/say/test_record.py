"""What became of options on machines that can't be had here: verdicts and decisions of today must agree with it."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest

from debugrun.core.grants import Verdict
from debugrun.core.say import record
from debugrun.core.say.record import Record, RecordError
from tests import golden
from tests.cases import PLAIN

OPTION = '{"placement": "sidecar", "user": "0:0"}'
TRIAL = '{"target": "x", "tool": "gdb", "mode": "attach", "option": 0, "verdict": "open", "works": true}'
RECORDS = sorted(golden.FOLDER.glob("*.json"))


@pytest.fixture(scope="module", params=RECORDS, ids=lambda path: str(path.stem))
def made(request: pytest.FixtureRequest) -> Record:
    path = request.param
    assert isinstance(path, Path)
    return record.load(path.read_text())


def test_every_verdict_is_what_became_of_it(made: Record, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = list(golden.disagreements(made))
    counted = Counter(trial.works for trial in made.trials)
    with capsys.disabled():
        print(f"\n{len(made.trials)} outcomes, {counted[True]} of them worked, {len(wrong)} judged wrongly ", end="")
    assert wrong == []


def test_the_planner_takes_the_least_that_worked(made: Record) -> None:
    """Of the options that were tried: none of those before the first open one worked, and that one did."""
    decided = 0
    for spot, (decision, trials) in golden.decisions(made).items():
        known = {record.written(trial.option): trial.works for trial in trials}
        outcomes = [(option.verdict, known.get(record.written(option))) for option in decision.options]
        first = next((index for index, (verdict, _) in enumerate(outcomes) if verdict is Verdict.OPEN), None)
        narrower = [works for verdict, works in outcomes[:first] if verdict is Verdict.CLOSED]
        assert not any(narrower), golden.where(spot)
        if first is not None and outcomes[first][1] is not None:
            decided += 1
            assert outcomes[first][1], golden.where(spot)
    assert decided > 0


def test_nothing_in_a_record_tells_whose_it_is(made: Record) -> None:
    for facts in made.facts.values():
        container, process = facts.container, facts.process
        assert (container.id, container.pid, process.host_pid, process.exe) == ("c" * 64, 0, None, None)
        assert container.image_id == "sha256:" + "d" * 64


def secretive() -> Record:
    facts = dataclasses.replace(
        PLAIN,
        engine=dataclasses.replace(PLAIN.engine, seccomp="/home/somebody/own.json", runtimes=("somebody",)),
        container=dataclasses.replace(
            PLAIN.container, name="somebody", image="registry/somebody", seccomp_profile='{"somebody": 1}', pid=77
        ),
        process=dataclasses.replace(PLAIN.process, exe="/home/somebody/bin", host_pid=77),
        images=dataclasses.replace(PLAIN.images, toolbox="registry/somebody"),
    )
    return Record(facts={"root": facts}, trials=())


def test_names_paths_and_profiles_are_left_out() -> None:
    text = record.dump(secretive())
    assert "somebody" not in text
    assert "77" not in json.loads(text)["facts"]["root"]["container"].values()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a record"),
        ("[]", "not a record"),
        ('{"schema": 9}', "this version reads 1"),
        ('{"schema": 1}', "facts"),
        ('{"schema": 1, "facts": {"root": {}}, "options": [], "trials": []}', "facts"),
        (
            f'{{"schema": 1, "facts": {{}}, "options": [{OPTION}], "trials": [{TRIAL}]}}',
            "facts.x: missing",
        ),
        ('{"schema": 1, "facts": {}, "options": [{"placement": "nowhere"}], "trials": []}', "nowhere"),
        ('{"schema": 1, "facts": {}, "options": [], "trials": [{"option": "0", "works": 1}]}', "a trial"),
    ],
)
def test_what_is_no_record_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(RecordError, match=says):
        record.load(text)
