import os
import threading
from types import SimpleNamespace

import psutil
import pytest

from stages.measurement import pinning
from stages.measurement.pinning import cores, pin, pinned_threads

needs_pinning = pytest.mark.skipif(not pinning.CAN_PIN, reason="this system can't pin threads")


@pytest.fixture
def helper():
    """The id of a thread that waits."""
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (ready.set(), done.wait()))
    thread.start()
    ready.wait()
    yield thread.native_id
    done.set()
    thread.join()


@needs_pinning
def test_caller_is_on_the_first_core_and_others_on_the_rest(helper):
    allowed = cores()
    with pinned_threads():
        assert os.sched_getaffinity(0) == {allowed[0]}
        assert len(os.sched_getaffinity(helper)) == 1
        assert os.sched_getaffinity(helper) <= set(allowed[1:] or allowed)
    assert os.sched_getaffinity(0) == os.sched_getaffinity(helper) == set(allowed)


@needs_pinning
def test_threads_are_free_again_after_an_error(helper):
    before = os.sched_getaffinity(helper)
    with pytest.raises(RuntimeError), pinned_threads():
        raise RuntimeError
    assert os.sched_getaffinity(0) == os.sched_getaffinity(helper) == before


def test_threads_are_dealt_out_over_all_cores_but_the_first(monkeypatch):
    pinned = {}
    monkeypatch.setattr(pinning, "cores", lambda: [0, 2, 4])
    monkeypatch.setattr(pinning, "pin", lambda thread, allowed: pinned.setdefault(thread, allowed))
    monkeypatch.setattr(threading, "get_native_id", lambda: 10)
    monkeypatch.setattr(psutil.Process, "threads", lambda self: [
        SimpleNamespace(id=thread) for thread in (14, 10, 11, 13, 12)])
    with pinned_threads():
        assert pinned == {10: [0], 11: [2], 12: [4], 13: [2], 14: [4]}


def test_thread_that_has_ended_is_left_out():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    pin(thread.native_id, cores())


def test_nothing_is_done_where_the_system_cannot_pin(monkeypatch):
    monkeypatch.setattr(pinning, "CAN_PIN", False)
    assert cores() == []
    with pinned_threads():
        pin(threading.get_native_id(), [12345])
