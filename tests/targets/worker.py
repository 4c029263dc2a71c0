"""The worker in Python: main -> serve -> work, with threads alpha and beta; a tick every 100 ms."""

from __future__ import annotations

import itertools
import threading
import time


def work(step: int) -> int:
    """The innermost frame."""
    time.sleep(0.1)
    return step + 1


def serve(name: str) -> None:
    """Work for ever."""
    step = 0
    for _ in itertools.count():
        step = work(step)
        if name == "main":
            print(f"tick {step}", flush=True)


def main() -> None:
    """Two threads and this one."""
    for name in ("alpha", "beta"):
        threading.Thread(target=serve, args=(name,), name=name, daemon=True).start()
    serve("main")


if __name__ == "__main__":
    main()
