import gc
from types import SimpleNamespace

import pytest

from stages.measurement import timing
from stages.measurement.timing import MOST_WINDOWS, WarmUp, interleaved, warm_up

NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def collections(monkeypatch):
    """Notes the collections asked for; a real one takes a second after hundreds of tests."""
    noted = []
    monkeypatch.setattr(gc, "collect", lambda: noted.append(gc.isenabled()))
    yield noted
    gc.enable()


def recorded(rounds, warmup, seed=0):
    """What was called, in order: (name, index)."""
    calls = []
    result = interleaved({name: lambda index, name=name: calls.append((name, index))
                          for name in NAMES}, rounds, warmup, seed)
    return calls, result


@pytest.mark.parametrize(("rounds", "warmup"), [(1, 1), (5, 2), (20, 3)])
def test_every_function_is_called_warmup_and_twice_a_round(rounds, warmup):
    calls, seconds = recorded(rounds, warmup)
    for name in NAMES:
        indices = [index for called, index in calls if called == name]
        assert indices == [*range(warmup), *(index for index in range(rounds) for _ in range(2))]
    assert {name: len(series) for name, series in seconds.items()} == dict.fromkeys(NAMES, rounds)


def test_each_round_runs_all_in_pairs_in_an_order_of_its_own():
    rounds, warmup = 30, 2
    timed = recorded(rounds, warmup)[0][warmup * len(NAMES):]
    orders = []
    for index in range(rounds):
        calls = timed[6 * index:6 * index + 6]
        assert calls[::2] == calls[1::2], "a timed run follows an untimed one of the same model"
        assert {number for _, number in calls} == {index}
        orders.append(tuple(name for name, _ in calls[::2]))
    assert {frozenset(order) for order in orders} == {frozenset(NAMES)}
    assert len(set(orders)) == 6  # all orders of three come up
    firsts = [order[0] for order in orders]
    assert all(firsts.count(name) >= 3 for name in NAMES)


def test_order_is_fixed_by_the_seed():
    assert recorded(10, 1)[0] == recorded(10, 1)[0]
    assert recorded(10, 1, seed=1)[0] != recorded(10, 1, seed=2)[0]


def test_the_second_run_of_a_pair_is_what_is_timed(monkeypatch):
    """On a clock that just the runs move: by 1 s for a, and for b by 10 s the first time round."""
    now = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    cold = set()

    def run_a(index):
        now[0] += 1

    def run_b(index):
        now[0] += 2 if index in cold else 10
        cold.add(index)

    seconds = interleaved({"a": run_a, "b": run_b}, rounds=4, warmup=0)
    assert seconds == {"a": [1.0] * 4, "b": [2.0] * 4}


def test_no_garbage_is_collected_meanwhile(collections):
    states = []
    interleaved({"a": lambda index: states.append(gc.isenabled())}, rounds=2, warmup=1)
    assert states == [True, False, False, False, False]
    assert collections == [True]
    assert gc.isenabled()


def test_garbage_is_collected_again_after_an_error():
    def run(index):
        if index == 2:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        interleaved({"a": run}, rounds=5, warmup=1)
    assert gc.isenabled()


def test_rounds_are_numbered_from_the_first():
    seen = []
    interleaved({"a": seen.append}, rounds=2, warmup=1, first=7)
    assert seen == [0, 7, 7, 8, 8]


@pytest.fixture
def clock(monkeypatch):
    """clock(seconds): a run that takes the next of `seconds`, and the last one ever after."""
    now = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def make(seconds):
        left = list(seconds)

        def run(index):
            now[0] += left.pop(0) if len(left) > 1 else left[0]
        return run
    return make


@pytest.mark.parametrize(("seconds", "runs"), [
    ([1.0], 6), ([9.0] * 3 + [1.0], 9), ([9.0, 1.0], 6), ([9.0] * 3 + [2.0] * 3 + [1.0], 12),
    ([1.04] * 3 + [1.0], 6)],
    ids=["steady", "slow window", "one slow run", "two slow windows", "within the tolerance"])
def test_warm_up_ends_when_two_windows_agree(clock, seconds, runs):
    assert warm_up(clock(seconds), 3) == WarmUp(runs, True)


def test_warm_up_of_a_time_that_does_not_settle_is_given_up(clock):
    growing = [2.0**window for window in range(MOST_WINDOWS + 1) for _ in range(3)]
    assert warm_up(clock(growing), 3) == WarmUp(3 * MOST_WINDOWS, False)
