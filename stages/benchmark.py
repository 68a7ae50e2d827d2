"""Stage benchmark: latency and throughput of all variants, interleaved in one process."""

import logging
from functools import partial as bind
from pathlib import Path

import numpy as np
import pandas as pd

from stages.config.params import load_params
from stages.config.stage import run_stage
from stages.data.dataset import load_dataset
from stages.files.atomic import replacing, write_json
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
    pictures = load_dataset().pictures("test")[:max(settings.latency_runs,
                                                    *settings.batch_sizes)]
    inputs = model_input(pictures, params.model)
    predictors = {name: load_predictor(Path(path), params.model)
                  for name, path in params.variants.items()}
    log.info("%d variants, %d threads", len(predictors), thread_count())
    latency = interleaved({name: bind(run_batch, predictor, inputs, 1)
                           for name, predictor in predictors.items()},
                          settings.latency_runs, settings.warmup_runs)
    throughput = []
    for batch_size in settings.batch_sizes:
        seconds = interleaved({name: bind(run_batch, predictor, inputs, batch_size)
                               for name, predictor in predictors.items()},
                              settings.throughput_rounds, warmup=1)
        throughput += [{"variant": name, "batch_size": batch_size,
                        "images_per_second": batch_size / np.median(series)}
                       for name, series in seconds.items()]
    runs = pd.DataFrame([{"variant": name, "run": run, "ms": 1e3 * value}
                         for name, series in latency.items() for run, value in enumerate(series)])
    speeds = pd.DataFrame(throughput)
    write_json(Path("metrics/benchmark.json"), {
        "threads": thread_count(), "runs": settings.latency_runs,
        "variants": {name: {
            **{f"latency_p{p}_ms": 1e3 * float(np.percentile(latency[name], p))
               for p in PERCENTILES},
            "throughput_img_s": float(best.images_per_second),
            "throughput_batch_size": int(best.batch_size)}
            for name, best in ((name, group.loc[group.images_per_second.idxmax()])
                               for name, group in speeds.groupby("variant", sort=False))}})
    write_json(Path("metrics/system.json"), describe_system())
    for path, table in (("plots/latency_runs.csv", runs), ("plots/throughput.csv", speeds)):
        with replacing(Path(path)) as partial:
            table.to_csv(partial, index=False, float_format="%.4f")
    for name, series in latency.items():
        log.info("%s: %.2f ms for one picture (median of %d)", name, 1e3 * np.median(series),
                 len(series))


if __name__ == "__main__":
    run_stage(main)
