"""Which weights can't be rounded per tensor: one kind of layer at a time, all else in float.

    python -m benchmarks.weight_kinds NAME [--run FOLDER]

Of each kind: the accuracy where these layers alone are rounded, and where all others are. Of a
network that starts from EfficientNet-Lite0's, Lite1's or Lite2's published weights, also which
filter of the first convolution is the widest now, and how it came to be. Raw data goes to
docs/weight_kinds.json, the tables to docs/collapse.md.
"""

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from benchmarks.finished_run import Run, heading, measure_named, told_by_name
from benchmarks.markdown import markdown_table
from stages.analysis.rounding import channel_spread, round_weights
from stages.config.stage import run_stage
from stages.model.build import build_model
from stages.model.checkpoint import CHECKPOINT_FILE, load_checkpoint
from stages.model.weights import PACKAGED
from stages.onnx_graph.attributes import attributes
from stages.onnx_graph.layers import weighted_layers, weights_of, with_weights

RAW, PAGE = Path("docs/weight_kinds.json"), Path("docs/collapse.md")


def kinds_of(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of the weights of `model` by kind of layer, in the order of the graph."""
    weights, kinds = weights_of(model), defaultdict(list)
    for node, name in weighted_layers(model):
        kinds["stem" if not kinds else _kind(node, weights[name])].append(name)
    return kinds


def _kind(node: onnx.NodeProto, weights: np.ndarray) -> str:
    if node.op_type == "Gemm":
        return "fully connected"
    groups = attributes(node).get("group", 1)
    if groups == len(weights) > 1:
        return "depthwise"
    return "pointwise" if weights[0, 0].size == 1 and groups == 1 else "other convolutions"


def with_rounded(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """A copy of `model` whose weights `names` are rounded per tensor; it computes in float."""
    weights = weights_of(model)
    return with_weights(model, {name: round_weights(weights[name], per_channel=False)
                                for name in names})


def measure(run: Run) -> dict[str, Any]:
    """Accuracy by which layers are rounded, with the widest channel over the median one."""
    model = onnx.load(run.source)
    weights, kinds = weights_of(model), kinds_of(model)

    def accuracy(names: Collection[str]) -> float:
        return run.accuracy(run.logits(with_rounded(model, names)))

    return {**run.facts(), "float_accuracy": accuracy([]), "all": accuracy(weights),
            "kinds": {kind: {"layers": len(names),
                             "widest_channel_spread": max(channel_spread(weights[name])
                                                          for name in names),
                             "alone": accuracy(names),
                             "others": accuracy(weights.keys() - names)}
                      for kind, names in kinds.items()},
            "stem": measure_stem(run)}


@torch.no_grad()
def widest_filter(trained: torch.nn.Module, published: torch.nn.Module) -> dict[str, float]:
    """The first convolution's filter whose folded weights are the widest after training.

    Args:
        trained, published: networks of timm with a convolution `conv_stem`, weight
            (channels, 3, H, W), and its batch norm `bn1`.

    Returns:
        its `channel`; the variance that batch norm divides its output by, over the published one,
        and the same for the median channel; what is left of the published filter's norm where all
        three colours are the same (`grey`) and where all pixels are (`flat`); and the widest
        channel over the median one, published and trained.
    """
    spread = {}
    for when, network in (("published", published), ("trained", trained)):
        norm = network.bn1
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        largest = (network.conv_stem.weight * factor[:, None, None, None]).abs().amax((1, 2, 3))
        spread[when] = (largest / float(np.median(largest))).numpy()
    channel = int(spread["trained"].argmax())
    variance = ((trained.bn1.running_var + trained.bn1.eps)
                / (published.bn1.running_var + published.bn1.eps))
    weights = published.conv_stem.weight[channel]
    return {"channel": channel, "variance": float(variance[channel]),
            "variance_of_median": float(np.median(variance)),
            "grey": float(weights.mean(0).norm() * 3 ** 0.5 / weights.norm()),
            "flat": float(weights.mean((1, 2)).norm() * weights[0].numel() ** 0.5
                          / weights.norm()),
            "widest_published": float(spread["published"].max()),
            "widest_trained": float(spread["trained"].max())}


def measure_stem(run: Run) -> dict[str, float] | None:
    """`widest_filter` of the run, if it began with published weights."""
    if run.params.name not in PACKAGED or run.params.weights != "imagenet":
        return None
    trained, classes = load_checkpoint(run.source.with_name(CHECKPOINT_FILE.name), run.params)
    return widest_filter(trained, build_model(run.params, len(classes)))


def table(name: str, record: dict[str, Any]) -> str:
    """One model's table in Markdown."""
    rows = [(kind, row["layers"], f"{row['widest_channel_spread']:.1f}×",
             f"{100 * row['alone']:.1f} %", f"{100 * row['others']:.1f} %")
            for kind, row in record["kinds"].items()]
    columns = ("layers", "number", "widest channel", "these alone rounded", "all others rounded")
    return (f"{heading(name, record)} All weights rounded: {100 * record['all']:.1f} %.\n\n"
            f"{markdown_table(columns, rows)}")


def stem_table(content: dict[str, dict[str, Any]]) -> str:
    """The stem's widest filter of every model that has one, in Markdown."""
    return markdown_table(
        ("stem of", "widest filter, published", "trained", "its variance, of the published one",
         "that of the median filter", "what a grey picture leaves of it", "a flat one"),
        [(name, f"{stem['widest_published']:.1f}×", f"{stem['widest_trained']:.1f}×",
          f"{100 * stem['variance']:.1f} %", f"{100 * stem['variance_of_median']:.0f} %",
          f"{100 * stem['grey']:.0f} %", f"{100 * stem['flat']:.1f} %")
         for name, record in content.items() if (stem := record["stem"])])


def told(content: dict[str, dict[str, Any]]) -> str:
    """The page's block: a table for each model, and one of their stems."""
    return f"{told_by_name(table, content)}\n\n{stem_table(content)}"


def main() -> None:
    measure_named(__doc__, RAW, PAGE, "weight kinds", measure, told)


if __name__ == "__main__":
    run_stage(main)
