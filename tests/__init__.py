"""Tests mirror the rooms of the package; those on real containers stand in tests/live, by what is promised."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent  # also the place of what is compared with: plans, launches, records, facts
