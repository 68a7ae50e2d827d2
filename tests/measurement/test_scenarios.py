import gc
import os
import threading
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refusal
from synthetic import random_pictures

from stages.config.schema import Benchmark
from stages.measurement import scenarios, timing
from stages.measurement.scenarios import (
    PASSES,
    Contender,
    Pictures,
    Setting,
    decode,
    encode,
    measure,
    rounds_of,
    run_batch,
    run_end_to_end,
    run_streams,
)

SETTINGS = Benchmark(latency_runs=12, percentiles=[50], warmup_runs=1, batch_sizes=[1, 3],
                     throughput_rounds=7, providers=["CPUExecutionProvider"],
                     torch_modes=["eager"])


def prepare(pictures):
    return pictures.transpose(0, 3, 1, 2).astype(np.float32)


@pytest.fixture(autouse=True)
def no_collections(monkeypatch):
    """A collection takes a second after hundreds of tests."""
    monkeypatch.setattr(gc, "collect", lambda: None)


@pytest.fixture
def pictures():
    return Pictures.of(random_pictures(4, 5, 5), prepare)


class Recorder:
    """A contender's load; notes how many threads it was asked for, and the shape of each run."""

    def __init__(self):
        self.loads, self.shapes = [], []

    def __call__(self, threads):
        self.loads.append(threads)
        return lambda batch: self.shapes.append(batch.shape)


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(scenarios, "in_new_process", lambda call: call())


@pytest.fixture
def two_threads(in_this_process, monkeypatch):
    monkeypatch.setattr(scenarios, "thread_count", lambda: 2)
    monkeypatch.setattr(scenarios, "cores", lambda: [])
    monkeypatch.setattr(scenarios, "pin", lambda thread, allowed: None)


@pytest.mark.parametrize("total", [2, 5, 12, 100])
def test_rounds_are_shared_out_over_the_passes(total):
    numbers = [first + index for number in range(PASSES)
               for first, count in [rounds_of(total, number)] for index in range(count)]
    assert numbers == list(range(total))


def test_encoding_loses_nothing():
    picture = random_pictures(1, 6, 7)[0]
    np.testing.assert_array_equal(decode(encode(picture)), picture)


def test_batches_walk_through_the_pictures_and_around_again():
    inputs, seen = np.arange(5.0), []
    for index in range(5):
        run_batch(lambda batch: seen.append(batch.tolist()), inputs, 2, index)
    assert seen == [[0, 1], [2, 3], [0, 1], [2, 3], [0, 1]]
    seen.clear()
    run_batch(lambda batch: seen.append(batch.tolist()), inputs, 5, 3)
    assert seen == [[0, 1, 2, 3, 4]]


def test_end_to_end_gives_the_model_what_it_gets_otherwise(pictures):
    seen = []
    for index in (1, 6):
        run_end_to_end(seen.append, pictures, index)
    np.testing.assert_array_equal(np.concatenate(seen), pictures.inputs[[1, 2]])


def test_streams_run_side_by_side_on_batches_of_their_own(two_threads):
    """Both have to be running for the barrier to open."""
    barrier, seen = threading.Barrier(2, timeout=30), {}

    def run(number, batch):
        barrier.wait()
        seen[number] = batch.tolist()

    with scenarios._stream_threads() as pools:
        run_streams(pools, [partial(run, number) for number in range(2)], np.arange(8.0), 2, 1)
    assert seen == {0: [4, 5], 1: [6, 7]}


def test_streams_are_as_many_as_a_container_leaves_cores_each_pinned_to_its_own(monkeypatch):
    pinned = []
    monkeypatch.setattr(scenarios, "cores", lambda: [3, 5, 7])
    monkeypatch.setattr(scenarios, "thread_count", lambda: 2)
    monkeypatch.setattr(scenarios, "pin", lambda thread, allowed: pinned.append((thread, allowed)))
    with scenarios._stream_threads() as pools:
        threads = [pool.submit(threading.get_native_id).result() for pool in pools]
    assert pinned == [(threads[0], [3]), (threads[1], [5])]


def test_every_pass_loads_anew_and_has_its_share_of_rounds(pictures, two_threads):
    session, torch_like = Recorder(), Recorder()
    result = measure({"a": Contender(session, True), "b": Contender(torch_like, False)}, pictures,
                     SETTINGS)
    assert session.loads == [2, 1, 1] * PASSES
    assert torch_like.loads == [2] * PASSES
    for series in (result.latency, result.end_to_end):
        assert {name: [len(runs) for runs in passes] for name, passes in series.items()} == \
            {"a": [2, 2, 3, 2, 3], "b": [2, 2, 3, 2, 3]}
    assert {setting: sum(map(len, passes)) for setting, passes in result.offline.items()} == \
        dict.fromkeys([Setting("a", 1, 1), Setting("a", 3, 1), Setting("a", 1, 2),
                       Setting("a", 3, 2), Setting("b", 1, 1), Setting("b", 3, 1)], 7)
    assert {name: len(each) for name, each in result.warm_ups.items()} == {"a": PASSES,
                                                                           "b": PASSES}
    assert set(session.shapes) == {(1, 3, 5, 5), (3, 3, 5, 5)}


def test_models_are_loaded_before_threads_are_pinned_and_timed_after(pictures, two_threads,
                                                                     monkeypatch):
    """A first run of each, and of preparation, comes before too: it makes threads."""
    pinned, loaded, ran = [False], [], []

    @contextmanager
    def pinning():
        pinned[0] = True
        yield
        pinned[0] = False

    def load(threads):
        loaded.append(pinned[0])
        return lambda batch: ran.append(pinned[0])

    def asked():
        assert not pinned[0]
        return 2

    monkeypatch.setattr(scenarios, "pinned_threads", pinning)
    monkeypatch.setattr(scenarios, "thread_count", asked)
    scenarios.one_pass({"a": Contender(load, True)}, pictures, SETTINGS, 0)
    assert loaded == [False] * 3
    assert ran == [False] * 2 + [True] * (len(ran) - 2)
    assert len(ran) > 2


def test_one_picture_is_timed_without_preparing_it_and_end_to_end_with(two_threads, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def takes(seconds, result=None):
        now[0] += seconds
        return result

    pictures = Pictures.of(random_pictures(4, 5, 5), lambda some: takes(10, prepare(some)))
    result = measure({"a": Contender(lambda threads: lambda batch: takes(len(batch)), False)},
                     pictures, SETTINGS)
    assert {second for some in result.latency["a"] for second in some} == {1}
    assert {second for some in result.end_to_end["a"] for second in some} == {11}
    for setting, runs in result.offline.items():
        assert {second for some in runs for second in some} == {setting.batch_size}


def note_process(notes, threads):
    """A load that notes which process it is called in."""
    with notes.open("a") as file:
        print(os.getpid(), file=file)
    return np.sum


def test_every_pass_has_a_process_of_its_own(pictures, tmp_path):
    notes = tmp_path / "processes"
    measure({"a": Contender(partial(note_process, notes), False)}, pictures, SETTINGS)
    processes = notes.read_text().split()
    assert len(set(processes)) == PASSES == len(processes)
    assert str(os.getpid()) not in processes


def run_out_of_memory(error):
    raise error


@pytest.mark.parametrize(("error", "told"), [
    (RuntimeError("DefaultCPUAllocator: none\nleft"), "DefaultCPUAllocator: none"),
    (MemoryError(), "MemoryError")])
def test_a_variant_that_gets_no_memory_is_told(error, told):
    assert refusal(scenarios.in_new_process, partial(run_out_of_memory, error)) == (
        f"a variant can't be run ({told}); is there memory for all variants at "
        "benchmark.batch_sizes?")


def test_what_has_nothing_to_do_with_memory_is_told_as_it_is():
    error = RuntimeError("CppCompileError: C++ compile error")
    assert refusal(scenarios.in_new_process, partial(run_out_of_memory, error)) == (
        "a variant can't be run (CppCompileError: C++ compile error)")


def test_a_process_that_is_ended_from_outside_is_told():
    assert refusal(scenarios.in_new_process, partial(os._exit, 1)) == (
        "the process that measured was ended from outside; is there memory for all variants at "
        "benchmark.batch_sizes?")


def test_a_machine_of_one_core_has_one_stream(pictures, in_this_process, monkeypatch):
    monkeypatch.setattr(scenarios, "thread_count", lambda: 1)
    session = Recorder()
    result = measure({"a": Contender(session, True)}, pictures, SETTINGS)
    assert session.loads == [1] * PASSES
    assert set(result.offline) == {Setting("a", 1, 1), Setting("a", 3, 1)}


def test_time_that_did_not_settle_is_told(pictures, two_threads, monkeypatch, caplog):
    monkeypatch.setattr(scenarios, "warm_up", lambda run, window: scenarios.WarmUp(100, False))
    measure({"a": Contender(Recorder(), False)}, pictures, SETTINGS)
    assert "a: its time did not settle in 100 runs" in caplog.text
