"""A clean-up that nothing cuts short."""

from __future__ import annotations

import os
import signal

import pytest

from debugrun.attach import hold_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_no_signal_ends_a_clean_up(number: signal.Signals) -> None:
    heard: list[int] = []
    before = signal.signal(number, lambda *_: heard.append(number))
    try:
        with hold_signals.undisturbed():
            os.kill(os.getpid(), number)
        assert heard == []
        os.kill(os.getpid(), number)
        assert heard == [number]
    finally:
        signal.signal(number, before)
