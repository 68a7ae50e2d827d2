"""Quantization-aware fine-tuning of a QDQ graph, by PyTorch's fake quantization.

The statically quantized graph is run in PyTorch as it is written, rounding where it rounds;
gradients pass straight through. Weights and biases learn to give the float model's logits, in the
least squares; ranges stay as calibrated, and the tuned weights go back into the same graph.
Sources: B. Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, 2018; J. Ba and R. Caruana, Do Deep Nets Really Need to be Deep?,
2014 (logits as targets).
"""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization.quant_utils import get_qmin_qmax_for_qType
from torch import nn

from stages.config.errors import UserError
from stages.config.schema import Model, QatRecipe
from stages.model.preprocess import preprocess
from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.layers import BY_OUTPUT, arrays_of
from stages.quantization.ranges import ACTIVATION_LEVELS
from stages.quantization.stored_weights import stored_weights
from stages.quantization.torch_operators import OPERATORS

log = logging.getLogger(__name__)

LR_FLOOR = 0.1  # of the recipe's, at the last step
MARGIN = 0.05   # steps that a weight starts within the values that round alike, at least

Teacher = Callable[[np.ndarray], np.ndarray]


class QdqNetwork(nn.Module):
    """A QDQ graph as a PyTorch module from float32 (B, 3, S, S) to logits.

    Args:
        quantized: the QDQ graph, as ONNX Runtime's quantizer writes it, without what is
            `not_tunable`.
        source: the float graph that it was made of, for the weights before rounding, which may
            have been to the nearest or adaptive.
        reduce_range: weights were quantized to 7 bits, and stay within them.
    """

    def __init__(self, quantized: onnx.ModelProto, source: onnx.ModelProto, *,
                 reduce_range: bool) -> None:
        super().__init__()
        self.reduce_range = reduce_range
        self.nodes = list(quantized.graph.node)
        self.input = quantized.graph.input[0].name
        self.output = quantized.graph.output[0].name
        self.constants = {name: torch.from_numpy(array.copy())
                          for name, array in arrays_of(quantized).items()}
        self.stored = stored_weights(quantized)
        self.origins = {stored.name: name for name, stored in self.stored.items()}
        floats = arrays_of(source)
        self.units = self._units()
        learned = {name: self.constants[name] for name in self.units if name in self.constants}
        for node in self.nodes:
            if self._is_learned(node):
                name = self.origins[node.input[0]]
                learned[name] = self._start(node, floats.get(name))
        # A parameter's name may hold no dot.
        self.names = {name: f"p{index}" for index, name in enumerate(sorted(learned))}
        for name, attribute in self.names.items():
            self.register_parameter(attribute, nn.Parameter(
                (learned[name] / self.units[name]).float()))

    def _units(self) -> dict[str, torch.Tensor]:
        """What a parameter, by its name, is counted in, so that one learning rate suits all.

        For a weight that is its quantization step; for a bias, what a step of a weight can change.
        """
        made_by = {node.output[0]: node for node in self.nodes}
        units = {}
        for node in self.nodes:
            if node.op_type in BY_OUTPUT:
                picture, weight = (made_by[name] for name in node.input[:2])
                step, _ = self._steps(weight)
                units[self.origins[weight.input[0]]] = step
                if len(node.input) > 2:
                    bias = made_by.get(node.input[2])
                    name = self.origins[bias.input[0]] if bias else node.input[2]
                    scale = self.constants[picture.input[1]].double()
                    units[name] = (ACTIVATION_LEVELS - 1) * scale * step.flatten()
        return units

    def _is_learned(self, node: onnx.NodeProto) -> bool:
        """Whether `node` reads a stored weight or bias of a layer, not another constant."""
        return (node.op_type == "DequantizeLinear"
                and self.origins.get(node.input[0]) in self.units)

    def _start(self, node: onnx.NodeProto, before: np.ndarray | None) -> torch.Tensor:
        """What to learn a stored constant from: its weight `before` it was rounded, moved no
        further than that it rounds to what is stored; a bias has 32 bits and starts as it is.
        """
        stored = self._dequantized(node)
        if before is None or self.constants[node.input[0]].dtype == torch.int32:
            return stored
        step, _ = self._steps(node)
        room = (0.5 - MARGIN) * step
        return torch.clamp(torch.from_numpy(before.astype(np.float64)), stored - room,
                           stored + room)

    def parameter(self, name: str) -> torch.Tensor:
        """The weight or bias `name` as it stands, float32."""
        return getattr(self, self.names[name]) * self.units[name].float()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        values: dict[str, torch.Tensor] = {self.input: batch}

        def value(name: str) -> torch.Tensor:
            if name in values:
                return values[name]
            return self.parameter(name) if name in self.names else self.constants[name]

        for node in self.nodes:
            values[node.output[0]] = self.run_node(node, value)
        return values[self.output]

    def run_node(self, node: onnx.NodeProto, value: Callable[[str], torch.Tensor]
                 ) -> torch.Tensor:
        """The output of `node`, whose inputs `value` gives by name."""
        if node.op_type == "DequantizeLinear":
            if self._is_learned(node):
                return self._rounded_parameter(node)
            return (self._dequantized(node).float() if node.input[0] in self.constants
                    else value(node.input[0]))
        if node.op_type == "QuantizeLinear":
            scale, zero_point = (self.constants[name] for name in node.input[1:])
            limits = np.iinfo(zero_point.numpy().dtype)
            return torch.fake_quantize_per_tensor_affine(
                value(node.input[0]), scale.item(), int(zero_point), limits.min, limits.max)
        return OPERATORS[node.op_type]([value(name) if name else None for name in node.input],
                                       attributes(node))

    def _rounded_parameter(self, node: onnx.NodeProto) -> torch.Tensor:
        parameter = self.parameter(self.origins[node.input[0]])
        if self.constants[node.input[0]].dtype == torch.int32:
            return parameter
        parameter = parameter.contiguous(memory_format=torch.channels_last
                                         if parameter.dim() == 4 else torch.contiguous_format)
        scale, zero_point = (self.constants[name] for name in node.input[1:])
        low, high = self._weight_limits(self.constants[node.input[0]].numpy())
        if scale.numel() == 1:
            return torch.fake_quantize_per_tensor_affine(parameter, scale.item(), int(zero_point),
                                                         low, high)
        return torch.fake_quantize_per_channel_affine(
            parameter, scale, zero_point.int(), attributes(node).get("axis", 1), low, high)

    def write_to(self, quantized: onnx.ModelProto) -> None:
        """Put the weights and biases, rounded, into the graph that this network was made of."""
        made = {}
        for node in self.nodes:
            if self._is_learned(node):
                made[node.input[0]] = self._as_integers(node)
        for name in self.names:
            if name in self.constants:
                made[name] = self.parameter(name).detach().numpy()
        for tensor in quantized.graph.initializer:
            if tensor.name in made:
                tensor.CopyFrom(numpy_helper.from_array(
                    np.ascontiguousarray(made[tensor.name]), tensor.name))

    def _steps(self, node: onnx.NodeProto) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point of a DequantizeLinear, float64, shaped to fit what it takes."""
        stored = self.stored[self.origins[node.input[0]]]
        return tuple(torch.tensor(values, dtype=torch.float64)
                     for values in (stored.scale, stored.zero_point))

    def _dequantized(self, node: onnx.NodeProto) -> torch.Tensor:
        scale, zero_point = self._steps(node)
        return (self.constants[node.input[0]] - zero_point) * scale

    def _weight_limits(self, stored: np.ndarray) -> tuple[int, int]:
        """The least and the largest integer that a weight may be: those of its type, and those that
        are stored, since unsigned weights per channel have 128 among their 7 bits.
        """
        kind = onnx.helper.np_dtype_to_tensor_dtype(stored.dtype)
        low, high = get_qmin_qmax_for_qType(kind, reduce_range=self.reduce_range)
        return min(int(low), int(stored.min())), max(int(high), int(stored.max()))

    def _as_integers(self, node: onnx.NodeProto) -> np.ndarray:
        name, old = node.input[0], self.constants[node.input[0]].numpy()
        value = self.parameter(self.origins[name]).detach().double().numpy()
        scale, zero_point = (tensor.numpy() for tensor in self._steps(node))
        limits = np.iinfo(np.int32)
        low, high = ((limits.min, limits.max) if old.dtype == np.int32
                     else self._weight_limits(old))
        return np.clip(np.rint(value / scale) + zero_point, low, high).astype(old.dtype)


def random_batches(pictures: np.ndarray, positions: np.ndarray, recipe: QatRecipe
                   ) -> Iterator[np.ndarray]:
    """`recipe.steps` batches of uint8 (B, H, W, 3), drawn from `positions` of `pictures`."""
    rng = np.random.default_rng(recipe.seed)
    for _ in range(recipe.steps):
        chosen = rng.choice(positions, min(recipe.batch_size, len(positions)), replace=False)
        yield pictures[np.sort(chosen)]


def fine_tune(quantized: onnx.ModelProto, source: onnx.ModelProto, teacher: Teacher,
              batches: Iterator[np.ndarray], recipe: QatRecipe, model: Model, *,
              reduce_range: bool) -> list[float]:
    """Fine-tune the QDQ graph `quantized` in place on the logits of `teacher`.

    Args:
        quantized: of operators that can be fine-tuned, for which callers ask `not_tunable`.
        source: the float graph.
        teacher: from float32 (B, 3, S, S) to the float model's logits.
        batches: uint8 pictures (B, H, W, 3); labels are not needed.
        reduce_range: as `quantized` was made.

    Returns:
        The loss by step: the logits' noise, a ratio of powers.

    Raises:
        UserError: a loss that is not finite.
    """
    network = QdqNetwork(quantized, source, reduce_range=reduce_range)
    optimizer = torch.optim.Adam(network.parameters(), recipe.lr)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, LR_FLOOR, recipe.steps)
    losses = []
    for pictures in batches:
        batch = preprocess(torch.from_numpy(pictures), model.image_size, model.mean, model.std)
        wanted = torch.from_numpy(teacher(batch.contiguous().numpy()))
        loss = (network(batch) - wanted).square().mean() / wanted.square().mean()
        if not torch.isfinite(loss):
            raise UserError(f"qat: loss is {loss.item()} at step {len(losses) + 1}; lower qat.lr")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    network.write_to(quantized)
    return losses
