import numpy as np
import pytest

from stages.measurement.noise import MOST_DB, decibels, relative_noise, signal_to_noise_db


def test_signal_to_noise_by_hand():
    assert signal_to_noise_db(np.array([10.0]), np.array([9.0])) == pytest.approx(20)
    assert signal_to_noise_db(np.ones(3), np.ones(3)) == MOST_DB
    assert signal_to_noise_db(np.zeros(3), np.zeros(3)) == MOST_DB


def test_relative_noise_by_hand():
    reference = np.array([[3.0, 4.0]], np.float32)
    assert relative_noise(reference, reference) == 0
    assert relative_noise(reference, reference + np.float32(0.5)) == pytest.approx(0.5 / 25)
    # What a head of zeros says, in float and in INT8.
    assert relative_noise(np.zeros(3), np.zeros(3)) == 0


def test_decibels_are_bounded_and_leave_out_what_is_not_there():
    found = decibels(np.array([1.0, 100.0, 5.0, np.nan]), np.array([100.0, 1.0, 0.0, 1.0]))
    np.testing.assert_allclose(found, [-20, 20, MOST_DB, np.nan])
    assert decibels(1, 0.01) == 20
