"""The tables and sentences that pages share, in Markdown."""

import re
from collections import Counter
from typing import Any

from stages.config.schema import REFERENCE

HEADER = ("| variant | accuracy (95 %) | drop, pp (95 %) | size | latency {percentiles} "
          "| throughput | speed-up, one picture | in batches |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |\n")
LATENCY = re.compile(r"latency_p(\d+)_ms")


def result_table(summary: dict[str, Any], system: dict[str, Any]) -> str:
    """The table of variants, with what it was measured on above and the selection below."""
    percentiles = sorted({50, latency_percentiles(summary)[-1]})
    header = HEADER.format(percentiles=" / ".join(f"p{each}" for each in percentiles))
    rows = "".join(_row(name, row, percentiles, name == summary["selected"]["variant"])
                   for name, row in summary["variants"].items())
    cpu, packages = system["cpu"], system["packages"]
    return (f"{summary['dataset']}, {summary['model']} at {summary['image_size']} px, "
            f"{summary['test_images']:,} test pictures; {cpu_label(cpu)}, "
            f"{threads_told(cpu['threads_used'])}, {summary['latency_runs']} runs of one picture; "
            f"torch {packages['torch']}, onnxruntime {packages['onnxruntime']}.\n\n"
            f"{header}{rows}\nSelected: **{summary['selected']['variant']}**, "
            f"{summary['selected']['reason']}.\n")


def cell(text: str) -> str:
    """Text of a name that can't end a cell of a Markdown table or start a tag."""
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(character, escaped)
    return text


def cpu_label(cpu: dict[str, Any]) -> str:
    """Model and latest instruction sets of a cpu of system.json."""
    return f"{cpu['model']} ({', '.join(cpu['flags'][-2:]) or cpu['architecture']})"


def threads_told(count: int) -> str:
    """So many threads, in words."""
    return f"{count} thread{'' if count == 1 else 's'}"


def latency_percentiles(summary: dict[str, Any]) -> list[int]:
    """Which percentiles of latency the rows of a summary have, in order."""
    keys = next(iter(summary["variants"].values()))
    return sorted(int(found[1]) for key in keys if (found := LATENCY.fullmatch(key)))


def speedup(row: dict[str, float], measure: str) -> str:
    """A speed-up with its 95 % interval."""
    key = f"speedup_{measure}"
    return f"{row[key]:.2f}× ({row[f'{key}_ci95_low']:.2f} to {row[f'{key}_ci95_high']:.2f})"


def drop(row: dict[str, float], variant: str) -> str:
    """A drop on the test split in points, with its 95 % interval where it isn't of REFERENCE."""
    key = "accuracy_drop_pp"
    if variant == REFERENCE:
        return "0"
    return f"{points(row[key])} ({points(row[f'{key}_ci95_low'])} to " \
           f"{points(row[f'{key}_ci95_high'])})"


def points(value: float) -> str:
    """Percentage points with their sign, and none where they round to nothing."""
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"


def _row(name: str, row: dict[str, float], percentiles: list[int], selected: bool) -> str:
    latencies = " / ".join(f"{row[f'latency_p{each}_ms']:.2f}" for each in percentiles)
    label = f"**{name}**" if selected else name
    return (f"| {label} | {100 * row['accuracy']:.2f} % ({100 * row['accuracy_ci95_low']:.2f} to "
            f"{100 * row['accuracy_ci95_high']:.2f}) | {drop(row, name)} "
            f"| {row['size_mb']:.2f} MB | {latencies} ms | {row['throughput_img_s']:.0f} images/s "
            f"| {speedup(row, 'latency')} | {speedup(row, 'throughput')} |\n")


def recipe_table(analysis: dict[str, Any]) -> str:
    """Accuracy by what is quantized and how, as the analyze stage found it."""
    rows = "".join(f"| {recipe} | {100 * accuracy:.1f} % |\n"
                   for recipe, accuracy in analysis["accuracy"].items())
    left = analysis.get("layers_left_out", 0)
    note = (f"\n{left} layers of this model, written as MatMul or as Gemm without transB, are not "
            "taken apart: they are float where activations are float, and INT8, weights too, where "
            "activations are static.\n"
            if left else "")
    return (f"| what is quantized | accuracy on {analysis['validation_images']:,} validation "
            f"pictures |\n| --- | --- |\n{rows}{note}")


def float_nodes_told(record: dict[str, Any]) -> str:
    """What of a quantized variant runs in float, as quantize recorded it, by reason."""
    by_reason: dict[str, Counter] = {}
    for node in record["in_float"]:
        by_reason.setdefault(node["reason"], Counter())[node["operator"]] += 1
    return "; ".join(
        f"{', '.join(f'{count} {operator}' for operator, count in operators.most_common())} "
        f"({reason})" for reason, operators in by_reason.items()) or "nothing"


def search_sentence(variant: str, search: dict[str, Any]) -> str:
    """How many layers the search of mixed precision left in float, why, and what it tried."""
    kept = search["kept_in_float"]
    names = f" ({', '.join(kept)})" if kept else ""
    tried = "; ".join(
        f"{step['layers_in_float']} in float, drop {step['drop_pp']:.2f} points (at most "
        f"{step['drop_upper_pp']:.2f}), {step['logits_snr_db']:.1f} dB" for step in search["steps"])
    layers = sum(len(row["weights"]) for row in search["sensitivity"])
    return (f"{variant} has {len(kept)} of {layers} layers in float{names}, "
            f"{100 * search['macs_in_float']:.1f} % of the operations: {search['reason']}. "
            f"Tried: {tried}.")


def training_sentence(training: dict[str, Any], timing: dict[str, Any]) -> str:
    """How long training took and where it ended."""
    end = "stopped early" if training["stopped_early"] else "ran to the last epoch"
    best, processes = training["best"], timing["processes"]
    by = threads_told(timing["threads"])
    if processes > 1:
        by = f"{processes} processes with {by} each"
    return (f"Training {end}: {training['epochs']} epochs, the best was epoch {best['epoch']} "
            f"({100 * best['val_accuracy']:.2f} % on validation); "
            f"{timing['seconds'] / 60:.1f} minutes, validation included, at "
            f"{timing['images_per_second']:.0f} images/s on {by} "
            f"({timing['device']}).\n")
