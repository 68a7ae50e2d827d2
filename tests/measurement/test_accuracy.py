from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.measurement import accuracy
from stages.measurement.accuracy import (
    Comparison,
    accuracy_by_class,
    accuracy_interval,
    calibration_error,
    compare,
    pictures_needed,
)

Z = 1.959963984540054  # of the normal distribution at 97.5 %


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_interval_is_wilsons(case):
    total, count = case
    share = count / total
    centre = (share + Z**2 / (2 * total)) / (1 + Z**2 / total)
    half = Z / (1 + Z**2 / total) * sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    found = accuracy_interval(np.arange(total) < count)
    assert found["accuracy"] == share
    assert found["accuracy_ci95_low"] == pytest.approx(centre - half, abs=1e-9)
    assert found["accuracy_ci95_high"] == pytest.approx(centre + half, abs=1e-9)


def test_accuracy_by_class_by_hand():
    labels, predicted = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 0, 0])
    assert accuracy_by_class(labels, predicted, ["a", "b", "c"]) == {"a": 0.75, "b": 0.5, "c": 0.0}


def test_calibration_error_by_hand(monkeypatch):
    """Bins of a tenth: (0.1, 0.2] has a mean of 0.17 and one right of two, (0.9, 1] is sure of
    0.95 and right; the bin's edge 0.2 belongs to the lower bin."""
    monkeypatch.setattr(accuracy, "BINS", 10)
    correct = np.array([True, False, True, True])
    confidence = np.array([0.14, 0.2, 0.95, 0.95])
    assert calibration_error(correct, confidence) == pytest.approx(
        (abs(0.34 - 1) + abs(1.9 - 2)) / 4)


def test_calibration_error_has_bounds():
    sure = np.ones(10)
    assert calibration_error(sure > 0, sure) == 0
    assert calibration_error(sure < 0, sure) == 1
    assert calibration_error(np.array([True]), np.array([0.0])) == 1


def test_calibration_error_does_not_cancel_between_bins():
    """Too sure in one bin and too modest in the other: on the whole as sure as right."""
    correct = np.array([True] * 5 + [False] * 5)
    confidence = np.array([0.6] * 5 + [0.4] * 5)
    assert calibration_error(correct, confidence) == pytest.approx(0.4)


triples = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=30)


@given(triples)
def test_comparison_counts_by_brute_force(rows):
    labels, reference, predicted = np.array(rows).T
    found = compare(labels, reference, predicted)
    assert found == Comparison(
        n=len(rows),
        lost=sum(1 for label, ours, theirs in zip(labels, predicted, reference, strict=True)
                 if theirs == label and ours != label),
        gained=sum(1 for label, ours, theirs in zip(labels, predicted, reference, strict=True)
                   if theirs != label and ours == label),
        flipped=sum(1 for _, theirs, ours in rows if theirs != ours))


@given(triples)
def test_drop_is_the_difference_of_accuracies(rows):
    labels, reference, predicted = np.array(rows).T
    expected = 100 * ((reference == labels).mean() - (predicted == labels).mean())
    assert compare(labels, reference, predicted).drop_pp == pytest.approx(expected)


@pytest.mark.parametrize(("lost", "gained", "expected"), [
    (0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 2**5), (0, 5, 2 / 2**5), (4, 1, 2 * 6 / 2**5),
    (3, 3, 1.0)])
def test_mcnemar_by_hand(lost, gained, expected):
    """Tails of so many coin tosses; what both have right or wrong does not count."""
    for kept in (1, 1000):
        case = Comparison(lost + gained + kept, lost, gained, lost + gained)
        assert case.mcnemar_p == pytest.approx(expected)


@st.composite
def comparisons(draw):
    lost, gained = draw(st.integers(0, 300)), draw(st.integers(0, 300))
    kept = draw(st.integers(0 if lost + gained else 1, 5000))
    return Comparison(lost + gained + kept, lost, gained, lost + gained)


@given(comparisons())
def test_upper_bound_is_above_the_drop_and_grows_with_confidence(case):
    bounds = [case.drop_upper_pp(confidence) for confidence in (0.8, 0.9, 0.95, 0.99)]
    assert bounds == sorted(set(bounds))
    assert case.drop_upper_pp() == bounds[2] > case.drop_pp


def test_upper_bound_by_hand():
    """10 lost and 4 gained of 498: 100 (6 + 1.645 sqrt(15 - 36 / 500)) / 500."""
    assert Comparison(498, 10, 4, 14).drop_upper_pp() == pytest.approx(
        100 * (6 + 1.6448536 * sqrt(15 - 36 / 500)) / 500, rel=1e-6)


def test_no_flips_in_few_pictures_are_not_certainty():
    few, many = (Comparison(n, 0, 0, 0).drop_upper_pp() for n in (50, 50_000))
    assert few > 1
    assert 0 < many < 0.01


@given(st.floats(0.05, 30))
def test_pictures_needed_are_the_fewest_that_can_do(bound):
    needed = int(pictures_needed(bound))
    assert Comparison(needed, 0, 0, 0).drop_upper_pp() <= bound
    assert needed == 1 or Comparison(needed - 1, 0, 0, 0).drop_upper_pp() > bound


def test_no_number_of_pictures_shows_a_drop_of_nothing():
    assert pictures_needed(0.0) == np.inf


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("n", "loses", "gains"), [
    (300, 0.03, 0.02), (1000, 0.02, 0.0), (1000, 0.01, 0.01), (300, 0.1, 0.2)])
def test_upper_bound_covers_the_true_drop_as_often_as_it_says(n, loses, gains, confidence):
    """Simulated runs; the bound is for a one-sided interval, so it may be a little wide."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n, [loses, gains, 1 - loses - gains], size=2000)
    covered = [Comparison(n, int(lost), int(gained), int(lost + gained)).drop_upper_pp(confidence)
               >= 100 * (loses - gains) for lost, gained, _ in draws]
    assert np.mean(covered) == pytest.approx(confidence, abs=0.04)


def test_interval_of_the_drop_holds_it_and_mirrors():
    worse = Comparison(n=1000, lost=12, gained=5, flipped=20)
    low, high = worse.drop_interval_pp()
    assert low < worse.drop_pp < high == worse.drop_upper_pp(0.975)
    mirrored = Comparison(n=1000, lost=5, gained=12, flipped=20).drop_interval_pp()
    assert mirrored == (-high, -low)
