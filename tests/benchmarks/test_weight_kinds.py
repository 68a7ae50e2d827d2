"""Weights rounded per tensor by kind of layer; and a stem that has never seen colour."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from inverted_residual import SIDE, network
from onnx import numpy_helper
from synthetic import make_dataset, model_params

from benchmarks.finished_run import Run
from benchmarks.weight_kinds import (
    kinds_of,
    measure,
    measure_stem,
    stem_table,
    table,
    widest_filter,
    with_rounded,
)
from stages.analysis.rounding import round_weights
from stages.onnx_graph.layers import weights_of


def test_every_layer_is_of_one_kind():
    kinds = kinds_of(network("Clip"))
    assert kinds == {"stem": ["stem_w"], "depthwise": ["one_depthwise_w", "two_depthwise_w"],
                     "pointwise": ["one_expand_w", "one_project_w", "two_expand_w",
                                   "two_project_w", "head_w"]}


def test_only_the_weights_that_are_named_are_rounded():
    model = network("Clip")
    before, after = weights_of(model), weights_of(with_rounded(model, ["stem_w"]))
    np.testing.assert_array_equal(after["stem_w"],
                                  round_weights(before["stem_w"], per_channel=False))
    assert not np.array_equal(after["stem_w"], before["stem_w"])
    for name in before.keys() - {"stem_w"}:
        np.testing.assert_array_equal(after[name], before[name])


def test_one_channel_so_wide_that_rounding_erases_the_others_shows_in_the_stems_row(tmp_path):
    """The network names the strongest colour; a fourth channel of its stem says nothing."""
    wide = np.concatenate([np.eye(3), np.full((1, 3), 1000.0)]).astype(np.float32)
    constants = {"stem_w": wide[:, :, None, None], "head_w": np.eye(3, 4, dtype=np.float32)}
    graph = onnx.parser.parse_graph(f"""
        network (float[batch, 3, {SIDE}, {SIDE}] input) => (float[batch, 3] logits) {{
            four = Conv(input, stem_w)
            pooled = GlobalAveragePool(four)
            flat = Flatten(pooled)
            logits = Gemm<transB = 1>(flat, head_w)
        }}""")
    graph.initializer.extend(numpy_helper.from_array(*each[::-1]) for each in constants.items())
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)],
                                     ir_version=8), tmp_path / "model.onnx")
    dataset, params = make_dataset(60), model_params(image_size=SIDE)
    params.mean, params.std = [0.5] * 3, [0.5] * 3
    dataset.images[:] = 0
    for image, label in zip(dataset.images, dataset.labels, strict=True):
        image[..., label] = 200
    positions = dataset.splits["validation"]
    record = measure(Run(tmp_path / "model.onnx", params, dataset, positions))
    stem, last = record["kinds"]["stem"], record["kinds"]["fully connected"]
    assert (stem["layers"], stem["widest_channel_spread"]) == (1, 1000)
    first_class = np.mean(dataset.labels[positions] == 0)
    assert 0 < first_class < 1
    assert stem["alone"] == record["all"] == last["others"] == first_class
    assert stem["others"] == last["alone"] == record["float_accuracy"] == 1
    row = table("small", record).splitlines()[4]
    assert row == f"| stem | 1 | 1000.0× | {100 * first_class:.1f} % | 100.0 % |"


def stem_of(variances):
    """Filters that sum all, take red from green, take left from right, and look at red."""
    conv = torch.nn.Conv2d(3, 4, (1, 2), bias=False)
    norm = torch.nn.BatchNorm2d(4, eps=0)
    filters = [[[1.0, 1]] * 3, [[1, 1], [-1, -1], [0, 0]], [[1, -1]] * 3, [[1, 1], [0, 0], [0, 0]]]
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(filters)[:, :, None])
        norm.running_var.copy_(torch.tensor(variances))
    return SimpleNamespace(conv_stem=conv, bn1=norm)


@pytest.mark.parametrize(("still", "grey", "flat"), [(1, 0, 1), (2, 1, 0), (3, 3 ** -0.5, 1)])
def test_the_filter_that_the_pictures_leave_still_is_the_widest(still, grey, flat):
    variances = [1.0] * 4
    variances[still] = 0.0001
    found = widest_filter(stem_of(variances), stem_of([1.0] * 4))
    assert found == pytest.approx({
        "channel": still, "variance": 0.0001, "variance_of_median": 1, "grey": grey, "flat": flat,
        "widest_published": 1, "widest_trained": 100}, abs=1e-6)
    assert "| small | 1.0× | 100.0× | 0.0 % | 100 % |" in stem_table({"small": {"stem": found}})


@pytest.mark.parametrize(("name", "weights"), [
    ("resnet18", "imagenet"), ("tf_efficientnet_lite0", "none")])
def test_a_network_without_the_published_stem_has_none(name, weights):
    run = Run(Path("absent.onnx"), model_params(name, weights=weights), make_dataset(),
              np.arange(3))
    assert measure_stem(run) is None
