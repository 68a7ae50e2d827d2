"""One kind of activation rounded at a time, on a small network with SiLU."""

import numpy as np
import onnx
import pytest
from inverted_residual import SIDE, network
from run_onnx import run
from synthetic import make_dataset, model_params, random_batch

from benchmarks.activation_kinds import kinds_of, measure, table, with_rounded_ranges
from benchmarks.finished_run import Run

FEED = {"input": random_batch(4, SIDE, seed=1)}
RANGE = (np.float32(-2), np.float32(3))


def test_kinds_name_writer_and_readers():
    kinds = kinds_of(network("SiLU"))
    assert kinds["Conv > Mul, Sigmoid"] == ["stem", "one_expand", "one_depthwise", "two_expand",
                                            "two_depthwise", "head"]
    assert kinds["Conv > Add, Conv"] == ["one_project"]
    assert kinds["Add > Conv"] == ["sum"]
    assert "logits" not in {name for names in kinds.values() for name in names}


def test_a_rounded_tensor_is_within_half_a_step_and_the_rest_computes_on_from_it():
    model = network("SiLU")
    before = model.SerializeToString()
    rounded = with_rounded_ranges(model, ["stem"], {"stem": RANGE})
    assert model.SerializeToString() == before, "the argument was changed"
    onnx.checker.check_model(rounded, full_check=True)
    exact, = run(model, FEED, ["stem"])
    found, product = run(rounded, FEED, ["stem_rounded", "stem_a"])
    inside = (exact > RANGE[0]) & (exact < RANGE[1])
    assert inside.any()
    assert not inside.all()
    assert np.abs(found - exact)[inside].max() <= 5 / 255 / 2 + 1e-6
    assert found.min() >= -2.01
    assert found.max() <= 3.01
    np.testing.assert_allclose(product, found / (1 + np.exp(-found)), rtol=1e-5)


@pytest.mark.parametrize("activation", ["SiLU", "Clip"])
def test_every_kind_is_measured_and_the_worst_stands_first(activation, tmp_path):
    onnx.save(network(activation), tmp_path / "model.onnx")
    dataset, params = make_dataset(60), model_params(image_size=SIDE)
    params.std = [0.02] * 3  # so that SiLU reads values below its flat tail
    record = measure(Run(tmp_path / "model.onnx", params, dataset, dataset.splits["validation"]))
    kinds = kinds_of(network(activation))
    assert list(record["rounded"]) == ["all", "all, flat tails cut", *kinds]
    rows = table("small", record).splitlines()[4:]
    ratios = [float(row.split("|")[4].removesuffix(" dB ")) for row in rows]
    assert ratios == sorted(ratios)
    assert 0 < ratios[0] < ratios[-1] <= 120
    same = record["rounded"]["all"] == record["rounded"]["all, flat tails cut"]
    assert same == (activation == "Clip")


def test_tensors_without_a_range_are_left_out_and_leaky_relu_is_not_taken_for_relu(tmp_path):
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        net (float[batch, 3, {SIDE}, {SIDE}] input) => (float[batch, 3] logits)
        <float[3, 3, 1, 1] w = {{1,0,0,0,1,0,0,0,1}}, float[3, 3] v = {{1,0,0,0,1,0,0,0,1}}> {{
            a = Conv(input, w)
            leaky = LeakyRelu(a)
            b = Conv(leaky, w)
            bent = Erf(b)
            bent_again = Erf(bent)
            pooled = GlobalAveragePool(bent_again)
            flat = Flatten(pooled)
            logits = Gemm<transB = 1>(flat, v)
        }}""")
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
    onnx.save(model, tmp_path / "model.onnx")
    dataset = make_dataset(60)
    rounded = measure(Run(tmp_path / "model.onnx", model_params(image_size=SIDE), dataset,
                          dataset.splits["validation"]))["rounded"]
    assert "Erf > Erf" in kinds_of(model)
    assert "Erf > Erf" not in rounded
    assert {"Conv > LeakyRelu", "LeakyRelu > Conv"} <= set(rounded)
    assert rounded["all"]["tensors"] == sum(row["tensors"] for kind, row in rounded.items()
                                            if not kind.startswith("all"))
