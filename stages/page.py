"""Write the report's two pages from metrics: report.html to open, docs/report.md for GitHub.

    python -m stages.page

report.html is one file that needs no network. It shows pictures of mistakes where data/ holds the
run's predictions, and is not in git for that reason; docs/report.md shows none.
"""

import logging
from pathlib import Path
from typing import Any

from stages.config.params import PARAMS_FILE, load_params
from stages.config.schema import REFERENCE
from stages.config.stage import run_stage
from stages.data.dataset import IMAGES_FILE, SPLITS_FILE, load_dataset
from stages.files.reading import read_bytes, read_csv, read_json
from stages.measurement.system import describe_system
from stages.reporting.confusions import (
    are_of_one_run,
    class_drops,
    confused_pairs,
    mistakes,
    png_uri,
    with_examples,
)
from stages.reporting.pages import other_machine, require_one_run, write_page
from stages.reporting.reproduced import what_changed
from stages.reporting.results import FIGURES, METRICS
from stages.reporting.summary import read_confusion
from stages.reporting.tables import (
    float_nodes_told,
    recipe_table,
    search_sentence,
    training_sentence,
)

log = logging.getLogger(__name__)

HTML, MARKDOWN = Path("report.html"), Path("docs/report.md")
PLOTS, PREDICTIONS = Path("plots"), Path("data/predictions")
PREDICTED = {"split", "position", "label", "predicted", "confidence"}  # as evaluate writes
CLASSES, PAIRS, EXAMPLES = 15, 10, 8


def gather() -> dict[str, Any]:
    """What both pages tell, from metrics/, plots/ and params.yaml, which are in git."""
    params = load_params("data", "model", "train", "export", "quantize", "benchmark", "variants")
    summary = read_json(METRICS / "summary.json")
    require_one_run(summary, params)
    selected = summary["selected"]["variant"]
    evaluations = {name: read_json(METRICS / "evaluate" / f"{name}.json")
                   for name in summary["variants"]}
    quantized = {name: read_json(METRICS / "quantize" / f"{name}.json")
                 for name in params.quantize.variants}
    training = read_json(METRICS / "training" / "metrics.json")
    analysis = read_json(METRICS / "analysis.json")
    benchmark = read_json(METRICS / "benchmark.json")
    timed = benchmark["variants"] | benchmark["baselines"]
    return {
        "summary": summary, "selected": selected, "reference": REFERENCE, "params": params,
        "best": summary["variants"][selected], "base": summary["variants"][REFERENCE],
        "system": read_json(METRICS / "system.json"),
        "benchmark": benchmark, "timed": timed,
        "tails": [percentile for percentile in benchmark["percentiles"] if percentile != 50],
        "unsettled": [name for name, row in timed.items() if not row["settled"]],
        "export": read_json(METRICS / "export.json"), "analysis": analysis,
        "recipes": recipe_table(analysis), "training": training,
        "training_told": training_sentence(training, read_json(METRICS / "training_time.json")),
        "evaluation": evaluations[REFERENCE],
        "quantized": [{"name": name, "float_told": float_nodes_told(record), **record}
                      for name, record in quantized.items()],
        "searches": [search_sentence(name, record["search"])
                     for name, record in quantized.items() if "search" in record],
        "classes": class_drops({name: row["by_class"] for name, row in evaluations.items()},
                               REFERENCE, selected, CLASSES),
        "pairs": confused_pairs(read_confusion(selected), read_confusion(REFERENCE), PAIRS)}


def illustrated(facts: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The confused pairs with pictures, or None where data/ has none of this run."""
    tables = [PREDICTIONS / f"{name}.csv" for name in (facts["selected"], REFERENCE)]
    if not all(path.is_file() for path in (*tables, IMAGES_FILE, SPLITS_FILE)):
        return None
    predictions = [read_csv(path) for path in tables]
    if not all(set(table.columns) >= PREDICTED for table in predictions):
        return None
    dataset, wrong = load_dataset(), mistakes(*predictions)
    if not are_of_one_run(wrong, dataset, read_confusion(facts["selected"])):
        return None
    return with_examples(facts["pairs"], wrong, dataset, EXAMPLES)


def main() -> None:
    facts = gather()
    warning = other_machine(facts["system"]["cpu"], describe_system()["cpu"])
    pairs = illustrated(facts)
    figures = {name: png_uri(read_bytes(PLOTS / f"{name}.png")) for name in FIGURES}
    write_page(HTML, "report.html", {
        **facts, "warning": warning, "pictured": pairs is not None,
        "pairs": pairs or facts["pairs"], "figures": figures,
        "parameters": read_bytes(PARAMS_FILE).decode("utf-8")})
    write_page(MARKDOWN, "report.md", facts)
    if warning:
        log.warning("%s", warning)
    if change := what_changed():
        log.warning("The pages may show what did not make their numbers. %s", change)
    log.info("%s, and for a browser %s", MARKDOWN, HTML.resolve().as_uri())


if __name__ == "__main__":
    run_stage(main, __doc__)
