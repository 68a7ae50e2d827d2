"""Timing several models against each other on a machine that is not quiet.

Every round times each model once, in an order drawn anew, so that a slow moment of the machine
hits all of them. Each timed run follows an untimed one of the same model: caches and threads are
then its own, as they are when a model is served.
"""

import gc
import random
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple, TypeVar

Run = Callable[[int], None]
Name = TypeVar("Name", bound=Hashable)

# Warmed up: the medians of two windows of runs differ by no more than this share.
STABLE = 0.05
MOST_WINDOWS = 10


class WarmUp(NamedTuple):
    """How many runs were thrown away, and whether time had settled after them."""

    runs: int
    stable: bool


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def timed(run: Run, index: int) -> float:
    """Seconds that run(index) takes."""
    start = time.perf_counter()
    run(index)
    return time.perf_counter() - start


def warm_up(run: Run, window: int) -> WarmUp:
    """Run `window` times and again, until the median of a window is within STABLE of the last.

    After MOST_WINDOWS windows it is given up: the machine is not quiet.
    """
    last = None
    for number in range(MOST_WINDOWS):
        middle = median(timed(run, number * window + index) for index in range(window))
        if last is not None and abs(middle - last) <= STABLE * last:
            return WarmUp((number + 1) * window, True)
        last = middle
    return WarmUp(MOST_WINDOWS * window, False)


def interleaved(runs: dict[Name, Run], rounds: int, warmup: int, seed: int = 0, first: int = 0
                ) -> dict[Name, list[float]]:
    """Time each of `runs`, called with the round's number, `rounds` times.

    Args:
        warmup: how often each is run before, untimed.
        first: the number of the first round.

    Returns:
        Seconds of each round, by name.
    """
    order = random.Random(seed)
    seconds: dict[Name, list[float]] = {name: [] for name in runs}
    for index in range(warmup):
        for run in runs.values():
            run(index)
    with _no_garbage_collection():
        for index in range(first, first + rounds):
            for name in order.sample(list(runs), len(runs)):
                runs[name](index)
                seconds[name].append(timed(runs[name], index))
    return seconds
