"""Delta debugging over the parts of a grant: few runs where few parts are needed. Pure but for the runs it asks for.

Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), with one saving more: where a whole
half could go and both could not, the other half is not tried as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field

from debugrun.values import dataclass

Parts = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One run: whether it passed, and what was said where it did not."""

    passed: bool
    said: str = ""


@dataclass(kw_only=True, slots=True)
class Search:
    """A search in progress. `run` tries exactly these parts; `runs` counts how often it was asked.

    `failed` has for a part the words of the run that lacked it alone, beside what was left out already.
    """

    run: Callable[[frozenset[str]], Outcome]
    runs: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def tried(self, parts: Iterable[str]) -> Outcome:
        """One run."""
        self.runs += 1
        return self.run(frozenset(parts))

    def smallest(self, parts: Sequence[str], kept: Iterable[str] = (), *, some: bool = False) -> Parts:
        """The parts without which it fails, each alone; `kept` are given always. All of them together pass.

        `some` says that it is known to fail without any of them.
        """
        held = frozenset({*parts, *kept})
        if not parts:
            return ()
        left = self._without(list(parts), held, needed=some)
        needed = [part for part in parts if part in left]
        for part in list(needed):
            # A part that was kept since its half could not go whole has not been tried alone.
            if part not in self.failed:
                found = self.tried({*left, *kept} - {part})
                if found.passed:
                    needed.remove(part)
                    left -= {part}
                else:
                    self.failed[part] = found.said
        return tuple(needed)

    def _without(self, chunk: list[str], held: frozenset[str], *, needed: bool = False) -> frozenset[str]:
        """What is held after leaving out of the chunk what can go; `needed`: all of it can't."""
        if not needed:
            found = self.tried(held - set(chunk))
            if found.passed:
                return held - set(chunk)
            if len(chunk) == 1:
                self.failed[chunk[0]] = found.said
        if len(chunk) == 1:
            return held
        half = len(chunk) // 2
        first, second = chunk[:half], chunk[half:]
        left = self._without(first, held)
        return self._without(second, left, needed=not left & set(first))
