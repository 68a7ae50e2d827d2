"""Ranges that end where the logits no longer gain by more."""

import copy

import numpy as np
import onnx.parser
import pytest
from scipy.special import expit

from stages.measurement.noise import relative_noise
from stages.quantization.narrowing import NARROWER, PATIENCE, QUIET, narrow_ranges
from stages.quantization.ranges import ACTIVATION_LEVELS

OUTLIER, COUNT = 1000.0, 4000


def network(body):
    return onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 18]>
        network (float[N, {COUNT}] input) => (float[N, {COUNT}] logits) {{ {body} }}""")


CUTTING = network("inner = Identity(input)  logits = Tanh(inner)")
LINEAR = network("inner = Identity(input)  logits = Neg(inner)")


def values(outlier=OUTLIER):
    """Two batches of normal values; one of each batch is `outlier`."""
    found = np.random.default_rng(0).normal(size=(2, 3, COUNT)).astype(np.float32)
    found[:, 0, 0] = outlier
    return list(found)


def feeds(outlier=OUTLIER):
    return [{"input": batch} for batch in values(outlier)]


def span(lowest, highest):
    return np.float32(lowest), np.float32(highest)


def narrowed(model, seen, name="inner", given=None):
    return narrow_ranges(model, {name: seen}, [name], given or feeds())[name]


def rounded(array, lowest, highest):
    step = (highest - lowest) / (ACTIVATION_LEVELS - 1)
    zero = np.rint(-lowest / step)
    return (np.clip(np.rint(array / step) + zero, 0, ACTIVATION_LEVELS - 1) - zero) * step


@pytest.mark.parametrize("name", ["inner", "input"])
def test_what_a_reader_cuts_off_anyhow_is_out_of_the_range(name):
    lowest, highest = narrowed(CUTTING, span(-OUTLIER, OUTLIER), name)
    assert -6 < lowest < -2
    assert 2 < highest < 6


def test_what_the_logits_need_stays_in_the_range():
    seen = span(-5, OUTLIER)
    assert narrowed(LINEAR, seen, given=feeds()) == seen


def test_a_few_large_values_give_way_to_many_others():
    """Unlike in the test before, where the one counts for more than all others together."""
    lowest, highest = narrowed(LINEAR, span(-5, 40), given=feeds(8))
    assert -5 <= lowest < -2
    assert 2 < highest < 10


@pytest.mark.parametrize(("model", "function"), [(CUTTING, np.tanh), (LINEAR, np.negative)])
def test_no_candidate_leaves_less_noise(model, function):
    """The candidates worked out by NumPy, and every batch counted."""
    seen, array = span(-5, OUTLIER), np.stack(values())
    expected = function(array)

    def noise(lowest, highest):
        return relative_noise(expected, function(rounded(array, lowest, highest)))

    thresholds = OUTLIER * NARROWER ** np.arange(17)
    candidates = [(max(-5, -each), min(OUTLIER, each)) for each in thresholds]
    best = min(candidates, key=lambda candidate: noise(*candidate))
    assert narrowed(model, seen) == pytest.approx(best, rel=1e-5)


def test_all_that_read_a_tensor_read_it_rounded():
    """SiLU's gate and its product: of the gate alone, what is far from zero could be cut off."""
    model = network("inner = Identity(input)  gate = Sigmoid(inner)  logits = Mul(gate, inner)")
    array = 20 * np.stack(values(3))
    found = narrowed(model, span(-OUTLIER, OUTLIER), given=[{"input": batch} for batch in array])

    def noise(candidate):
        once = rounded(array, *candidate)
        return relative_noise(array * expit(array), once * expit(once))

    thresholds = OUTLIER * NARROWER ** np.arange(17)
    assert noise(found) == pytest.approx(min(noise((-each, each)) for each in thresholds), rel=1e-3)
    assert found[1] > 40


def test_every_batch_counts():
    """The second has the values that ask for a wide range."""
    given = [{"input": factor * values(0)[0]} for factor in (1, 20)]
    assert narrowed(LINEAR, span(-OUTLIER, OUTLIER), given=given)[1] > 40
    assert narrowed(LINEAR, span(-OUTLIER, OUTLIER), given=given[:1])[1] < 10


def test_a_step_back_does_not_end_the_search(monkeypatch):
    """Two steps, PATIENCE, do."""
    noises = {1: 0.10, 2: 0.11, 3: 0.09, 4: 0.10, 5: 0.10, 6: 0.01}
    tried = []

    def noise(self, lowest, highest):
        tried.append(highest)
        return noises[len(tried)]

    monkeypatch.setattr("stages.quantization.narrowing._Rounded.noise", noise)
    assert PATIENCE == 2
    lowest, highest = narrowed(LINEAR, span(0, 8))
    assert len(tried) == 5
    assert (lowest, highest) == pytest.approx((0, 4))


def test_where_there_is_next_to_no_noise_nothing_is_tried(monkeypatch):
    tried = []

    def noise(self, lowest, highest):
        tried.append(highest)
        return QUIET / 2

    monkeypatch.setattr("stages.quantization.narrowing._Rounded.noise", noise)
    assert narrowed(LINEAR, span(0, 8)) == span(0, 8)
    assert len(tried) == 1


@pytest.mark.parametrize(("seen", "lowest", "highest"), [
    ((2, OUTLIER), 0, 6), ((-OUTLIER, -2), -6, 0)])
def test_zero_stays_within(seen, lowest, highest):
    """Steps are made from zero, whatever was seen."""
    found = narrowed(CUTTING, span(*seen))
    assert lowest <= found[0] <= 0 <= found[1] <= highest


@pytest.mark.parametrize("seen", [(0, 0), (-1e-42, 1e-42)])
def test_a_tensor_of_zeros_keeps_its_range(seen, monkeypatch):
    """Such a range has no steps to round to."""
    monkeypatch.setattr("stages.quantization.narrowing._Rounded.noise", None)
    assert narrowed(LINEAR, span(*seen)) == span(*seen)


def test_the_narrowest_range_is_one_level_of_the_widest(monkeypatch):
    tried = []

    def noise(self, lowest, highest):
        tried.append(highest)
        return 1 / len(tried)

    monkeypatch.setattr("stages.quantization.narrowing._Rounded.noise", noise)
    narrowed(LINEAR, span(0, 256))
    assert tried[-1] == pytest.approx(256 / ACTIVATION_LEVELS)


def test_tensors_that_are_not_named_or_have_no_range_stay_as_they_are():
    ranges = {"inner": span(-5, OUTLIER), "input": span(-5, OUTLIER)}
    found = narrow_ranges(CUTTING, ranges, ["inner", "elsewhere"], feeds())
    assert found["input"] == ranges["input"]
    assert found["inner"] != ranges["inner"]
    assert list(found) == list(ranges)
    assert ranges["inner"] == span(-5, OUTLIER)


def test_the_model_is_left_alone():
    model = copy.deepcopy(CUTTING)
    narrowed(model, span(-5, OUTLIER))
    assert model == CUTTING
