"""Threads that stay on their cores while they are timed."""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

CAN_PIN = hasattr(os, "sched_setaffinity")


def cores() -> list[int]:
    """The cores this process may use; none where the system can't tell (macOS, Windows)."""
    return sorted(os.sched_getaffinity(0)) if CAN_PIN else []


@contextmanager
def pinned_threads() -> Iterator[None]:
    """Keep the calling thread on the first core and every other one on one of the rest.

    All threads of the process are dealt out in the order they were made. The threads of one
    session, or of PyTorch, are made together and are one fewer than cores, so that they come to
    lie on different ones. Threads made in the block start on the first core. Where the system
    can't pin, nothing is done.
    """
    allowed = cores()
    if not allowed:
        yield
        return
    caller = threading.get_native_id()
    others = sorted({thread.id for thread in psutil.Process().threads()} - {caller})
    for thread, core in zip(others, itertools.cycle(allowed[1:] or allowed), strict=False):
        pin(thread, [core])
    pin(caller, allowed[:1])
    try:
        yield
    finally:
        for thread in (caller, *others):
            pin(thread, allowed)


def pin(thread: int, allowed: list[int]) -> None:
    """Let `thread` run on the cores `allowed` alone; one that has ended is left out."""
    if CAN_PIN:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, allowed)
