"""A variant from its recipe: what each switch leaves in the file and in the record."""

import inverted_residual
import numpy as np
import onnx
import pytest
from linear_bottlenecks import SIDE, bottlenecks
from onnx import helper, numpy_helper
from refusals import refusal
from run_onnx import model_of
from synthetic import model_params, recipe

from stages.config.schema import QatRecipe
from stages.data.dataset import Dataset, evenly
from stages.inference import saturation
from stages.inference.predictor import load_onnx, model_input, predict
from stages.inference.saturation import EXACT_SUMS, products_saturate
from stages.measurement.noise import MOST_DB, signal_to_noise_db
from stages.onnx_graph.census import executed_graph, operator_counts
from stages.onnx_graph.layers import arrays_of
from stages.onnx_graph.probe import open_probed
from stages.quantization import learning, mixed
from stages.quantization.flat_tails import SILU_FLAT
from stages.quantization.mixed import Bound
from stages.quantization.recipe import recorded_recipe
from stages.quantization.variant import write_variant


@pytest.fixture(scope="module")
def made(dataset, tmp_path_factory):
    """made(name, **switches): path and record of a variant, and its logits' dB."""
    folder, params = tmp_path_factory.mktemp("variant"), model_params(image_size=SIDE)
    source = folder / "fp32.onnx"
    onnx.save(bottlenecks(), source)
    pictures = dataset.view("validation")[:]
    reference = predict(load_onnx(source), pictures, params)

    def make(name, **switches):
        target = folder / f"{name}.onnx"
        record = write_variant(source, target, recipe(**switches), params, dataset, 100.0)
        logits = predict(load_onnx(target), pictures, params)
        return target, record, signal_to_noise_db(reference, logits)
    return make


def integers(path):
    return {name: array for name, array in arrays_of(onnx.load(path)).items()
            if name.endswith("_quantized")}


@pytest.mark.parametrize("count", [None, 5])
def test_ranges_are_those_of_the_pictures_that_are_recorded(made, dataset, count):
    _, record, _ = made("some", calibration_images=count)
    positions = dataset.splits["calibration"]
    np.testing.assert_array_equal(record.positions,
                                  positions if count is None else evenly(positions, count))
    assert [record.search, record.rounding, record.qat] == [{}, {}, {}]
    pictures = model_input(dataset.images[record.positions], model_params(image_size=SIDE))
    assert record.ranges["input"] == pytest.approx((pictures.min(), pictures.max()))


def test_the_recipe_decides_what_is_done_to_ranges_channels_and_graph(dataset, tmp_path):
    source, params = tmp_path / "fp32.onnx", model_params(image_size=inverted_residual.SIDE)
    graph = inverted_residual.network("SiLU")
    stem = next(tensor for tensor in graph.graph.initializer if tensor.name == "stem_w")
    weights = 40 * numpy_helper.to_array(stem)
    weights[0] = 1e-12
    stem.CopyFrom(numpy_helper.from_array(weights, "stem_w"))
    onnx.save(graph, source)
    lowest = {}
    for flag in (True, False):
        record = write_variant(source, tmp_path / "int8.onnx", recipe(cut_flat_tails=flag), params,
                               dataset, 100.0)
        lowest[flag] = record.ranges["stem"][0]
    assert lowest[True] == SILU_FLAT > lowest[False]
    scale = arrays_of(onnx.load(tmp_path / "int8.onnx"))["stem_w_scale"]
    assert scale.min() > 1e-9, "a channel that is all but dead has a floor"
    operators = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert "Pad" in operators, "the input has a fourth channel"
    assert "Tile" in operators, "the gates are repeated"


def test_what_is_fine_tuned_learns_from_training_pictures_alone(made, dataset, monkeypatch):
    taken = []

    def spy(images, positions, settings):
        taken.append(positions)
        return random_batches(images, positions, settings)

    random_batches = learning.random_batches
    monkeypatch.setattr(learning, "random_batches", spy)
    made("tuned", qat=QatRecipe(1, 4, 1e-6, 0))
    np.testing.assert_array_equal(taken, [dataset.splits["train"]])


def test_the_search_has_the_bounds_of_the_recipe_and_its_own_pictures(made, dataset, monkeypatch):
    """Of the bounds the one on noise asks for more than any rounding reaches."""
    asked = []

    def some(self, split, count):
        asked.append(split)
        return read(self, split, count)

    read = Dataset.some
    monkeypatch.setattr(Dataset, "some", some)
    monkeypatch.setattr(mixed, "pictures_needed", lambda _: 1)
    search = made("bounded", method="mixed", max_drop_pp=90.0, min_snr_db=MOST_DB)[1].search
    assert [search[name] for name in ("max_drop_pp", "max_drop_upper_pp", "min_snr_db")] == [
        90.0, 100.0, MOST_DB]
    assert len(search["kept_in_float"]) == 6
    assert set(asked) == {"validation", "calibration"}
    assert search["validation_images"] == len(dataset.splits["validation"])


def test_fine_tuning_that_harms_leaves_the_static_model(made):
    harmed, record, _ = made("harmed", qat=QatRecipe(steps=4, batch_size=4, lr=1.0, seed=0))
    assert record.qat["kept"] is False
    assert record.qat["held_out_snr_db_after"] < record.qat["held_out_snr_db_before"]
    plain = integers(made("plain")[0])
    assert all(np.array_equal(array, plain[name]) for name, array in integers(harmed).items())


def test_fine_tuning_starts_from_the_equalized_weights(made):
    """Those of the float model, which have other factors, would undo the equalization."""
    snr = {}
    for name, qat in (("start", None), ("tuned", QatRecipe(2, 4, 1e-6, 0))):
        _, record, snr[name] = made(name, equalization=True, qat=qat)
    assert record.qat["held_out_snr_db_after"] > record.qat["held_out_snr_db_before"] - 1
    assert snr["tuned"] > snr["start"] - 1


@pytest.mark.parametrize("kept", [True, False])
def test_rounding_changes_weights_if_it_is_kept(made, kept, monkeypatch):
    ratios = iter([1.0, 2.0] if kept else [2.0, 1.0])  # before and after
    monkeypatch.setattr(learning, "signal_to_noise_db", lambda *_: next(ratios))
    path, record, _ = made("rounded", adaptive_rounding=True)
    plain, rounded = integers(made("plain")[0]), integers(path)
    assert any(not np.array_equal(array, plain[name]) for name, array in rounded.items()) \
        is kept
    assert record.rounding["kept"] is kept
    assert record.rounding["layers"]


def test_exact_sums_are_those_of_a_cpu_that_cuts_nothing_off():
    step = {name: np.float32(size) for name, size in (("xs", 1 / 255), ("ws", 1 / 127), ("ys", 1))}
    nodes = [helper.make_node("QuantizeLinear", ["x", "xs", "zero"], ["xq"]),
             helper.make_node("DequantizeLinear", ["xq", "xs", "zero"], ["xd"]),
             helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"]),
             helper.make_node("Conv", ["xd", "wd"], ["c"]),
             helper.make_node("QuantizeLinear", ["c", "ys", "zero"], ["cq"]),
             helper.make_node("DequantizeLinear", ["cq", "ys", "zero"], ["y"])]
    shape = (1, 64, 4, 4)
    model = model_of(nodes, {"x": shape}, {"y": None}, {
        **step, "zero": np.uint8(0), "w": np.full((16, 64, 1, 1), 127, np.int8)})
    feed = {"x": np.ones(shape, np.float32)}
    exact, here = (open_probed(model, ["y"], **more).run(["y"], feed)[0]
                   for more in (EXACT_SUMS, {}))
    assert (exact == 64).all()
    assert (here == 64).all() != products_saturate()


@pytest.mark.parametrize(("cut_off", "session"), [(True, EXACT_SUMS), (False, {})])
def test_what_is_learned_does_not_make_up_for_a_cpu_that_cuts_sums_off(made, monkeypatch, cut_off,
                                                                       session):
    """Quantized models that are learned from and judged run in float there."""
    used = []

    def spied(function):
        def call(*arguments, **more):
            used.append(more)
            return function(*arguments, **more)
        return call

    monkeypatch.setattr(saturation, "products_saturate", lambda: cut_off)
    for name in ("round_adaptively", "load_onnx"):
        monkeypatch.setattr(learning, name, spied(getattr(learning, name)))
    made("learned", adaptive_rounding=True)
    assert used == [session] * 3  # rounding, before and after


def test_pictures_that_judge_are_not_learned_from(made, dataset, monkeypatch):
    taught, judged = set(), set()

    def spied(function, index, seen):
        def call(*arguments):
            seen.update(arguments[index].positions.tolist())
            return function(*arguments)
        return call

    monkeypatch.setattr(learning, "feeds_of", spied(learning.feeds_of, 0, taught))
    monkeypatch.setattr(learning, "predict", spied(learning.predict, 1, judged))
    made("apart", adaptive_rounding=True)
    assert taught | judged == set(dataset.splits["calibration"].tolist())
    assert taught
    assert judged
    assert not taught & judged


def test_no_more_pictures_are_learned_from_than_a_layer_has_rows(made, monkeypatch):
    taken = []

    def feeds(pictures, params):
        taken.append(len(pictures))
        return feeds_of(pictures, params)

    feeds_of = learning.feeds_of
    monkeypatch.setattr(learning, "feeds_of", feeds)
    monkeypatch.setattr(learning, "ROWS", 3)
    made("few", adaptive_rounding=True)
    assert set(taken) == {3}


def test_rounding_leaves_layers_in_float_alone(made, monkeypatch):
    """Two layers in float are enough by the search, and without any the bound is broken."""
    within = iter([False, False, True])
    monkeypatch.setattr(Bound, "holds", lambda *_: next(within))
    _, record, _ = made("mixed", method="mixed", max_drop_pp=0.0, adaptive_rounding=True)
    kept = set(record.search["kept_in_float"])
    assert len(kept) == 2
    assert kept.isdisjoint(row["layer"] for row in record.rounding["layers"])
    assert len(kept) + len(record.rounding["layers"]) == 6


def test_a_layer_in_float_leaves_nodes_without_a_name_alone(dataset, tmp_path):
    """A file of one's own may have none at all."""
    graph = bottlenecks()
    for node in graph.graph.node:
        node.name = ""
    onnx.save(graph, tmp_path / "fp32.onnx")
    counts = {}
    for first in (0, 1):
        write_variant(tmp_path / "fp32.onnx", tmp_path / "int8.onnx",
                      recipe(first_in_float=first), model_params(image_size=SIDE), dataset, 100.0)
        counts[first] = operator_counts(executed_graph(tmp_path / "int8.onnx"))
    assert counts[1]["QLinearConv"] == counts[0]["QLinearConv"] - 1
    assert counts[1].get("QLinearAdd", 0) == counts[0].get("QLinearAdd", 0)


@pytest.mark.parametrize("count", [6, 1000])
def test_all_layers_in_float_are_refused(made, count):
    assert refusal(made, "float", first_in_float=count) == (
        f"first_in_float: got {count}, but the model has 6 layers, and none would be quantized; "
        "lower it")


def test_where_all_layers_stay_in_float_there_is_nothing_to_round(made, monkeypatch):
    """The bound is broken whatever the search tries, so that all layers stay in float."""
    monkeypatch.setattr(Bound, "holds", lambda *_: False)
    path, record, snr = made("float", method="mixed", max_drop_pp=0.0, adaptive_rounding=True)
    assert len(record.search["kept_in_float"]) == 6
    assert record.rounding == {}
    assert snr == MOST_DB
    assert recorded_recipe(onnx.load(path)) is None, "or a CPU without VNNI would be warned of it"


def test_first_layers_stay_in_float(made):
    weights = [set(integers(made(f"first{count}", first_in_float=count)[0]))
               for count in (0, 1, 2)]
    assert weights[0] - weights[1] == {"stem_quantized", "bias_quantized"}
    assert weights[1] - weights[2] == {"expand_quantized"}


def test_dynamic_needs_no_pictures(tmp_path):
    onnx.save(bottlenecks(), tmp_path / "fp32.onnx")
    record = write_variant(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", recipe("dynamic"),
                           model_params(image_size=SIDE), None, 1.0)
    assert (tmp_path / "int8.onnx").is_file()
    assert not record.ranges
