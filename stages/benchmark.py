"""Stage benchmark: latency and throughput of all variants, interleaved in one process."""

import logging
from functools import partial as bind
from pathlib import Path

import numpy as np
import pandas as pd

from stages.config.params import load_params
from stages.config.stage import run_stage
from stages.data.dataset import load_dataset
from stages.files.atomic import write_csv, write_json
from stages.measurement.node_time import node_times
from stages.measurement.predictor import Predictor, load_predictor, model_input, thread_count
from stages.measurement.system import describe_system
from stages.measurement.timing import interleaved

log = logging.getLogger(__name__)

PERCENTILES = (50, 90, 99)


def run_batch(predictor: Predictor, inputs: np.ndarray, batch_size: int, index: int) -> None:
    """Run the batch of round `index`, walking through `inputs` and around again."""
    positions = np.arange(index * batch_size, (index + 1) * batch_size) % len(inputs)
    predictor(inputs[positions])


def main() -> None:
    params = load_params("model", "variants", "benchmark")
    settings = params.benchmark
    pictures = load_dataset().view("test")[:max(settings.latency_runs,
                                                    *settings.batch_sizes)]
    inputs = model_input(pictures, params.model)
    predictors = {name: load_predictor(Path(path), params.model)
                  for name, path in params.variants.items()}
    log.info("%d variants, %d threads", len(predictors), thread_count())
    latency = interleaved({name: bind(run_batch, predictor, inputs, 1)
                           for name, predictor in predictors.items()},
                          settings.latency_runs, settings.warmup_runs)
    throughput = {name: [] for name in predictors}
    for batch_size in settings.batch_sizes:
        seconds = interleaved({name: bind(run_batch, predictor, inputs, batch_size)
                               for name, predictor in predictors.items()},
                              settings.throughput_rounds, warmup=1)
        for name, series in seconds.items():
            throughput[name].append(batch_size / float(np.median(series)))
    runs = (1e3 * pd.DataFrame(latency)).round(4).rename_axis("run").reset_index()
    speeds = pd.DataFrame(throughput, index=pd.Index(settings.batch_sizes, name="batch_size"))
    write_json(Path("metrics/benchmark.json"), {
        "threads": thread_count(), "runs": settings.latency_runs,
        "variants": {name: {
            **{f"latency_p{p}_ms": 1e3 * float(np.percentile(latency[name], p))
               for p in PERCENTILES},
            "throughput_img_s": float(speeds[name].max()),
            "throughput_batch_size": int(speeds[name].idxmax())}
            for name in predictors}})
    write_json(Path("metrics/system.json"), describe_system())
    write_csv(Path("plots/latency_runs.csv"), runs)
    write_csv(Path("plots/throughput.csv"), speeds.round(2).reset_index())
    write_csv(Path("plots/node_time.csv"), pd.concat(
        [node_times(Path(path), inputs[:1], settings.latency_runs).assign(variant=name)
         for name, path in params.variants.items() if path.endswith(".onnx")]).round(4))
    for name, series in latency.items():
        log.info("%s: %.2f ms for one picture (median of %d)", name, 1e3 * np.median(series),
                 len(series))


if __name__ == "__main__":
    run_stage(main)
