import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_static
from refusals import refusal
from run_onnx import model_of, run, session_of
from sklearn.datasets import load_sample_images
from static_model import quantize_statically
from synthetic import LITE0, TINY, lite0, model_params, random_pictures, recipe

from stages.inference.predictor import load_onnx, model_input, predict
from stages.inference.saturation import products_saturate
from stages.inference.session import predictor_of
from stages.measurement.noise import relative_noise, signal_to_noise_db
from stages.onnx_graph.layers import arrays_of
from stages.onnx_graph.layers import weights_of as onnx_weights
from stages.onnx_graph.names import INPUT
from stages.quantization import static
from stages.quantization.calibration import FeedReader
from stages.quantization.static import (
    CALIBRATION_BATCH,
    NARROWED_ON,
    Calibrated,
    clips_without_zero,
    divisors,
    feeds_of,
    rounded_tensors,
)


def weights_of(model):
    """(weight, scale, zero point, axis) of every quantized convolution."""
    arrays = arrays_of(model)
    made_by = {node.output[0]: node for node in model.graph.node}
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            source = made_by[node.input[1]]
            assert source.op_type == "DequantizeLinear"
            axis = next((entry.i for entry in source.attribute if entry.name == "axis"), None)
            found.append((*(arrays[name] for name in source.input), axis))
    return found


@pytest.fixture(scope="module")
def quantized(exported, dataset, tmp_path_factory):
    """quantized(pictures, name, **changes): path of the tiny model, by a recipe with `changes`."""
    folder = tmp_path_factory.mktemp("tiny")
    _, params, proto = exported(TINY, 32, 18)
    onnx.save(proto, folder / "fp32.onnx")

    def quantize(pictures=None, name="int8.onnx", **changes):
        quantize_statically(folder / "fp32.onnx", folder / name, recipe(**changes), params,
                            dataset.view("calibration")[:] if pictures is None else pictures)
        return folder / name
    return quantize


@pytest.mark.parametrize(("factor", "refused"), [(1 + 1e-4, False), (1.01, True)])
def test_a_prepared_graph_that_answers_otherwise_is_refused(exported, dataset, tmp_path,
                                                            monkeypatch, factor, refused):
    _, params, proto = exported(TINY, 32, 18)
    onnx.save(proto, tmp_path / "fp32.onnx")

    def prepared(model, *_):
        """Whose logits are `factor` times as large."""
        arrays = arrays_of(model)
        last = [node for node in model.graph.node if node.op_type == "Gemm"][-1]
        for tensor in model.graph.initializer:
            if tensor.name in last.input[1:]:
                tensor.CopyFrom(numpy_helper.from_array(
                    np.float32(factor) * arrays[tensor.name], tensor.name))
        return model

    monkeypatch.setattr(static, "with_channel_floor", prepared)
    arguments = (tmp_path / "fp32.onnx", recipe(), params, dataset.view("calibration"))
    if refused:
        assert "fp32.onnx: preparing it for quantization changes a logit" in refusal(
            Calibrated.of, *arguments)
    else:
        assert 0 < Calibrated.of(*arguments).max_abs_diff < 1e-2


@pytest.mark.parametrize("reduce_range", [False, True])
def test_what_is_done_before_quantizing_leaves_lite0_the_same_on_photographs(lite0_files,
                                                                             reduce_range):
    """Equalization and the floor under channels, with ImageNet weights."""
    photographs = np.concatenate([each[:416].reshape(13, 32, 20, 32, 3).swapaxes(1, 2).reshape(
        -1, 32, 32, 3) for each in load_sample_images().images])
    params = model_params(LITE0, weights="imagenet")
    base = Calibrated.of(lite0_files["fp32"], recipe(equalization=True, reduce_range=reduce_range),
                         params, photographs[::8])
    inputs = {INPUT: model_input(photographs[1::8], params)}
    before, after = run(lite0_files["fp32"], inputs)[0], run(base.model, inputs)[0]
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())
    weights = [onnx_weights(model) for model in (onnx.load(lite0_files["fp32"]), base.model)]
    assert any(not np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_weights_are_int8_and_activations_uint8(lite0_files):
    model = onnx.load(lite0_files["static"])
    weights = weights_of(model)
    assert len(weights) == 49
    assert {weight.dtype for weight, *_ in weights} == {np.dtype(np.int8)}
    arrays = arrays_of(model)
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {arrays[node.input[2]].dtype for node in quantizers} == {np.dtype(np.uint8)}
    assert all(arrays[node.input[1]].size == 1 for node in quantizers)


def test_weights_are_per_channel(lite0_files):
    """A scale for each output channel, which makes its largest weight 127.

    Of some channels it does not, for the scale has a floor that keeps the bias within int32.
    """
    for weight, scale, zero_point, axis in weights_of(onnx.load(lite0_files["static"])):
        assert axis == 0
        assert scale.shape == zero_point.shape == (len(weight),)
        assert not zero_point.any()
        assert len(set(scale.tolist())) > 1
        largest = np.abs(weight.astype(int)).reshape(len(weight), -1).max(axis=1)
        assert (largest >= 126).mean() > 0.8


def test_dequantized_weights_are_near_the_float_ones(lite0_files):
    """Rounding is at most half a step of the channel's scale.

    But for the one weight of an all but dead channel that the floor of its bias raised.
    """
    original = [weight for weight in arrays_of(onnx.load(lite0_files["fp32"])).values()
                if weight.ndim == 4]
    for weight, scale, _, _ in weights_of(onnx.load(lite0_files["static"])):
        steps = scale.reshape(-1, 1, 1, 1)
        off = [np.abs(weight * steps - other) > 0.51 * steps
               for other in original if other.shape == weight.shape]
        by_channel = min((each.reshape(len(weight), -1).sum(axis=1) for each in off),
                         key=np.sum)
        assert by_channel.max() <= 1
        assert (127 * scale[by_channel == 1] < 1e-4).all()


@pytest.mark.parametrize("per_channel", [True, False])
def test_per_channel_follows_the_recipe(quantized, per_channel):
    sizes = [(scale.size, len(weight))
             for weight, scale, *_ in weights_of(onnx.load(quantized(per_channel=per_channel)))]
    assert all(size == (channels if per_channel else 1) for size, channels in sizes)


def test_activation_type_follows_the_recipe(quantized):
    model = onnx.load(quantized(activation_type="QInt8", name="signed.onnx"))
    arrays = arrays_of(model)
    assert {arrays[node.input[2]].dtype for node in model.graph.node
            if node.op_type == "QuantizeLinear"} == {np.dtype(np.int8)}


def test_graph_keeps_its_face(quantized, exported):
    """Inputs, outputs, opset and metadata are those of the float model."""
    before, after = exported(TINY, 32, 18)[2], onnx.load(quantized())
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert after.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    held = {entry.key: entry.value for entry in after.metadata_props}
    assert held.items() >= {entry.key: entry.value for entry in before.metadata_props}.items()


def test_same_pictures_give_the_same_bytes(quantized, dataset):
    one, two = quantized(name="one.onnx"), quantized(name="two.onnx")
    assert one.read_bytes() == two.read_bytes()
    darker = dataset.view("calibration")[:] // 2
    assert quantized(pictures=darker, name="darker.onnx").read_bytes() != one.read_bytes()


def test_input_range_is_that_of_the_calibration_pictures(quantized, dataset):
    """The first quantizer's range by hand: the smallest and the largest value of the pictures."""
    model = onnx.load(quantized())
    first = next(node for node in model.graph.node
                 if node.op_type == "QuantizeLinear" and node.input[0] == INPUT)
    scale, zero_point = (float(arrays_of(model)[name]) for name in first.input[1:])
    batch = model_input(dataset.view("calibration")[:], model_params())
    assert -zero_point * scale == pytest.approx(batch.min(), abs=scale)
    assert (255 - zero_point) * scale == pytest.approx(batch.max(), abs=scale)


def test_predictions_stay(lite0_files, dataset, tmp_path):
    """In weights of 7 bits where the CPU cuts off sums of products with 8."""
    pictures, (_, params), source = dataset.images, lite0(), lite0_files["fp32"]
    quantize_statically(source, tmp_path / "int8.onnx", recipe(reduce_range=products_saturate()),
                        params, dataset.view("calibration")[:])
    expected, actual = (predict(load_onnx(path), pictures, params)
                        for path in (source, tmp_path / "int8.onnx"))
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.95
    assert len(lite0_files["static"].read_bytes()) < 0.3 * len(source.read_bytes())


@pytest.mark.parametrize("count", [1, CALIBRATION_BATCH, CALIBRATION_BATCH + 1,
                                   3 * CALIBRATION_BATCH - 1])
def test_feeds_hold_every_picture_once(count):
    pictures, params = random_pictures(count, 12, 12), model_params(LITE0)
    batches = []
    for feed in feeds_of(pictures, params):
        assert feed.keys() == {INPUT}
        assert len(feed[INPUT]) <= CALIBRATION_BATCH
        batches.append(feed[INPUT])
    np.testing.assert_allclose(np.concatenate(batches), model_input(pictures, params), atol=1e-6)


def test_minmax_writes_the_bytes_that_onnx_runtime_writes_by_itself(quantized, exported, dataset,
                                                                    tmp_path):
    _, params, proto = exported(TINY, 32, 18)
    onnx.save(proto, tmp_path / "fp32.onnx")
    feeds = feeds_of(dataset.view("calibration")[:], params)
    quantize_static(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", FeedReader(feeds),
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    per_channel=True)
    assert quantized().read_bytes() == (tmp_path / "int8.onnx").read_bytes()


@pytest.mark.parametrize("calibration", ["percentile", "entropy", "mse"])
def test_calibration_follows_the_recipe(quantized, calibration, exported, dataset):
    """Another model than minmax makes, and predictions near those of the float one."""
    path = quantized(calibration=calibration, name=f"{calibration}.onnx")
    assert path.read_bytes() != quantized().read_bytes()
    params = exported(TINY, 32, 18)[1]
    expected, actual = (predict(load_onnx(each), dataset.images, params)
                        for each in (path.with_name("fp32.onnx"), path))
    assert np.corrcoef(expected.ravel(), actual.ravel())[0, 1] > 0.95


def test_logits_narrow_what_is_rounded_by_pictures_from_all_over(quantized, exported, monkeypatch):
    given = {}

    def narrow(model, ranges, tensors, feeds):
        given.update(ranges=ranges, tensors=tensors,
                     pictures=np.concatenate([feed[INPUT] for feed in feeds]))
        return ranges

    monkeypatch.setattr(static, "narrow_ranges", narrow)
    pictures = random_pictures(2 * NARROWED_ON - 1, 12, 12)
    path = quantized(pictures, "narrowed.onnx", calibration="logits")
    assert path.read_bytes() == quantized(pictures, "plain.onnx").read_bytes()  # given back as is
    np.testing.assert_array_equal(given["pictures"],
                                  model_input(pictures[::2], exported(TINY, 32, 18)[1]))
    model = onnx.load(path)
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert set(given["tensors"]) < rounded
    assert {INPUT} < set(given["tensors"]) < given["ranges"].keys()
    assert not {value.name for value in model.graph.output} & set(given["tensors"])


def test_logits_bring_logits_nearer_where_rare_values_are_flattened_anyhow(tmp_path):
    """By a sigmoid, of one picture of full contrast among pale ones."""
    weights = np.random.default_rng(0).normal(size=(4, 3, 12, 12)).astype(np.float32)
    onnx.save(model_of(
        [helper.make_node("Conv", [INPUT, "stem"], ["wide"], "stem"),
         helper.make_node("Sigmoid", ["wide"], ["flat"], "sigmoid"),
         helper.make_node("Conv", ["flat", "weights"], ["seen"], "seen"),
         helper.make_node("Flatten", ["seen"], ["logits"], "flatten")],
        {INPUT: [None, 3, 12, 12]}, {"logits": [None, 4]},
        {"stem": 30 * np.eye(3, dtype=np.float32)[..., None, None],
         "weights": weights - weights.mean(axis=(1, 2, 3), keepdims=True)}),
        tmp_path / "fp32.onnx")
    params, pale = model_params(image_size=12), 120 + random_pictures(40, 12, 12) // 16
    params.mean = [0.5, 0.5, 0.5]
    pictures = np.concatenate([pale[:20], random_pictures(1, 12, 12, seed=1)])
    expected, noise = predict(load_onnx(tmp_path / "fp32.onnx"), pale[20:], params), {}
    for method in ("minmax", "logits"):
        path = tmp_path / f"{method}.onnx"
        quantize_statically(tmp_path / "fp32.onnx", path, recipe(calibration=method), params,
                            pictures)
        noise[method] = relative_noise(expected, predict(load_onnx(path), pale[20:], params))
    assert noise["logits"] < noise["minmax"] / 2


def test_bias_correction_brings_mean_logits_nearer_to_the_float_ones(quantized, exported, dataset):
    params, pictures = exported(TINY, 32, 18)[1], dataset.view("calibration")[:]
    plain, corrected = quantized(), quantized(bias_correction=True, name="corrected.onnx")
    expected, *actual = (predict(predictor_of(session_of(path, fused=False)), pictures, params)
                         for path in (plain.with_name("fp32.onnx"), plain, corrected))
    before, after = (np.abs((each - expected).mean(axis=0)).max() for each in actual)
    assert after < before / 2


@pytest.mark.parametrize(("pictures", "told"), [
    (np.zeros((0, 12, 12, 3), np.uint8), "there are no pictures"),
    (np.full((5, 12, 12, 3), 7, np.uint8), "all pictures (5) are the same"),
    (np.repeat(random_pictures(1, 12, 12), 3, axis=0), "all pictures (3) are the same"),
], ids=["none", "one color", "one picture"])
def test_pictures_that_tell_no_range_are_refused_and_nothing_is_written(quantized, pictures, told):
    assert told in refusal(quantized, pictures=pictures, name="refused.onnx")
    assert not quantized().with_name("refused.onnx").exists()


def norm_written_out(node):
    """Layer normalization over channels, as exporters write it before opset 17."""
    return [node("ReduceMean", ["c"], ["mean"], axes=[1]), node("Sub", ["c", "mean"], ["d"]),
            node("Mul", ["d", "d"], ["square"]),
            node("ReduceMean", ["square"], ["variance"], axes=[1]),
            node("Add", ["variance", "epsilon"], ["sum"]), node("Sqrt", ["sum"], ["root"]),
            node("Div", ["d", "root"], ["y"])]


def test_what_is_divided_by_stays_float(tmp_path):
    """Some variances are some hundredths of the largest, and would be rounded to zero."""
    def node(operator, inputs, outputs, **options):
        return helper.make_node(operator, inputs, outputs, name=outputs[0], **options)

    weight = np.random.default_rng(0).normal(size=(8, 3, 1, 1)).astype(np.float32)
    model = model_of([node("Conv", [INPUT, "w"], ["c"]), *norm_written_out(node)],
                     {INPUT: ["batch", 3, 8, 8]}, {"y": None},
                     {"w": weight, "epsilon": np.float32(1e-5)}, opset=13)
    onnx.save(model, tmp_path / "fp32.onnx")
    assert divisors(model) == ["square", "variance", "sum", "root"]
    pictures = random_pictures(8, 8, 8)
    pictures[:, :4] //= 16
    params = model_params(image_size=8)
    params.mean = [0.0, 0.0, 0.0]
    quantize_statically(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", recipe(), params, pictures)
    feed = {INPUT: model_input(pictures, params)}
    expected, actual = (run(tmp_path / name, feed, fused=False)[0]
                        for name in ("fp32.onnx", "int8.onnx"))
    assert np.isfinite(actual).all()
    assert signal_to_noise_db(expected, actual) > 10


@pytest.mark.parametrize(("power", "found"), [
    (-0.5, ["first"]), (0.5, ["first"]), (-1.0, ["first"]), ([2.0, -1.0, 1.0], ["first"]),
    (2.0, []), (1.0, [])])
def test_a_root_or_a_quotient_that_is_written_as_a_power(power, found):
    model = model_of([helper.make_node("Relu", ["x"], ["r"], name="first"),
                      helper.make_node("Pow", ["r", "power"], ["y"], name="second")],
                     {"x": [1, 3]}, {"y": None}, {"power": np.float32(power)})
    assert divisors(model) == found


@pytest.mark.parametrize(("reader", "inputs"), [("Div", ["r", "x"]), ("Relu", ["r"])])
def test_what_is_only_divided_is_quantized(reader, inputs):
    model = model_of([helper.make_node("Relu", ["x"], ["r"], name="first"),
                      helper.make_node(reader, inputs, ["y"], name="second")],
                     {"x": [1, 3]}, {"y": None})
    assert divisors(model) == []


def pooled_network(*between, constants=None):
    """Conv, `between`, from c to r, and a classifier of what is pooled; weights are random."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Conv", [INPUT, "w"], ["c"], name="c"), *between,
             helper.make_node("GlobalAveragePool", ["r"], ["p"], name="p"),
             helper.make_node("Flatten", ["p"], ["f"], name="f"),
             helper.make_node("Gemm", ["f", "head"], ["logits"], name="logits", transB=1)]
    return model_of(nodes, {INPUT: ["batch", 3, 8, 8]}, {"logits": ["batch", 4]}, {
        "w": rng.normal(size=(8, 3, 1, 1)).astype(np.float32),
        "head": rng.normal(size=(4, 8)).astype(np.float32), **(constants or {})})


@pytest.mark.parametrize(("bounds", "in_float"), [
    ({"low": 0, "high": 6}, []), ({"low": -1, "high": 1}, []), ({"low": 0.5, "high": 6}, ["r"]),
    ({"low": -6, "high": -0.5}, ["r"]), ({"low": 0.5}, ["r"])])
def test_a_clip_that_lets_no_zero_through_is_not_taken_for_a_range(bounds, in_float, tmp_path):
    constants = {name: np.float32(value) for name, value in bounds.items()}
    model = pooled_network(helper.make_node("Clip", ["c", *bounds], ["r"], name="r"),
                           constants=constants)
    onnx.save(model, tmp_path / "fp32.onnx")
    assert clips_without_zero(model) == in_float
    pictures, params = random_pictures(16, 8, 8), model_params(image_size=8)
    quantize_statically(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", recipe(), params, pictures)
    feed = {INPUT: model_input(pictures, params)}
    expected, actual = (run(tmp_path / name, feed, fused=False)[0]
                        for name in ("fp32.onnx", "int8.onnx"))
    assert signal_to_noise_db(expected, actual) > 25


@pytest.mark.parametrize("calibration", ["minmax", "logits"])
def test_a_picture_that_makes_nan_is_refused(calibration, tmp_path):
    """What divides by a picture's mean, and one, the last, that is all black."""
    model = pooled_network(helper.make_node("ReduceMean", [INPUT], ["m"], name="m", axes=[1, 2, 3]),
                           helper.make_node("Div", ["c", "m"], ["r"], name="r"))
    model.opset_import[0].version = 13
    onnx.save(model, tmp_path / "fp32.onnx")
    pictures, params = random_pictures(80, 8, 8), model_params(image_size=8)
    params.mean = [0.0, 0.0, 0.0]
    pictures[-1] = 0
    assert refusal(Calibrated.of, tmp_path / "fp32.onnx", recipe(calibration=calibration), params,
                   pictures) == (
        f"{tmp_path}/fp32.onnx: gives NaN or infinity for 1 of 80 pictures; train it again, or "
        "with a lower train.lr")


@pytest.mark.parametrize("equalization", [True, False])
def test_a_batch_that_is_fixed_inside_the_graph_is_refused(equalization, tmp_path):
    model = pooled_network(helper.make_node("Relu", ["c"], ["r"], name="r"),
                           constants={"shape": np.array([1, 8])})
    flatten = next(node for node in model.graph.node if node.op_type == "Flatten")
    flatten.CopyFrom(helper.make_node("Reshape", ["p", "shape"], ["f"], name="f"))
    onnx.save(model, tmp_path / "fp32.onnx")
    told = refusal(Calibrated.of, tmp_path / "fp32.onnx", recipe(equalization=equalization),
                   model_params(image_size=8), random_pictures(4, 8, 8))
    assert "can't run on pictures of shape (4, 3, 8, 8)" in told


def test_what_only_moves_values_has_no_range_of_its_own():
    model = pooled_network(helper.make_node("MaxPool", ["c"], ["r"], name="r", kernel_shape=[2, 2]))
    ranges = {name: (np.float32(-1), np.float32(1)) for name in (INPUT, "c", "r", "p", "f",
                                                                 "logits")}
    assert rounded_tensors(model, ranges, recipe()) == [INPUT, "c", "p"]
