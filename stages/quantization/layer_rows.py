"""A layer as a product of matrices: rows of its input, and the rows of its output they make.

Of each picture some places of the output are drawn; a row of a convolution's input is the patch
that makes one place. Places depend on layer and batch alone, so that two models that run the same
pictures are looked at in the same places.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view

from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.layers import arrays_of, matmul_layers, weighted_layers
from stages.onnx_graph.probe import open_probed

# From nothing to the calibration pictures, batch by batch, by the name of the model's input.
FeedSource = Callable[[], Iterator[dict[str, np.ndarray]]]

SEED = 0
ROWS = 4096           # of a layer, over all pictures
INPUT_VALUES = 2**24  # that they may hold: layers with large patches get fewer


@dataclass(frozen=True)
class MatrixLayer:
    """A convolution or fully connected layer of the float graph, a Gemm or a MatMul.

    name: of its weight; shape: of its weight, outputs first, then inputs of a group.
    """

    number: int
    node: onnx.NodeProto
    name: str
    shape: tuple[int, ...]

    def attribute(self, name: str, default: Sequence[int] | int) -> np.ndarray:
        """An attribute of whole numbers."""
        return np.array(attributes(self.node).get(name, default))

    @property
    def groups(self) -> int:
        """Of channels that are apart from each other."""
        return int(self.attribute("group", 1))

    def outputs_first(self, weight: np.ndarray) -> np.ndarray:
        """The weight, or what fits it, in `shape`: a MatMul's has its inputs first."""
        if self.node.op_type == "MatMul":
            return np.broadcast_to(weight, self.shape[::-1]).T
        return np.broadcast_to(weight, self.shape)

    def as_stored(self, weight: np.ndarray) -> np.ndarray:
        """A weight of `shape` as the graph has it."""
        return weight.T if self.node.op_type == "MatMul" else weight

    def output_rows(self, values: np.ndarray, places: "Places") -> np.ndarray:
        """(rows, outputs) of the output, (..., outputs) or (B, outputs, H, W)."""
        if self.node.op_type != "Conv":
            return places.some_rows(self, values)
        rows, columns = places.draw(self, values.shape[2:], len(values))
        picture = np.arange(len(values))[:, None]
        return values[picture, :, rows, columns].reshape(-1, values.shape[1])

    def input_rows(self, values: np.ndarray, places: "Places") -> np.ndarray:
        """(rows, inputs, ...) of the input, (..., inputs) or (B, inputs, H, W)."""
        if self.node.op_type != "Conv":
            return places.some_rows(self, values)
        kernel = np.array(self.shape[2:])
        strides, dilations = self.attribute("strides", (1, 1)), self.attribute("dilations", (1, 1))
        top, left, bottom, right = self.attribute("pads", (0, 0, 0, 0))
        padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
        patches = sliding_window_view(padded, dilations * (kernel - 1) + 1, axis=(2, 3))[
            :, :, ::strides[0], ::strides[1], ::dilations[0], ::dilations[1]]
        rows, columns = places.draw(self, patches.shape[2:4], len(values))
        picture = np.arange(len(values))[:, None]
        return patches[picture, :, rows, columns].reshape(-1, values.shape[1], *kernel)


@dataclass(frozen=True)
class Places:
    """Where the outputs of one batch are looked at; pictures: of all batches.

    share: of all pictures, that are in this batch.
    """

    batch: int
    pictures: int
    share: float

    def draw(self, layer: MatrixLayer, sides: Sequence[int], count: int
             ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of an output of `sides`, each (count, places of a picture)."""
        inputs = int(np.prod(layer.shape[1:])) * layer.groups
        each = max(1, min(ROWS, INPUT_VALUES // inputs) // self.pictures)
        rng = np.random.default_rng([SEED, layer.number, self.batch])
        return tuple(rng.integers(0, side, (count, each)) for side in sides)

    def some_rows(self, layer: MatrixLayer, values: np.ndarray) -> np.ndarray:
        """The rows of a fully connected layer's (..., features), or some where there are many."""
        rows, most = values.reshape(-1, values.shape[-1]), ROWS * self.share
        if len(rows) <= most:
            return rows
        rng = np.random.default_rng([SEED, layer.number, self.batch])
        return rows[np.sort(rng.choice(len(rows), max(1, int(most)), replace=False))]


def layers_to_round(source: onnx.ModelProto, stored: set[str]) -> list[MatrixLayer]:
    """The layers of the float graph, in its order, whose weights are among `stored`.

    Layers that share their weights are left out: what suits the one need not suit the other.
    """
    weights, place = arrays_of(source), {node.output[0]: number for number, node
                                         in enumerate(source.graph.node)}
    found = sorted([*weighted_layers(source), *matmul_layers(source)],
                   key=lambda layer: place[layer[0].output[0]])
    layers = [MatrixLayer(number, node, name, _outputs_first(node, weights[name].shape))
              for number, (node, name) in enumerate(found)]
    uses = Counter(name for _, name in found)
    return [layer for layer in layers
            if layer.name in stored and _is_plain(layer) and uses[layer.name] == 1]


def _outputs_first(node: onnx.NodeProto, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1] if node.op_type == "MatMul" else shape


def _is_plain(layer: MatrixLayer) -> bool:
    """Whether a layer is fully connected, or a convolution over height and width: inputs times
    weights plus bias, with padding as numbers.
    """
    node = layer.node
    plain = {"Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0}, "MatMul": {},
             "Conv": {"auto_pad": b"NOTSET"}}[node.op_type]
    found = attributes(node)
    return (all(found.get(name, value) == value for name, value in plain.items())
            and (node.op_type != "Conv" or len(layer.shape) == 4))


def rows_of_outputs(model: onnx.ModelProto, layers: Sequence[MatrixLayer], feeds: FeedSource,
                    pictures: int) -> dict[int, np.ndarray]:
    """What the float model's `layers` put out, by number; `feeds` gives so many `pictures`."""
    found: dict[int, list[np.ndarray]] = {layer.number: [] for layer in layers}
    for places, values in _run(model, [layer.node.output[0] for layer in layers], feeds, pictures):
        for layer in layers:
            found[layer.number].append(layer.output_rows(values[layer.node.output[0]], places))
    return {number: np.concatenate(parts) for number, parts in found.items()}


def rows_of_input(model: onnx.ModelProto, layer: MatrixLayer, name: str, feeds: FeedSource,
                  pictures: int, **more: Any) -> np.ndarray:
    """What goes into `layer`: the tensor `name` of `model`, a quantized one.

    Args:
        more: options of the session that it runs in, by name.
    """
    return np.concatenate([layer.input_rows(values[name], places)
                           for places, values in _run(model, [name], feeds, pictures, **more)])


def _run(model: onnx.ModelProto, names: Sequence[str], feeds: FeedSource, pictures: int,
         **more: Any) -> Iterator[tuple[Places, dict[str, np.ndarray]]]:
    """The tensors `names` batch by batch."""
    session = open_probed(model, names, **more)
    for batch, feed in enumerate(feeds()):
        share = sum(map(len, feed.values())) / pictures
        yield (Places(batch, pictures, share),
               dict(zip(names, session.run(list(names), feed), strict=True)))
