"""`python -m tests.host.vm [--everything] [--record FILE]`: the trials of the matrix in the test machine.

Exit status 1 when one verdict is not what the kernel did there, or one decision not the least that works.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import docker

from debugrun.core.grants import Verdict
from debugrun.core.know import facts as shapes
from debugrun.core.say import record
from debugrun.errors import DebugrunError
from debugrun.toolbox import catalog, image
from tests.host import images
from tests.host.state import HostError, folder
from tests.host.vm import disk, machine, matrix

REPOSITORY = Path(__file__).parents[3]
HARDENED = "proc_mem.force_override=never lockdown=confidentiality"
WITHIN = {False: 3600.0, True: 20000.0}  # seconds, by `everything`

Row = Mapping[str, object]


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.host.vm", description=__doc__.partition("\n")[0])
    parser.add_argument("--everything", action="store_true", help="every tool, target, grant and setting: hours")
    parser.add_argument("--only", nargs="+", choices=matrix.TARGETS, default=[], metavar="TARGET", help="fewer targets")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument("--forget", action="store_true", help="delete the disk instead")
    arguments = parser.parse_args()
    if arguments.forget:
        shutil.rmtree(folder() / "vm", ignore_errors=True)
        return
    try:
        report = run(everything=arguments.everything, only=arguments.only)
    except (HostError, DebugrunError, docker.errors.DockerException) as error:
        sys.exit(f"test-host: {error}")
    if arguments.record:
        arguments.record.write_text(record.dump(report.record()))
    sys.exit(report.conclude())


def run(*, everything: bool, only: Sequence[str] = ()) -> Report:
    """Have image, disk and machine; run the suite there."""
    machine.programs()
    client = docker.from_env(timeout=600).api
    image.build(client, image.recipe(catalog.load(name) for name in catalog.names()), disk.say)
    images.build(client)
    made = disk.have(client, (matrix.APP, matrix.TOOLBOX))
    report = Report()
    sources = _sources()
    words = [*(["--everything"] if everything else []), *only]
    report.job(machine.run(made, _job(words, sources), report.take, within=WITHIN[everything]))
    if not only:
        # Settings that last until a reboot, and are made at a start.
        disk.say(f"a second start: {HARDENED}")
        hardened = _job(["--hardened"], sources)
        report.job(machine.run(made, hardened, report.take, within=WITHIN[False], parameters=HARDENED))
    return report


def _job(words: Sequence[str], sources: Mapping[str, bytes]) -> dict[str, bytes]:
    return {"run": f"exec python3 -m tests.host.vm.suite {' '.join(words)}\n".encode(), **sources}


def _sources() -> dict[str, bytes]:
    """debugrun and its tests, as they are in the working tree."""
    paths = (path for name in ("debugrun", "tests") for path in (REPOSITORY / name).rglob("*"))
    files = (path for path in paths if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(REPOSITORY)): path.read_bytes() for path in files}


class Report:
    """What came out, shown as it comes."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.complete = False
        self.began = time.monotonic()

    def job(self, status: int) -> None:
        """A job ended with `status`: did it come to its end?"""
        if status != 0:
            self.failures.append(f"the suite ended with {status}")
        if not self.complete:
            self.failures.append("the suite did not come to its end")
        self.complete = False

    def take(self, line: str) -> None:
        """One line of the machine."""
        kind, _, text = line.partition(" ")
        if kind != "record":
            print(f"  | {line}", file=sys.stderr)
            return
        row = json.loads(text)
        self.rows.append(row)
        match row["kind"]:
            case "begins":
                disk.say(f"kernel {row['kernel']}, Docker {row['engine']}")
            case "setting":
                disk.say(f"{time.monotonic() - self.began:4.0f} s  {self._counted()}; now {_setting(row)}")
            case "trial":
                self.counts.update(["trials", *(["open"] if row["works"] else [])])
                self._failed(row["wrong"] and f"{_setting(row)}: {row['wrong']}")
            case "decision":
                self.counts["decisions"] += 1
                what = f"{_setting(row)}: {row['tool']} {row['mode']} on {row['target']}: chosen: {row['chosen']}"
                self._failed(None if row["works"] else f"{what}, which does not work")
                self._failed(f"{what}, but something narrower works" if row["narrower"] else None)
            case "line":
                self.counts["lines"] += 1
                self._failed(row["wrong"] and f"debugrun {row['words']}: {row['wrong']}")
            case "ends":
                self.complete = True

    def _failed(self, text: str | None) -> None:
        if text:
            self.failures.append(text)
            print(f"FAILED {text}", file=sys.stderr, flush=True)

    def _counted(self) -> str:
        counts = self.counts
        return f"{counts['trials']} verdicts ({counts['open']} open), {counts['decisions']} decisions"

    def record(self) -> record.Record:
        """What was measured, to be replayed with no machine."""
        facts = {
            str(row["target"]): shapes.load(json.dumps(row["facts"])) for row in self.rows if row["kind"] == "facts"
        }
        trials = tuple(_trial(row, facts) for row in self.rows if row["kind"] == "trial")
        return record.Record(facts=facts, trials=trials)

    def conclude(self) -> int:
        """Say it all in one line; the exit status."""
        print("\n".join(f"FAILED {each}" for each in self.failures))
        print(
            f"test-host: {self._counted()} held against the kernel, {self.counts['lines']} lines typed, "
            f"{len(self.failures)} wrong, in {time.monotonic() - self.began:.0f} s"
        )
        return 1 if self.failures else 0


def _trial(row: Row, facts: Mapping[str, shapes.Facts]) -> record.Trial:
    target, option, scope, level = str(row["target"]), row["option"], row["scope"], row["paranoid"]
    assert isinstance(option, dict)
    assert isinstance(scope, int)
    assert isinstance(level, int)
    return record.Trial(
        target=target,
        tool=str(row["tool"]),
        mode=str(row["mode"]),
        option=record.option(option),
        verdict=Verdict(row["verdict"]),
        works=row["works"] is True,
        host=replace(facts[target].host, yama_ptrace_scope=scope, perf_event_paranoid=level),
    )


def _setting(row: Row) -> str:
    return f"ptrace_scope {row['scope']}, perf_event_paranoid {row['paranoid']}"


if __name__ == "__main__":
    main()
