import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.training.early_stopping import EarlyStopping


def run(accuracies, patience, min_delta=0.0, losses=None):
    """Feed results until it says stop; the last epoch and the object."""
    stopping = EarlyStopping(patience, min_delta)
    losses = losses or [1.0] * len(accuracies)
    for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), start=1):
        stopping.update(epoch, accuracy, loss)
        if stopping.should_stop:
            break
    return epoch, stopping


@pytest.mark.parametrize(("accuracies", "patience", "stops_after", "best"), [
    ([0.5, 0.4, 0.4, 0.9], 2, 3, 1),
    ([0.5, 0.4, 0.6, 0.6, 0.6, 0.9], 2, 5, 3),
    ([0.5, 0.5], 1, 2, 1),
    ([0.1, 0.2, 0.3, 0.4], 1, 4, 4),
    ([0.5, 0.4, 0.4, 0.4], 4, 4, 1),
    ([0.0, 0.0, 0.0], 2, 3, 1)])
def test_patience_counts_epochs_without_a_gain(accuracies, patience, stops_after, best):
    epoch, stopping = run(accuracies, patience)
    assert (epoch, stopping.best_epoch) == (stops_after, best)


def test_runs_on_while_patience_lasts():
    epoch, stopping = run([0.5, 0.4, 0.4], patience=3)
    assert epoch == 3
    assert not stopping.should_stop


@pytest.mark.parametrize(("min_delta", "stops_after"), [(0.0, 5), (0.05, 3), (0.15, 3)])
def test_min_delta_is_how_much_a_gain_must_exceed(min_delta, stops_after):
    epoch, _ = run([0.5, 0.52, 0.54, 0.56, 0.58], patience=2, min_delta=min_delta)
    assert epoch == stops_after


def test_small_gains_add_up_against_the_last_counted_one():
    """0.56 is more than min_delta above 0.50, though just 0.03 above the epoch before."""
    epoch, stopping = run([0.50, 0.53, 0.56, 0.56], patience=2, min_delta=0.05)
    assert epoch == 4
    assert not stopping.should_stop


def test_best_epoch_counts_gains_below_min_delta():
    _, stopping = run([0.5, 0.501], patience=5, min_delta=0.1)
    assert stopping.best_epoch == 2


@pytest.mark.parametrize(("accuracies", "losses", "best"), [
    ([0.9, 0.9, 0.9], [0.3, 0.2, 0.25], 2),
    ([0.9, 0.9], [0.2, 0.2], 1),
    ([0.9, 0.91, 0.9], [0.3, 0.8, 0.1], 2),
    ([0.8, 0.7], [0.5, 0.1], 1)])
def test_among_equals_the_lowest_loss_is_best(accuracies, losses, best):
    _, stopping = run(accuracies, patience=10, losses=losses)
    assert stopping.best_epoch == best


results = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
                             st.sampled_from([0.1, 0.2, 0.3])), min_size=1, max_size=20)


@given(results)
def test_best_epoch_by_brute_force(rows):
    stopping = EarlyStopping(patience=100, min_delta=0.0)
    told = [epoch for epoch, (accuracy, loss) in enumerate(rows, start=1)
            if stopping.update(epoch, accuracy, loss)]
    best = max(range(len(rows)), key=lambda index: (rows[index][0], -rows[index][1])) + 1
    assert stopping.best_epoch == best == told[-1]


@given(results, st.integers(1, 4))
def test_stops_as_brute_force_says(rows, patience):
    epoch, stopping = run([row[0] for row in rows], patience)
    accuracies = [row[0] for row in rows]
    ends = [end for end in range(patience + 1, len(rows) + 1)
            if max(accuracies[end - patience:end]) <= max(accuracies[:end - patience])]
    assert stopping.should_stop == bool(ends)
    assert epoch == (ends[0] if ends else len(rows))
