"""Rescaled networks say the same, and their channels are as unequal as was asked for."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.rescale import chains_of, factors, profile, rescale, widened

NARROW, WIDE, SIDE = 8, 24, 8
ACTIVATIONS = ("SiLU", "Clip", "Relu")


class Graph:
    """A network of inverted residuals, written node by node, with seeded random weights."""

    def __init__(self, activation):
        self.activation, self.nodes, self.constants = activation, [], {}
        self.rng = np.random.default_rng(0)

    def conv(self, source, name, shape, group=1, active=True):
        self.constants[f"{name}_w"] = 0.3 * self.rng.standard_normal(shape).astype(np.float32)
        # One bias for every layer of a size, as exporters share constants that are equal.
        self.constants.setdefault(f"bias_{shape[0]}", np.linspace(-1, 1, shape[0],
                                                                  dtype=np.float32))
        self.nodes.append(helper.make_node(
            "Conv", [source, f"{name}_w", f"bias_{shape[0]}"], [name], name=name, group=group,
            pads=[shape[-1] // 2] * 4))
        return self.activate(name) if active else name

    def activate(self, name):
        if self.activation == "SiLU":
            self.nodes += [helper.make_node("Sigmoid", [name], [f"{name}_gate"]),
                           helper.make_node("Mul", [name, f"{name}_gate"], [f"{name}_a"])]
        elif self.activation == "Clip":
            self.constants |= {"low": np.float32(0), "high": np.float32(6)}
            self.nodes.append(helper.make_node("Clip", [name, "low", "high"], [f"{name}_a"]))
        else:
            self.nodes.append(helper.make_node("Relu", [name], [f"{name}_a"]))
        return f"{name}_a"

    def block(self, source, name):
        expanded = self.conv(source, f"{name}_expand", (WIDE, NARROW, 1, 1))
        filtered = self.conv(expanded, f"{name}_depthwise", (WIDE, 1, 3, 3), group=WIDE)
        self.nodes += [helper.make_node("GlobalAveragePool", [filtered], [f"{name}_squeeze"]),
                       helper.make_node("Sigmoid", [f"{name}_squeeze"], [f"{name}_excite"]),
                       helper.make_node("Mul", [filtered, f"{name}_excite"], [f"{name}_excited"])]
        return self.conv(f"{name}_excited", f"{name}_project", (NARROW, WIDE, 1, 1), active=False)

    def add(self, one, other, name):
        self.nodes.append(helper.make_node("Add", [one, other], [name]))
        return name


def network(activation):
    """Stem, two blocks of which the second has a residual, head: input (batch, 3, 8, 8)."""
    graph = Graph(activation)
    first = graph.block(graph.conv("input", "stem", (NARROW, 3, 3, 3)), "one")
    chain = graph.add(first, graph.block(first, "two"), "sum")
    head = graph.conv(chain, "head", (WIDE, NARROW, 1, 1))
    graph.nodes += [helper.make_node("GlobalAveragePool", [head], ["pooled"]),
                    helper.make_node("Flatten", ["pooled"], ["logits"])]
    return helper.make_model(helper.make_graph(
        graph.nodes, "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", WIDE])],
        [numpy_helper.from_array(np.asarray(value), name)
         for name, value in graph.constants.items()]),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model, seed=1):
    batch = np.random.default_rng(seed).standard_normal((4, 3, SIDE, SIDE)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    return session.run(None, {"input": batch})[0]


@pytest.mark.parametrize(("activation", "expected"), [
    # The tensors between the stem and the first expansion scale where ReLU lets a factor through.
    ("SiLU", [{"one_project", "two_project", "sum"}]),
    ("Clip", [{"one_project", "two_project", "sum"}]),
    ("Relu", [{"stem", "stem_a"}, {"one_expand", "one_expand_a"},
              {"one_project", "two_project", "sum"}, {"two_expand", "two_expand_a"}])])
def test_chains_are_what_a_factor_passes_through(activation, expected):
    assert [set(chain.tensors) for chain in chains_of(network(activation))] == expected


def test_a_residual_chain_has_all_its_producers_and_consumers():
    chain, = chains_of(network("SiLU"))
    assert chain.producers == ("one_project", "two_project")
    assert chain.consumers == ("two_expand", "head")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_stay_while_the_spread_rises_as_stated(activation):
    model = network(activation)
    before = model.SerializeToString()
    wanted = np.geomspace(0.01, 100, 15)
    twin = widened(model, [wanted], power=1)
    assert model.SerializeToString() == before, "the argument was changed"
    onnx.checker.check_model(twin, full_check=True)
    expected = run(model)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(run(twin), expected, atol=1e-4 * np.abs(expected).max())
    for chain in chains_of(model):
        assert profile(model, chain).max() < 5
        assert 20 < profile(twin, chain).max() < 100


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_profile_takes_on_the_wanted_one_in_its_own_order(power):
    model = network("SiLU")
    chain, = chains_of(model)
    own = profile(model, chain)
    wanted = np.array([0.5, 0.8, 1, 1, 1.2, 1.5, 2, 4])
    assert len(wanted) == len(own)
    found = profile(widened(model, [wanted], power), chain)
    assert (np.argsort(found) == np.argsort(own)).all()
    quantiles = np.quantile(np.log(wanted), (np.arange(8) + 0.5) / 8)
    expected = np.exp(power * quantiles)
    np.testing.assert_allclose(np.sort(found), expected / np.median(expected), rtol=1e-5)


def test_factors_of_one_change_nothing():
    model = network("SiLU")
    twin = rescale(model, chains_of(model), [np.ones(NARROW)])
    np.testing.assert_array_equal(run(twin), run(model))


def test_power_of_zero_makes_channels_equal():
    """That is cross-layer equalization of the producers: the same factors, the other way."""
    own = np.array([0.1, 1.0, 7.0])
    np.testing.assert_allclose(own * factors(own, np.array([0.5, 1, 9]), 0), 1)


def test_dead_channel_stays_dead_and_finite():
    model = network("SiLU")
    for tensor in model.graph.initializer:
        if tensor.name.endswith("project_w"):
            values = numpy_helper.to_array(tensor).copy()
            values[3] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    twin = widened(model, [np.geomspace(0.1, 10, NARROW)], 1)
    expected = run(model)
    np.testing.assert_allclose(run(twin), expected, atol=1e-4 * np.abs(expected).max())
