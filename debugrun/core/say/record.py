"""What was predicted on an engine and what became of it, as one file: facts, options tried, verdicts, outcomes. Pure.

`debugrun doctor --report` writes one for a bug report; the tests replay it with no engine in reach. Nothing in it is
anybody's own: names, images and ids are replaced, and facts hold no command line and no environment in the first place.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from debugrun import __version__
from debugrun.core.grants import Grant, Option, Placement, Verdict
from debugrun.core.know import facts as shapes
from debugrun.core.know.facts import Facts, FactsError, HostFacts
from debugrun.core.say.anonymous import anonymous, label
from debugrun.values import dataclass

SCHEMA = 1
_OPTION = (
    "user", "cap_add", "cap_drop", "seccomp", "opened_calls", "apparmor", "selinux", "no_new_privileges",
    "file_capability", "privileged", "network", "pid_namespace", "image",
)  # fmt: skip
_IMAGE = "debugrun-toolbox:latest"


class RecordError(ValueError):
    """A file that is no record: the message names the key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One tool under one option: what was judged and whether it worked.

    `target` names the facts; `host` are the settings then in force where they were others. `option` has no gates.
    """

    target: str
    tool: str
    mode: str
    option: Option
    verdict: Verdict
    works: bool
    host: HostFacts | None = None

    @property
    def agrees(self) -> bool:
        """Whether it became what was predicted; `unknown` predicts nothing."""
        return self.verdict is Verdict.UNKNOWN or (self.verdict is Verdict.OPEN) == self.works


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Facts by the name of the kind of target, and the trials on them."""

    facts: Mapping[str, Facts]
    trials: tuple[Trial, ...]

    def facts_of(self, trial: Trial) -> Facts:
        """The facts that a trial was judged by."""
        facts = self.facts[trial.target]
        return facts if trial.host is None else replace(facts, host=trial.host)


def dump(record: Record) -> str:
    """The record as JSON text: one line for each trial."""
    options: list[dict[str, object]] = []
    lines = []
    for trial in record.trials:
        written = _option_json(trial.option)
        if written not in options:
            options.append(written)
        host = {"host": dataclasses.asdict(trial.host)} if trial.host is not None else {}
        entry = {
            "target": trial.target,
            **host,
            "tool": trial.tool,
            "mode": trial.mode,
            "option": options.index(written),
            "verdict": trial.verdict.value,
            "works": trial.works,
        }
        lines.append(json.dumps(entry))
    facts = [
        f"{json.dumps(name)}: {json.dumps(dataclasses.asdict(anonymous(each, name)))}"
        for name, each in record.facts.items()
    ]
    return (
        f'{{"schema": {SCHEMA}, "debugrun": {json.dumps(__version__)},\n'
        f'"facts": {{\n{_lines(facts)}\n}},\n'
        f'"options": [\n{_lines(map(json.dumps, options))}\n],\n'
        f'"trials": [\n{_lines(lines)}\n]}}\n'
    )


def _lines(entries: Iterable[str]) -> str:
    return ",\n".join(f" {entry}" for entry in entries)


def written(option: Option) -> str:
    """An option without verdict and words: two options with the same one are the same thing to try."""
    return json.dumps(_option_json(option))


def _option_json(option: Option) -> dict[str, object]:
    written: dict[str, object] = {"placement": option.placement.value}
    plain = Option(placement=option.placement, grant=Grant.NONE, user=option.user, verdict=Verdict.UNKNOWN, gates=())
    for name in _OPTION:
        value = getattr(option, name)
        if name == "image":
            value = _IMAGE if value else None
        if name == "apparmor":
            value = label(value)
        if name == "user" or value != getattr(plain, name):
            written[name] = list(value) if isinstance(value, tuple) else value
    return written


def load(text: str) -> Record:
    """A record from JSON text. Raises RecordError."""
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise RecordError(f"schema: {data['schema']!r}, this version reads {SCHEMA}")
        facts = {str(name): shapes.load(json.dumps(each)) for name, each in data["facts"].items()}
        options = [option(each) for each in data["options"]]
        trials = tuple(_trial(each, options) for each in data["trials"])
    except FactsError as error:
        raise RecordError(f"facts: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RecordError(f"not a record of debugrun doctor: {error}") from error
    unknown = sorted({trial.target for trial in trials} - set(facts))
    if unknown:
        raise RecordError(f"facts.{unknown[0]}: missing")
    return Record(facts=facts, trials=trials)


def option(data: Mapping[str, object]) -> Option:
    """An option as `dump` writes it. Raises TypeError, ValueError or KeyError."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    placement = Placement(values.pop("placement"))
    kind: type = Option  # wrong names are reported by the caller
    built = kind(**values, placement=placement, grant=Grant.NONE, verdict=Verdict.UNKNOWN, gates=())
    assert isinstance(built, Option)  # noqa: S101 - tells the type checker
    return built


def _trial(data: Mapping[str, object], options: list[Option]) -> Trial:
    host, index = data.get("host"), data["option"]
    if not isinstance(index, int) or not isinstance(data["works"], bool):
        raise TypeError(f"a trial: {data}")
    return Trial(
        target=str(data["target"]),
        tool=str(data["tool"]),
        mode=str(data["mode"]),
        option=options[index],
        verdict=Verdict(data["verdict"]),
        works=data["works"],
        host=shapes.host(host) if isinstance(host, dict) else None,
    )
