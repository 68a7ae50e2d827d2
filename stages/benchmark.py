"""Stage benchmark: latency, throughput and memory of all variants on this machine."""

import logging
from functools import partial as bind
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from stages.config.params import load_params
from stages.config.schema import REFERENCE, Params
from stages.config.stage import run_stage
from stages.data.dataset import load_dataset
from stages.files.atomic import write_csv, write_json
from stages.inference.cpu import thread_count
from stages.inference.predictor import model_input
from stages.inference.session import is_onnx
from stages.measurement.cold_start import cold_start
from stages.measurement.contenders import contenders
from stages.measurement.intervals import Passes, require_runs
from stages.measurement.node_time import node_times
from stages.measurement.pinning import CAN_PIN
from stages.measurement.scenarios import PASSES, Measurement, Pictures, measure
from stages.measurement.speed import images_per_second, pooled, speed_rows
from stages.measurement.system import describe_system

log = logging.getLogger(__name__)

PLOTS = Path("plots")
MEDIAN = 50  # always measured: speed-ups, the selection and the figures are of it
PICTURES = 128


def real_pictures(params: Params) -> Pictures:
    """Pictures of validation, enough for the largest batch; a small split's come again."""
    pictures = load_dataset().view("validation")
    count = max(PICTURES, *params.benchmark.batch_sizes)
    return Pictures.of(pictures[np.arange(count) % len(pictures)], bind(
        model_input, params=params.model))


def cold_starts(params: Params, picture: np.ndarray) -> dict[str, dict[str, float]]:
    """What starting each variant costs, in processes of its own."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "picture.npy"
        np.save(file, picture)
        return {name: cold_start(Path(path), file) for name, path in params.variants.items()}


def by_run(series: dict[str, Passes]) -> pd.DataFrame:
    """Milliseconds of each timed run: a column for each contender."""
    runs = pd.DataFrame({name: 1e3 * pooled(passes) for name, passes in series.items()})
    return runs.round(4).rename_axis("run").reset_index()


def by_setting(measured: Measurement) -> pd.DataFrame:
    """Every timed run of Offline."""
    return pd.DataFrame([
        {**setting._asdict(), "round": number, "ms": 1e3 * second}
        for setting, passes in measured.offline.items()
        for number, second in enumerate(pooled(passes))]).round(4)


def by_batch_size(measured: Measurement) -> pd.DataFrame:
    """Images a second by batch size, with the better number of streams, a column a contender."""
    table = pd.DataFrame([{**setting._asdict(), "speed": images_per_second(setting, passes)}
                          for setting, passes in measured.offline.items()])
    speeds = table.pivot_table(index="batch_size", columns="name", values="speed", aggfunc="max",
                               sort=False)
    return speeds.round(2).rename_axis(columns=None).reset_index()


def main() -> None:
    params = load_params("model", "variants", "benchmark")
    settings = params.benchmark
    percentiles = sorted({MEDIAN, *settings.percentiles})
    require_runs(percentiles, settings.latency_runs)
    timed = contenders(params)
    log.info("%s, on %d threads", ", ".join(timed), thread_count())
    pictures = real_pictures(params)
    measured = measure(timed, pictures, settings)
    starts = cold_starts(params, pictures.inputs[:1])
    rows = speed_rows(measured, REFERENCE, percentiles)
    write_json(Path("metrics/benchmark.json"), {
        "threads": thread_count(), "pinned": CAN_PIN, "passes": PASSES,
        "runs": settings.latency_runs, "rounds": settings.throughput_rounds,
        "percentiles": percentiles, "provider": settings.providers[0],
        "variants": {name: {**rows[name], **starts[name]} for name in params.variants},
        "baselines": {name: row for name, row in rows.items() if name not in params.variants}})
    write_json(Path("metrics/system.json"), describe_system())
    write_csv(PLOTS / "latency_runs.csv", by_run(measured.latency))
    write_csv(PLOTS / "end_to_end_runs.csv", by_run(measured.end_to_end))
    write_csv(PLOTS / "offline_runs.csv", by_setting(measured))
    write_csv(PLOTS / "throughput.csv", by_batch_size(measured))
    write_csv(PLOTS / "node_time.csv", pd.concat(
        [node_times(Path(path), pictures.inputs[:1], settings.latency_runs).assign(variant=name)
         for name, path in params.variants.items() if is_onnx(path)]).round(4))
    for name, row in rows.items():
        log.info("%s: %.2f ms for one picture, %.2f times as fast as %s (%.2f to %.2f)", name,
                 row["latency_p50_ms"], row["speedup_latency"], REFERENCE,
                 row["speedup_latency_ci95_low"], row["speedup_latency_ci95_high"])


if __name__ == "__main__":
    run_stage(main, __doc__)
