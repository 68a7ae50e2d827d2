"""Stage report: the summary with the selected model, and the figures, from what stages wrote."""

import logging
from pathlib import Path

import pandas as pd

from stages.config.params import load_params
from stages.config.schema import REFERENCE
from stages.config.stage import run_stage
from stages.files.atomic import write_csv, write_json
from stages.files.reading import read_csv, read_json
from stages.inference.session import is_onnx
from stages.reporting import figures
from stages.reporting.summary import comparisons, read_confusion, select, summarize

log = logging.getLogger(__name__)

METRICS, PLOTS = Path("metrics"), Path("plots")
HISTORY = METRICS / "training"


def read_history() -> pd.DataFrame:
    """The series that train wrote through DVCLive, by epoch from 1."""
    columns = {f"{split}.{name}": read_csv(
        HISTORY / "plots" / "metrics" / split / f"{name}.tsv", sep="\t")[name]
        for split in ("train", "val") for name in ("loss", "accuracy")}
    history = pd.DataFrame(columns)
    history.index += 1
    return history


def main() -> None:
    params = load_params("model", "quantize.max_drop_pp", "variants")
    evaluations = {name: read_json(METRICS / "evaluate" / f"{name}.json")
                   for name in params.variants}
    predictions = {name: read_csv(Path(f"data/predictions/{name}.csv"))
                   for name in params.variants}
    benchmark = read_json(METRICS / "benchmark.json")
    against = comparisons(predictions)
    variants = summarize(evaluations, benchmark["variants"], predictions)
    candidates = {name: row for name, row in variants.items()
                  if name != REFERENCE and is_onnx(params.variants[name])}
    selected = select(candidates, against, params.quantize.max_drop_pp)
    shown = dict.fromkeys([REFERENCE, selected["variant"], "int8_dynamic"])
    confused = {name: read_confusion(name) for name in shown if name in params.variants}
    runs, history = read_csv(PLOTS / "latency_runs.csv"), read_history()
    best_epoch = read_json(HISTORY / "metrics.json")["best"]["epoch"]
    analysis = read_json(METRICS / "analysis.json")
    layer_error = read_csv(PLOTS / "layer_error.csv")

    write_json(METRICS / "comparison.json", against)
    write_json(METRICS / "summary.json", {
        "dataset": evaluations[REFERENCE]["dataset"], "model": params.model.name,
        "image_size": params.model.image_size, "test_images": evaluations[REFERENCE]["images"],
        "latency_runs": benchmark["runs"], "variants": variants, "selected": selected})
    write_csv(PLOTS / "accuracy_latency.csv", pd.DataFrame(
        [{"variant": name, "latency_p50_ms": row["latency_p50_ms"], "accuracy": row["accuracy"],
          "size_mb": row["size_mb"]} for name, row in variants.items()]))
    figures.save(figures.latency_by_run(runs), PLOTS / "latency_by_run.png")
    figures.save(figures.speedups(variants), PLOTS / "speedups.png")
    figures.save(figures.training_curves(history, best_epoch), PLOTS / "training.png")
    figures.save(figures.confusion(confused), PLOTS / "confusion.png")
    figures.save(figures.accuracy_against_latency(variants), PLOTS / "accuracy_latency.png")
    figures.save(figures.collapse(analysis["accuracy"], layer_error), PLOTS / "collapse.png")
    log.info("selected %s: %s", selected["variant"], selected["reason"])


if __name__ == "__main__":
    run_stage(main, __doc__)
