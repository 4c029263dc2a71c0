"""The attacks that were tried, by kind: printed at the end, counted from the reports, whichever process ran them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pytest
from _pytest.terminal import TerminalReporter

TRIED, THROUGH = "attacks tried", "attacks that got through"
Count = Callable[[Mapping[str, int], Mapping[str, int]], None]


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Iterator[Count]:
    """Take in what a hostile program tells: attacks by kind, and those that got through.

    Not by `record_property`, which warns where a report of xunit2 is written as well.
    """
    tried: Counter[str] = Counter()
    through: Counter[str] = Counter()

    def take(more: Mapping[str, int], got: Mapping[str, int]) -> None:
        tried.update(more)
        through.update(got)

    yield take
    request.node.user_properties.append((TRIED, dict(tried)))
    request.node.user_properties.append((THROUGH, dict(through)))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print them."""
    told: dict[str, Counter[str]] = {TRIED: Counter(), THROUGH: Counter()}
    reports = (each for reports in terminalreporter.stats.values() for each in reports)
    for report in reports:
        if getattr(report, "when", "") == "teardown":  # the last of a test: it has all
            for name, value in report.user_properties:
                if name in told:
                    told[name].update(value)
    if not told[TRIED]:
        return
    terminalreporter.section("attacks of hostile neighbours")
    for kind, number in sorted(told[TRIED].items()):
        terminalreporter.write_line(f"{number:7} {kind}: {told[THROUGH][kind]} got through")
    terminalreporter.write_line(f"{told[TRIED].total():7} in all: {told[THROUGH].total()} got through")
