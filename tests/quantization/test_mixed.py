"""The search for what to keep in float, and a model with one layer that INT8 breaks."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from refusals import refusal
from run_onnx import model_of
from synthetic import CLASSES, make_dataset, model_params, recipe

from stages.inference.predictor import load_onnx, predict
from stages.measurement.accuracy import Comparison
from stages.onnx_graph.audit import float_nodes
from stages.onnx_graph.census import executed_graph
from stages.quantization.mixed import (
    Bound,
    Validation,
    bound_for,
    fewest,
    quantize_mixed,
    search,
)
from stages.quantization.sensitivity import Layer
from stages.quantization.static import Calibrated

SIDE, CHANNELS, DEAD = 8, 16, 5


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_fewest_is_found_in_few_questions(count):
    for wanted in range(count + 1):
        asked = []

        def enough(number, wanted=wanted, asked=asked):
            asked.append(number)
            return number >= wanted

        assert fewest(count, enough) == wanted
        assert len(asked) == len(set(asked)) <= 2 * count.bit_length() + 1
        assert count not in asked


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_fewest_is_enough_next_to_one_that_is_not(answers):
    """And it is the last one that was found to be: its model is what stands at the target."""
    asked = []

    def enough(number):
        asked.append(number)
        return answers[number]

    found = fewest(len(answers), enough)
    assert found == len(answers) or answers[found]
    assert found == 0 or not answers[found - 1]
    right = [number for number in asked if answers[number]]
    assert found == len(answers) if not right else found == right[-1]


LAYERS = [Layer(("cheap",), ("a",), 10), Layer(("dear",), ("b", "c"), 1000),
          Layer(("calm",), ("d",), 1)]
NOISE = {"a": 1.0, "b": 3.0, "c": 0.0, "d": 1e-6}


class Fake:
    """The noise of LAYERS, and the drop, are known; a model is a file of its float nodes."""

    def __init__(self):
        self.rounded = []

    def quantize(self, path, exclude):
        path.write_text(" ".join(exclude))

    def round(self, path):
        """Halves what noise there is."""
        self.rounded.append(path.read_text())
        path.write_text(f"{self.rounded[-1]} half")
        return {"time": len(self.rounded)}

    def noise(self, path):
        told = path.read_text().split()
        left = sum(power for node, power in NOISE.items() if node not in told)
        return left / 2 if "half" in told else left

    def logits(self, path):
        return np.array([1 + np.sqrt(self.noise(path))])

    def of_pictures(self, path):
        """Logits of 100 pictures, of which ten are lost for each unit of noise."""
        return np.eye(2)[(np.arange(100) < round(10 * self.noise(path))).astype(int)]

    def search(self, bound, target, *, rounds=False, layers=LAYERS):
        truth = np.zeros(100, int)
        target.write_text("float")
        return search(layers, self.quantize, self.round if rounds else None, self.logits,
                      np.array([1.0]), Validation(truth, np.eye(2)[truth], self.of_pictures),
                      bound, target)


@pytest.mark.parametrize(("bound", "kept"), [
    (40, []), (39, ["cheap"]), (30, ["cheap"]), (29, ["cheap", "dear"]), (0, ["cheap", "dear"])])
def test_what_is_noisy_for_its_cost_is_kept_first(tmp_path, bound, kept):
    record, rounding = Fake().search(Bound(bound, 100), tmp_path / "model")
    assert record["kept_in_float"] == kept
    nodes = {"cheap": "a", "dear": "b c"}
    assert (tmp_path / "model").read_text() == " ".join(nodes[name] for name in kept)
    assert rounding == {}
    first = record["steps"][0]
    assert (first["layers_in_float"], first["drop_pp"]) == (0, 40)
    assert 40 < first["drop_upper_pp"] < 50
    assert first["logits_snr_db"] == 0.97
    assert min(step["drop_pp"] for step in record["steps"]) <= bound
    assert [row["logits_snr_db"] for row in record["sensitivity"]] == [0, -4.77, 60]
    assert [row["drop_pp"] for row in record["sensitivity"]] == [10, 30, 0]
    assert record["macs_in_float"] == sum({"cheap": 10, "dear": 1000}[name] for name in kept) / 1011
    assert record["reason"].startswith("all quantized" if not kept else "the fewest")


@pytest.mark.parametrize(("bound", "kept", "rounded"), [
    (20, [], [""]), (15, ["cheap"], ["", "a"]), (14, ["cheap", "dear"], ["", "a", "a b c"])])
def test_models_are_judged_with_their_weights_rounded_as_they_will_be(tmp_path, bound, kept,
                                                                      rounded):
    """The drop without any in float is 40 points, and rounding halves it."""
    fake = Fake()
    record, rounding = fake.search(Bound(bound, 100), tmp_path / "model", rounds=True)
    assert record["kept_in_float"] == kept
    assert fake.rounded == rounded
    assert rounding == {"time": len(rounded)}, "of the model that is written"
    assert (tmp_path / "model").read_text() == f"{rounded[-1]} half"
    assert record["steps"][0]["drop_pp"] == 20
    assert record["sensitivity"][1]["drop_pp"] == 30


@pytest.mark.parametrize(("bound", "kept"), [
    (0.9, []), (1.0, ["cheap"]), (2.2, ["cheap"]), (2.3, ["cheap", "dear"])])
def test_noise_is_bounded_where_the_drop_is_not(tmp_path, bound, kept):
    """Logits have 0.97 dB, with the first in float 2.22."""
    record, _ = Fake().search(Bound(100, 100, bound), tmp_path / "model")
    assert record["kept_in_float"] == kept
    assert record["min_snr_db"] == bound
    assert f"logits have at least {bound:g} dB and the drop on" in record["reason"]


def test_conversions_are_part_of_what_a_layer_costs(tmp_path):
    """A layer of next to no products is not kept before one that is noisier by far."""
    layers = [Layer(("tiny",), ("a",), 1), Layer(("dear",), ("b", "c"), 1000)]
    record, _ = Fake().search(Bound(100, 100, 1.0), tmp_path / "model", layers=layers)
    assert record["kept_in_float"] == ["dear"]


def test_the_float_model_is_what_is_left(tmp_path):
    record, rounding = Fake().search(Bound(-1, 100), tmp_path / "model", rounds=True)
    assert record["kept_in_float"] == ["cheap", "dear", "calm"]
    assert [step["layers_in_float"] for step in record["steps"]] == [0, 1, 2]
    assert rounding == {}
    assert (tmp_path / "model").read_text() == "float"


@pytest.mark.parametrize(("seen", "tested", "holds"), [
    (0.1, 1.0, True), (0.0, 1.0, False), (0.1, 0.4, False), (0.1, 0.6, True)])
def test_bound_is_on_the_drop_seen_and_on_what_it_may_be(seen, tested, holds):
    """The drop is 0.1 points, and at most 0.50 at 95 %."""
    comparison = Comparison(n=1000, lost=3, gained=2, flipped=5)
    assert Bound(seen, tested).holds(comparison, 20.0) is holds
    assert Bound(seen, tested, 20.0).holds(comparison, 20.0) is holds
    assert not Bound(seen, tested, 20.1).holds(comparison, 20.0)


@pytest.mark.parametrize(("pictures", "bound"), [(163, Bound(0.1, 1.0, 30.0)),
                                                (162, Bound(0.1, None, 30.0))])
def test_what_can_not_be_tested_is_not_asked_for_and_told(pictures, bound, caplog):
    assert bound_for(0.1, 1.0, 30.0, pictures) == bound
    assert bool(caplog.messages) is (bound.tested_pp is None)
    assert all("162 validation pictures are too few" in told and "takes 163" in told
               for told in caplog.messages)


def test_few_pictures_keep_nothing_in_float_that_costs_nothing(tmp_path):
    record, _ = Fake().search(bound_for(50, 1.0, None, 100), tmp_path / "model")
    assert record["kept_in_float"] == []
    assert record["max_drop_upper_pp"] is None
    assert record["reason"] == ("all quantized, the drop on validation is within 50 points; "
                                "too few pictures to test it")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A float model, and pictures that it gets right.

    Weights of its second convolution that meet a channel which is always zero are huge: they say
    nothing, and per tensor they leave no step for the others.
    """
    rng = np.random.default_rng(0)
    first = rng.standard_normal((CHANNELS, 3, 3, 3)).astype(np.float32)
    bias = np.zeros(CHANNELS, np.float32)
    bias[DEAD] = -1000
    second = rng.standard_normal((CHANNELS, CHANNELS, 1, 1)).astype(np.float32)
    second[:, DEAD] = 1000
    third = rng.standard_normal((CHANNELS, CHANNELS, 1, 1)).astype(np.float32)
    head = rng.standard_normal((len(CLASSES), CHANNELS)).astype(np.float32)
    shift = np.zeros(len(CLASSES), np.float32)
    model = model_of(
        [helper.make_node("Conv", ["input", "first", "bias"], ["a"], name="conv1"),
         helper.make_node("Relu", ["a"], ["b"], name="relu1"),
         helper.make_node("Conv", ["b", "second"], ["c"], name="conv2"),
         helper.make_node("Relu", ["c"], ["d"], name="relu2"),
         helper.make_node("Conv", ["d", "third"], ["d3"], name="conv3"),
         helper.make_node("GlobalAveragePool", ["d3"], ["e"], name="pool"),
         helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
         helper.make_node("Gemm", ["f", "head", "shift"], ["logits"], name="gemm", transB=1)],
        {"input": ["batch", 3, SIDE, SIDE]}, {"logits": ["batch", len(CLASSES)]},
        {"first": first, "bias": bias, "second": second, "third": third, "head": head,
         "shift": shift}, opset=13)
    source = tmp_path_factory.mktemp("mixed") / "fp32.onnx"
    dataset, params = make_dataset(), model_params(image_size=SIDE)
    onnx.save(model, source)
    logits = predict(load_onnx(source), dataset.images, params)
    # Every class is to be seen.
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(-logits.mean(axis=0), "shift"))
    onnx.save(model, source)
    dataset.labels = (logits - logits.mean(axis=0)).argmax(axis=1)
    return source, dataset, params


def mixed(case, name, round_=None, **changes):
    source, dataset, params = case
    target = source.with_name(name)
    base = Calibrated.of(source, recipe("mixed", **changes), params, dataset.view("calibration"))
    return target, *quantize_mixed(base, target, dataset, 100, round_)


def test_the_layer_that_breaks_is_kept_and_really_runs_in_float(case):
    target, record, _ = mixed(case, per_channel=False, max_drop_pp=20, name="broken.onnx")
    assert record["steps"][0]["drop_pp"] > 20
    assert record["kept_in_float"] == ["second"]
    rows = {row["weights"][0]: row for row in record["sensitivity"]}
    assert rows["second"]["logits_snr_db"] < 5 < rows["first"]["logits_snr_db"]
    in_float = [node["operator"].removeprefix("Fused") for node in
                float_nodes(executed_graph(target))]
    assert in_float == ["Max", "Conv"]
    source, dataset, params = case
    reached = [predict(load_onnx(path), dataset.view("validation")[:],
                       params).argmax(axis=1) for path in (source, target)]
    assert len(set(reached[0])) == len(CLASSES)
    assert np.mean(reached[0] != reached[1]) <= 0.2


def test_what_rounding_makes_good_needs_no_layer_in_float(case):
    source, *_ = case

    def round_(path):
        """As well as rounding could do."""
        shutil.copyfile(source, path)
        return {"kept": True}

    target, record, rounding = mixed(case, per_channel=False, max_drop_pp=20, name="good.onnx",
                                     round_=round_)
    assert rounding == {"kept": True}
    assert record["kept_in_float"] == []
    assert record["macs_in_float"] == 0
    assert [step["drop_pp"] for step in record["steps"]] == [0]
    assert target.read_bytes() == source.read_bytes()


def test_layers_in_a_group_are_kept_together(case):
    target, record, _ = mixed(case, per_channel=False, max_drop_pp=20, name="grouped.onnx",
                              layers_per_group=2)
    assert [row["weights"] for row in record["sensitivity"]] == [["first", "second"],
                                                                     ["third", "head"]]
    assert record["kept_in_float"] == ["first", "second"]
    assert [step["layers_in_float"] for step in record["steps"]] == [0, 2]
    in_float = [node["operator"].removeprefix("Fused") for node in
                float_nodes(executed_graph(target))]
    assert in_float.count("Conv") == 2


def test_nothing_is_kept_where_the_bound_is_loose(case):
    target, record, _ = mixed(case, per_channel=False, max_drop_pp=99.5, name="loose.onnx")
    assert record["kept_in_float"] == []
    assert record["macs_in_float"] == 0
    assert len(record["steps"]) == 1
    assert float_nodes(executed_graph(target)) == []


def test_a_model_without_a_layer_to_keep_is_refused(tmp_path):
    """ConvTranspose is quantized, and is no layer that the search counts."""
    weight = np.ones((3, len(CLASSES), 1, 1), np.float32)
    model = model_of([helper.make_node("ConvTranspose", ["input", "w"], ["c"], name="c"),
                      helper.make_node("GlobalAveragePool", ["c"], ["p"], name="p"),
                      helper.make_node("Flatten", ["p"], ["logits"], name="f")],
                     {"input": ["batch", 3, SIDE, SIDE]}, {"logits": ["batch", len(CLASSES)]},
                     {"w": weight})
    onnx.save(model, tmp_path / "fp32.onnx")
    case = tmp_path / "fp32.onnx", make_dataset(), model_params(image_size=SIDE)
    assert "no layer" in refusal(mixed, case, "none.onnx", max_drop_pp=20)


def test_a_validation_picture_that_makes_nan_is_refused(case, tmp_path):
    """It is all black, and the network divides by a picture's mean."""
    source, dataset, _ = case
    model = onnx.load(source)
    first = model.graph.node[0]
    model.graph.node.insert(0, helper.make_node("ReduceMean", ["input"], ["mean"], name="mean",
                                                axes=[1, 2, 3]))
    model.graph.node.insert(1, helper.make_node("Div", ["input", "mean"], ["even"], name="even"))
    first.input[0] = "even"
    onnx.save(model, tmp_path / "fp32.onnx")
    dataset = replace(dataset, images=dataset.images.copy())
    dataset.images[dataset.splits["validation"][0]] = 0
    params = model_params(image_size=SIDE)
    params.mean = [0.0] * 3
    assert "gives NaN or infinity for 1 of" in refusal(
        mixed, (tmp_path / "fp32.onnx", dataset, params), "nan.onnx", max_drop_pp=20)
