"""The scenarios in which models are timed: one picture after the other, and many at once.

SingleStream: one picture a run, by the model alone and end to end, from an encoded picture to
logits. Offline: batches, by one session of all threads, and by a session of one thread on each
core side by side. Both go over several passes; each pass has a process of its own, which loads the
models, warms them up and pins their threads.
Source of the scenarios: V. J. Reddi et al., MLPerf Inference Benchmark, 2020.
"""

import io
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial as bind
from multiprocessing import get_context
from threading import get_native_id
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from stages.config.errors import UserError
from stages.config.schema import Benchmark
from stages.inference.cpu import thread_count
from stages.inference.session import Predictor
from stages.measurement.pinning import cores, pin, pinned_threads
from stages.measurement.timing import WarmUp, interleaved, warm_up

log = logging.getLogger(__name__)

PASSES = 5
# Untimed runs of each batch size in a new process, where ONNX Runtime lays out its memory and
# PyTorch's allocator maps its own; a fifth run is within a tenth of the later ones.
BATCH_WARM_UP = 3
MEMORY = "is there memory for all variants at benchmark.batch_sizes?"
MEMORY_WORDS = re.compile("memory|alloc", re.IGNORECASE)  # PyTorch raises RuntimeError there


@dataclass(frozen=True)
class Contender:
    """A model and a way to run it.

    load: gives a predictor of as many threads as it is asked for; goes to another process.
    streams: whether several of one thread can run side by side. PyTorch has one number of threads
        for the whole process, so it can't.
    """

    load: Callable[[int], Predictor]
    streams: bool


class Setting(NamedTuple):
    """A model in the Offline scenario: `streams` sessions, each with batches of `batch_size`."""

    name: str
    batch_size: int
    streams: int


@dataclass
class Pictures:
    """The pictures of all scenarios.

    encoded: PNG files, as bytes, end to end begins with.
    prepare: from uint8 (B, H, W, 3) to the float32 (B, 3, S, S) that models take.
    inputs: all of them prepared.
    """

    encoded: list[bytes]
    prepare: Callable[[np.ndarray], np.ndarray]
    inputs: np.ndarray

    @classmethod
    def of(cls, pictures: np.ndarray, prepare: Callable[[np.ndarray], np.ndarray]) -> "Pictures":
        """Encode and prepare uint8 pictures (n, H, W, 3)."""
        return cls([encode(picture) for picture in pictures], prepare, prepare(pictures))


class OnePass(NamedTuple):
    """Seconds of each timed run of one pass, and its warm-ups."""

    latency: dict[str, list[float]]
    end_to_end: dict[str, list[float]]
    offline: dict[Setting, list[float]]
    warm_ups: dict[str, WarmUp]


@dataclass
class Measurement:
    """Seconds of each timed run, a list for each pass; and the warm-up of each pass."""

    latency: dict[str, list[list[float]]] = field(default_factory=dict)
    end_to_end: dict[str, list[list[float]]] = field(default_factory=dict)
    offline: dict[Setting, list[list[float]]] = field(default_factory=dict)
    warm_ups: dict[str, list[WarmUp]] = field(default_factory=dict)

    def add(self, later: OnePass) -> None:
        """Add what one more pass has measured."""
        for series, values in ((self.latency, later.latency), (self.end_to_end, later.end_to_end),
                               (self.offline, later.offline), (self.warm_ups, later.warm_ups)):
            for name, value in values.items():
                series.setdefault(name, []).append(value)


def encode(picture: np.ndarray) -> bytes:
    """A uint8 picture (H, W, 3) as a PNG file, which loses nothing."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def decode(content: bytes) -> np.ndarray:
    """An encoded picture as uint8 (H, W, 3)."""
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def measure(contenders: dict[str, Contender], pictures: Pictures, settings: Benchmark
            ) -> Measurement:
    """Time all contenders in all scenarios.

    Raises:
        UserError: a model can't be loaded or run, or the process of a pass was ended from outside.
    """
    result = Measurement()
    for number in range(PASSES):
        result.add(in_new_process(bind(one_pass, contenders, pictures, settings, number)))
        log.info("pass %d of %d", number + 1, PASSES)
    for name, warm_ups in result.warm_ups.items():
        if not all(each.stable for each in warm_ups):
            log.warning("%s: its time did not settle in %d runs; the machine is not quiet", name,
                        max(each.runs for each in warm_ups))
    return result


def in_new_process(call: Callable[[], OnePass]) -> OnePass:
    """What `call` gives in a process made for it alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(call).result()
        except BrokenProcessPool:
            raise UserError(f"the process that measured was ended from outside; {MEMORY}"
                            ) from None
        except (RuntimeError, MemoryError) as error:
            hint = f"; {MEMORY}" if MEMORY_WORDS.search(repr(error)) else ""
            raise UserError(f"a variant can't be run ({_first_line(error)}){hint}") from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def rounds_of(total: int, number: int) -> tuple[int, int]:
    """The number of the first round of pass `number`, and how many of `total` rounds it has."""
    first = total * number // PASSES
    return first, total * (number + 1) // PASSES - first


def one_pass(contenders: dict[str, Contender], pictures: Pictures, settings: Benchmark,
             number: int) -> OnePass:
    """Load all contenders and time them in pass `number`'s share of the rounds."""
    threads = thread_count()  # asked before pinning: a pinned thread is told that it has one core
    whole = {name: contender.load(threads) for name, contender in contenders.items()}
    streams = {name: [contender.load(1) for _ in range(threads)]
               for name, contender in contenders.items() if contender.streams and threads > 1}
    one_picture = {name: bind(run_batch, predictor, pictures.inputs, 1)
                   for name, predictor in whole.items()}
    torch.set_num_threads(threads)  # with which PyTorch prepares pictures of ONNX models too
    for run in one_picture.values():
        run(0)  # a thread that the first run makes is there to be pinned
    run_end_to_end(next(iter(whole.values())), pictures, 0)  # as those of preparation
    with _stream_threads() as pools, pinned_threads():
        warm_ups = {name: warm_up(run, settings.warmup_runs) for name, run in one_picture.items()}
        first, rounds = rounds_of(settings.latency_runs, number)
        latency = interleaved(one_picture, rounds, 0, number, first)
        end_to_end = interleaved({name: bind(run_end_to_end, predictor, pictures)
                                  for name, predictor in whole.items()}, rounds, 0, number, first)
        first, rounds = rounds_of(settings.throughput_rounds, number)
        offline = interleaved(
            {Setting(name, size, 1): bind(run_batch, predictor, pictures.inputs, size)
             for name, predictor in whole.items() for size in settings.batch_sizes}
            | {Setting(name, size, threads):
               bind(run_streams, pools, predictors, pictures.inputs, size)
               for name, predictors in streams.items() for size in settings.batch_sizes},
            rounds, BATCH_WARM_UP, number, first)
    return OnePass(latency, end_to_end, offline, warm_ups)


def run_batch(predictor: Predictor, inputs: np.ndarray, size: int, index: int) -> None:
    """Run batch `index` of `size` pictures, walking through `inputs` and around again."""
    start = index * size % (len(inputs) - size + 1)
    predictor(inputs[start:start + size])


def run_end_to_end(predictor: Predictor, pictures: Pictures, index: int) -> None:
    """Run one picture, from its file's bytes to logits."""
    picture = decode(pictures.encoded[index % len(pictures.encoded)])
    predictor(pictures.prepare(picture[None]))


def run_streams(pools: list[Executor], predictors: list[Predictor], inputs: np.ndarray, size: int,
                index: int) -> None:
    """Run a batch by each of `predictors` side by side, each on the thread of its pool."""
    batches = [pool.submit(run_batch, predictor, inputs, size, index * len(predictors) + number)
               for number, (pool, predictor) in enumerate(zip(pools, predictors, strict=True))]
    for batch in batches:
        batch.result()


@contextmanager
def _stream_threads() -> Iterator[list[Executor]]:
    """A pool of one thread for each core that a container leaves to this process, pinned to it."""
    threads = thread_count()
    with ExitStack() as stack:
        yield [stack.enter_context(ThreadPoolExecutor(1, initializer=lambda core=core: pin(
            get_native_id(), [core]))) for core in cores()[:threads] or range(threads)]
