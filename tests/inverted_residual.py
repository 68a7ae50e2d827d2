"""A small network of inverted residuals with squeeze-excitation, made without PyTorch."""

import numpy as np
import onnx
from onnx import helper
from run_onnx import model_of

NARROW, WIDE, SIDE = 8, 24, 8


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


def network(activation: str) -> onnx.ModelProto:
    """Stem, two blocks of which the second has a residual, head: input (batch, 3, 8, 8)."""
    graph = Graph(activation)
    first = graph.block(graph.conv("input", "stem", (NARROW, 3, 3, 3)), "one")
    chain = graph.add(first, graph.block(first, "two"), "sum")
    head = graph.conv(chain, "head", (WIDE, NARROW, 1, 1))
    graph.nodes += [helper.make_node("GlobalAveragePool", [head], ["pooled"]),
                    helper.make_node("Flatten", ["pooled"], ["logits"])]
    return model_of(graph.nodes, {"input": ["batch", 3, SIDE, SIDE]}, {"logits": ["batch", WIDE]},
                    graph.constants)
