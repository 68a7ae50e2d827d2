"""Experiments side by side: what was varied, and what came out for the float and the INT8 model."""

from typing import Any

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from scmrepo.exceptions import SCMError

from stages.config.errors import UserError
from stages.config.schema import REFERENCE
from stages.reporting.tables import threads_told

SUMMARY, EXPORT = "metrics/summary.json", "metrics/export.json"
TRAINING, SYSTEM = "metrics/training/metrics.json", "metrics/system.json"


def experiment_row(rev: str, by: list[str], variants: list[str]) -> dict[str, Any]:
    """One experiment: the parameters `by`, and the numbers that are compared.

    Speed-ups are against the reference, with the 95 % interval of their ratio.

    Args:
        rev: a branch, a commit or an experiment's name.
        by: dotted keys of params.yaml.
        variants: whose numbers these are, beside the model's own.

    Raises:
        UserError: no such revision, parameter or metrics in it.
    """
    try:
        params = dvc.api.params_show(rev=rev)
        summary, export, training, system = (dvc.api.metrics_show(path, rev=rev)
                                             for path in (SUMMARY, EXPORT, TRAINING, SYSTEM))
        cpu = system["cpu"]
        row = {key: _value(params, key) for key in by}
        return {
            "experiment": rev, **row, "data set": summary["dataset"],
            "pixels": summary["image_size"], "test pictures": summary["test_images"],
            "epochs": training["epochs"], "parameters, M": training["parameters"] / 1e6,
            "MACs, M": export["macs"] / 1e6,
            **{f"{variant} {label}": summary["variants"][variant][key] * factor
               for variant in variants for label, key, factor in (
                   ("validation accuracy, %", "validation_accuracy", 100),
                   ("test accuracy, %", "accuracy", 100), ("ms", "latency_p50_ms", 1),
                   ("images/s", "throughput_img_s", 1), ("MB", "size_mb", 1))},
            **{f"{variant} speed-up{label}": _interval(summary["variants"][variant], key)
               for variant in variants if variant != REFERENCE for label, key in (
                   ("", "speedup_latency"), (" in batches", "speedup_throughput"))},
            "machine": f"{cpu['model']}, {threads_told(cpu['threads_used'])}"}
    except (DvcException, SCMError, FileNotFoundError) as error:
        raise UserError(f"{rev}: {str(error).splitlines()[0]}; see 'dvc exp list'") from None
    except KeyError as error:
        raise UserError(f"{rev}: has no {error} in its parameters or metrics; is it spelt so? "
                        "Metrics of older code lack what was added since") from None


def _interval(row: dict[str, float], key: str) -> str:
    return f"{row[key]:.2f} ({row[f'{key}_ci95_low']:.2f} to {row[f'{key}_ci95_high']:.2f})"


def _value(params: dict[str, Any], key: str) -> Any:
    value = params
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise KeyError(key)
        value = value[part]
    return "null" if value is None else value


def markdown(rows: pd.DataFrame, variants: list[str]) -> str:
    """Two Markdown tables, numbers to four digits: the experiments, and their variants' numbers.

    Args:
        rows: as `experiment_row` has them, one for each experiment.
        variants: whose numbers are in `rows`; a row of the second table for each.
    """
    own = {variant: [name for name in rows if name.startswith(f"{variant} ")]
           for variant in variants}
    models = rows.drop(columns=[name for names in own.values() for name in names])
    numbers = pd.concat([rows[["experiment", *names]].rename(
        columns=lambda name, variant=variant: name.removeprefix(f"{variant} ")).assign(
            variant=variant) for variant, names in own.items()])
    numbers = numbers.sort_index(kind="stable").fillna("")
    first = ["experiment", "variant"]
    return "\n\n".join(map(_table, (models, numbers[first + [
        name for name in numbers if name not in first]]))) + "\n"


def _table(rows: pd.DataFrame) -> str:
    rounded = rows.map(lambda value: float(f"{value:.4g}") if isinstance(value, float) else value)
    # The first column is a name, also where it reads as a number, as the hash 7057e11 does.
    return rounded.to_markdown(index=False, floatfmt="g", disable_numparse=[0])
