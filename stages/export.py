"""Stage export: the checkpoint as ONNX, held to PyTorch's logits on the validation pictures."""

import logging
from pathlib import Path

import onnx

from stages.config.errors import UserError
from stages.config.params import load_params
from stages.config.stage import run_stage
from stages.data.dataset import load_dataset
from stages.files.atomic import replacing, write_json
from stages.inference.predictor import load_onnx, predict
from stages.inference.torch_predictor import torch_predictor
from stages.model.checkpoint import CHECKPOINT_FILE, load_checkpoint
from stages.onnx_graph.census import operator_counts
from stages.onnx_graph.cost import multiply_accumulates
from stages.onnx_graph.export import agrees, export_onnx, parity
from stages.onnx_graph.names import FLOAT_FILE

log = logging.getLogger(__name__)

METRICS_FILE = Path("metrics/export.json")


def main() -> None:
    params = load_params("model", "export")
    dataset = load_dataset()
    pictures = dataset.view("validation")
    model, classes = load_checkpoint(CHECKPOINT_FILE, params.model, dataset.classes)
    proto = export_onnx(model, params.model, classes, params.export.opset)
    with replacing(FLOAT_FILE) as partial:
        onnx.save(proto, partial)
        result = parity(*(predict(predictor, pictures, params.model) for predictor in (
            torch_predictor(model), load_onnx(partial))))
        if not agrees(result, params.export.max_abs_diff):
            raise UserError(f"export: logits differ from PyTorch's by {result['max_abs_diff']:.2g}"
                            f" (export.max_abs_diff is {params.export.max_abs_diff}); "
                            f"{result['argmax_agreement']:.2%} of the classes agree")
    write_json(METRICS_FILE, {"opset": params.export.opset, **result,
                              "size_mb": FLOAT_FILE.stat().st_size / 1e6,
                              "macs": sum(multiply_accumulates(proto).values()),
                              "operators": operator_counts(proto)})
    log.info("opset %d: logits differ by at most %.2g on %d pictures", params.export.opset,
             result["max_abs_diff"], result["images"])


if __name__ == "__main__":
    run_stage(main, __doc__)
