"""What the raw data says: ratios by round, the best peer, and the tables in Markdown."""

from typing import Any

import numpy as np

from benchmarks.markdown import markdown_table
from benchmarks.raw_data import cpu_and_threads, told_each
from benchmarks.rounds import ratio, ratio_cell
from stages.config.schema import REFERENCE
from stages.reporting.tables import drop, points

# Keys of a model's raw data: milliseconds of each round, for one picture and for a batch.
SINGLE, SEVERAL = "single_ms", "batch_ms"
BATCH_SIZE = 16
HEADLINES = {"int8_static": "by ONNX Runtime", "int8_static_openvino": "by OpenVINO"}
COLUMNS = ("model", "run by", "accuracy (95 %)", "drop, pp (95 %)", "size",
           "one picture: p50 / p90", f"batch of {BATCH_SIZE}",
           f"against {REFERENCE}: one picture", "batch")

Run = dict[str, Any]


def best_peer(models: dict[str, dict[str, Any]], series: str) -> str | None:
    """The INT8 model with the least median time of a peer as it comes; None when all failed."""
    times = {name: np.median(each[series]) for name, each in models.items()
             if each["kind"] == "peer" and "failed" not in each}
    return min(times, key=times.get, default=None)


def comparison(name: str, models: dict[str, dict[str, Any]]) -> str:
    """One sentence: how our model `name` stands to the fastest INT8 model of a peer as it comes."""
    parts = []
    for series, what in ((SINGLE, "with one picture"), (SEVERAL, f"in batches of {BATCH_SIZE}")):
        peer = best_peer(models, series)
        if peer is None:
            return f"{name}: no peer's INT8 model to compare with."
        median, low, high = ratio(models[peer][series], models[name][series])
        parts.append(f"{what} {median:.2f} times as fast as {peer} ({low:.2f} to {high:.2f})")
    return f"{name}, against the fastest INT8 model of a peer as it comes: {', '.join(parts)}."


def title(run: Run) -> str:
    """What is compared, and where: runs of the same title replace one another."""
    speed = "" if run["trained"] else ", speed alone"
    swapped = "" if run["activation"] == "keep" else f" with {run['activation']}"
    return (f"{run['model']}{swapped} at {run['image_size']} px, {run['dataset']}{speed}; "
            f"{cpu_and_threads(run['system'])}")


def page_of(runs: dict[str, Run]) -> str:
    """How fast `int8_static` is beside the fastest peer in each of `runs`, then their tables."""
    columns = ["speed of int8_static over that of the fastest peer"] + [
        f"{by}: {what}" for by in HEADLINES.values()
        for what in ("one picture", f"batch of {BATCH_SIZE}")]
    rows = ((title(run), *(_over_best_peer(name, run["models"], series)
                           for name in HEADLINES for series in (SINGLE, SEVERAL)))
            for run in runs.values())
    return f"{markdown_table(columns, rows)}\n\n{told_each(section, runs)}"


def _over_best_peer(name: str, models: dict[str, dict[str, Any]], series: str) -> str:
    model, peer = models.get(name), best_peer(models, series)
    if model is None or "failed" in model or peer is None:
        return ""
    return f"{ratio_cell(models[peer][series], model[series])}, {peer}"


def section(run: Run) -> str:
    """The table of one run, with what it was measured on above and the comparison below."""
    models = run["models"]
    versions = ", ".join(f"{name} {version}" for name, version in run["packages"].items())
    what = f"{run['test_images']:,} test pictures" if run["trained"] else \
        f"Not trained on these pictures (weights: {run['weights']})"
    rows = (_row(name, model, models[REFERENCE]) for name, model in models.items())
    sentences = "\n".join(f"- {comparison(name, models)}" for name, model in models.items()
                          if model["kind"] == "ours" and "failed" not in model)
    return (f"### {title(run)}\n\n{what}; {run['calibration_images']:,} calibration pictures; "
            f"{run['rounds']} rounds; {versions}.\n\n"
            f"{markdown_table(COLUMNS, rows)}\n\n{sentences}")


def _row(name: str, model: dict[str, Any], reference: dict[str, Any]) -> tuple[str, ...]:
    if "failed" in model:
        return name, f"failed: {model['failed'].replace('|', '/')}", *[""] * (len(COLUMNS) - 2)
    label = f"**{name}**" if model["kind"] == "ours" else name
    if "weight_bits" in model:  # which older records lack
        label += f", {model['weight_bits']} bits"
    single, several = model[SINGLE], model[SEVERAL]
    return (label, model["run_by"], *_accuracy(name, model), f"{model['size_mb']:.2f} MB",
            f"{np.median(single):.2f} / {np.percentile(single, 90):.2f} ms",
            f"{1e3 * BATCH_SIZE / np.median(several):.0f} images/s",
            *(ratio_cell(reference[series], model[series]) for series in (SINGLE, SEVERAL)))


def _accuracy(name: str, model: dict[str, Any]) -> tuple[str, str]:
    """Accuracy and drop; both empty for a model that was not trained."""
    if "accuracy" not in model:
        return "", ""
    low, high = (100 * model[f"accuracy_ci95_{end}"] for end in ("low", "high"))
    older = "accuracy_drop_pp_ci95_low" not in model  # records without intervals of drops
    lost = points(model["accuracy_drop_pp"]) if older else drop(model, name)
    return f"{100 * model['accuracy']:.2f} % ({low:.2f} to {high:.2f})", lost
