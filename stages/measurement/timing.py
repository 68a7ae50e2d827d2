"""Timing several models against each other on a machine that is not quiet.

Every round times each model once, in an order drawn anew, so that a slow moment of the machine
hits all of them. Each timed run follows an untimed one of the same model: caches and threads are
then its own, as they are when a model is served.
Source of the scenarios: V. J. Reddi et al., MLPerf Inference Benchmark, 2020.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Run = Callable[[int], None]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interleaved(runs: dict[str, Run], rounds: int, warmup: int, seed: int = 0
                ) -> dict[str, list[float]]:
    """Time each of `runs`, called with the round's number, `rounds` times.

    Returns:
        Seconds of each round, by name.
    """
    order = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(warmup):
        for run in runs.values():
            run(index)
    with _no_garbage_collection():
        for index in range(rounds):
            for name in order.sample(list(runs), len(runs)):
                runs[name](index)
                start = time.perf_counter()
                runs[name](index)
                seconds[name].append(time.perf_counter() - start)
    return seconds
