"""How each peer makes its model of one of ours; run by name, each in a process of its own.

    python -m benchmarks.peers.quantizers PEER FOLDER

Everything is left at the toolkit's own settings, but for kind tuned, and that all calibration
pictures are used.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from stages.config.schema import REFERENCE
from stages.quantization.calibration import FeedReader

# In the folder that is handed over, beside the models to start from, each as <name>.onnx: the
# calibration input, float32 (n, 3, S, S), preprocessed.
CALIBRATION = "calibration.npy"
BATCH = 16


def _input_name(source: Path) -> str:
    return onnx.load(source).graph.input[0].name


def _reader(source: Path, inputs: np.ndarray) -> FeedReader:
    name = _input_name(source)
    return FeedReader({name: inputs[start:start + BATCH]}
                      for start in range(0, len(inputs), BATCH))


def _preprocessed(source: Path) -> Path:
    prepared = source.with_name("preprocessed.onnx")
    quant_pre_process(source, prepared)
    return prepared


def ort_static(source: Path, inputs: np.ndarray, target: Path) -> None:
    """ONNX Runtime's static quantization."""
    quantize_static(source, target, _reader(source, inputs))


def ort_static_preprocessed(source: Path, inputs: np.ndarray, target: Path) -> None:
    """The same, after the preparation that ONNX Runtime advises."""
    ort_static(_preprocessed(source), inputs, target)


def ort_static_tuned(source: Path, inputs: np.ndarray, target: Path, reduce_range: bool = False
                     ) -> None:
    """The same with the types and scales of int8_static: what settings alone do.

    Args:
        reduce_range: to 7 bits for weights, for CPUs without VNNI.
    """
    quantize_static(_preprocessed(source), target, _reader(source, inputs),
                    per_channel=True, activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8, reduce_range=reduce_range)


def nncf_ort(source: Path, inputs: np.ndarray, target: Path) -> None:
    """NNCF on the ONNX graph, for ONNX Runtime."""
    import nncf

    name = _input_name(source)
    pictures = nncf.Dataset(inputs, lambda picture: {name: picture[np.newaxis]})
    onnx.save(nncf.quantize(onnx.load(source), pictures, subset_size=len(inputs)), target)


def nncf_openvino(source: Path, inputs: np.ndarray, target: Path,
                  reduce_range: bool = False) -> None:
    """NNCF on OpenVINO's graph.

    Args:
        reduce_range: to 7 bits for all weights, for CPUs without VNNI.
    """
    import nncf
    import openvino

    pictures = nncf.Dataset(inputs, lambda picture: picture[np.newaxis])
    settings = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE) if reduce_range else None
    openvino.save_model(nncf.quantize(openvino.convert_model(source), pictures,
                                      subset_size=len(inputs), advanced_parameters=settings),
                        target)


def openvino_default(source: Path, inputs: np.ndarray, target: Path) -> None:
    """OpenVINO's own file of the float model; its weights are stored as float16."""
    import openvino

    openvino.save_model(openvino.convert_model(source), target)


def openvino_unchanged(source: Path, inputs: np.ndarray, target: Path) -> None:
    """OpenVINO's file with the weights as they are: float32, or an INT8 model's integers."""
    import openvino

    openvino.save_model(openvino.convert_model(source), target, compress_to_fp16=False)


@dataclass(frozen=True)
class Peer:
    """A toolkit's model.

    write: makes it of the float model and the calibration inputs.
    suffix: .onnx is run by ONNX Runtime, .xml by OpenVINO.
    kind: peer (INT8 as it comes), tuned (INT8 with settings that one has to know), float, or ours.
    source: the model that it starts from.
    properties: of OpenVINO's, by which it is compiled.
    """

    write: Callable[[Path, np.ndarray, Path], None]
    suffix: str
    kind: str
    source: str = REFERENCE
    properties: dict[str, str] = field(default_factory=dict)


PEERS = {
    "int8_static_openvino": Peer(openvino_unchanged, ".xml", "ours", source="int8_static"),
    "ort_static": Peer(ort_static, ".onnx", "peer"),
    "ort_static_preprocessed": Peer(ort_static_preprocessed, ".onnx", "peer"),
    "ort_static_tuned": Peer(ort_static_tuned, ".onnx", "tuned"),
    "ort_static_reduced": Peer(partial(ort_static_tuned, reduce_range=True), ".onnx", "tuned"),
    "nncf_ort": Peer(nncf_ort, ".onnx", "peer"),
    "nncf_openvino": Peer(nncf_openvino, ".xml", "peer"),
    "nncf_openvino_reduced": Peer(partial(nncf_openvino, reduce_range=True), ".xml", "tuned"),
    "openvino_fp32": Peer(openvino_unchanged, ".xml", "float",
                          properties={"INFERENCE_PRECISION_HINT": "f32"}),
    "openvino_default": Peer(openvino_default, ".xml", "float"),
}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    peer = PEERS[name]
    peer.write(folder / f"{peer.source}.onnx", np.load(folder / CALIBRATION, mmap_mode="r"),
               folder / f"{name}{peer.suffix}")


if __name__ == "__main__":
    main()
