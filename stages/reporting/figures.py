"""The report's figures, drawn with seaborn from tables alone."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from stages.files.atomic import replacing

mpl.use("Agg")
DPI = 120
PALETTE = "colorblind"
MOST_INCHES = 14  # of the side of a confusion matrix, however many classes it has
CLOSE_POINTS = 5  # of accuracy: variants within so many of the best share an axis
# What is compared between experiments.
VARIANT_NUMBERS = ("validation accuracy, %", "ms", "images/s")
MODEL_NUMBERS = ("parameters, M", "MACs, M")


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG; the same figure gives the same bytes."""
    figure.tight_layout()
    with replacing(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png", metadata={"Software": None})
    plt.close(figure)


def themed_axes(width: float, height: float, columns: int = 1, rows: int = 1, **more: Any
                ) -> tuple[Figure, Any]:
    """A figure of so many inches in the report's theme, and its axes; `more` is for subplots."""
    sns.set_theme(style="whitegrid", palette=PALETTE, font_scale=1.1)
    return plt.subplots(rows, columns, figsize=(width, height), **more)


def _colours(names: list[str]) -> dict[str, Any]:
    palette = PALETTE if len(names) <= len(sns.color_palette(PALETTE)) else "husl"  # none twice
    return dict(zip(names, sns.color_palette(palette, len(names)), strict=True))


def _log_ticks(axis: Any) -> None:
    """Ticks of a log axis at 1, 2 and 5, written as numbers."""
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())


def _legend_below(axes: Any, handles: list[Any], labels: list[str]) -> Any:
    """A legend under the axis label, so that the figure stays narrow enough for a phone."""
    below = -0.66 / (axes.figure.get_figheight() * axes.get_position().height)
    return axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, below), ncols=2,
                       frameon=False, columnspacing=1.2)


def latency_by_run(runs: pd.DataFrame) -> Figure:
    """Latency of each timed run; `runs` has a column run, and one of ms for each variant."""
    figure, axes = themed_axes(6.5, 5.2)
    medians = runs.drop(columns="run").median()
    sns.lineplot(runs.melt("run", var_name="variant", value_name="ms"), x="run", y="ms",
                 hue="variant", palette=_colours(list(medians.index)), ax=axes, lw=1)
    axes.set(yscale="log", xlabel="timed run", ylabel="one picture, ms (log scale)",
             title="Latency by run, and its median; interleaved")
    _log_ticks(axes.yaxis)
    handles, labels = axes.get_legend_handles_labels()
    _legend_below(axes, handles, [f"{name}: {medians[name]:.2f} ms" for name in labels])
    return figure


def speedups(variants: dict[str, dict[str, float]]) -> Figure:
    """Speed-up of every variant against onnx_fp32, of one picture and of batches.

    A line across the end of a bar is the 95 % interval.
    """
    figure, axes = themed_axes(6.5, 1.6 + 0.75 * len(variants))
    measures = {"one picture (latency)": "speedup_latency",
                "batches (throughput)": "speedup_throughput"}
    table = pd.DataFrame([
        {"variant": name, "measure": label, "speed-up": row[key]}
        for name, row in variants.items() for label, key in measures.items()])
    sns.barplot(table, y="variant", x="speed-up", hue="measure", errorbar=None, ax=axes)
    for bars, key in zip(list(axes.containers), measures.values(), strict=True):
        for bar, row in zip(bars, variants.values(), strict=True):
            middle = bar.get_y() + bar.get_height() / 2
            low, high = (row[f"{key}_ci95_{end}"] for end in ("low", "high"))
            axes.plot([low, high], [middle, middle], color="black", lw=1.5)
            axes.annotate(f"{row[key]:.2f}×", (max(high, row[key]), middle), xytext=(4, 0),
                          textcoords="offset points", va="center", fontsize=10)
    axes.axvline(1, color="black", lw=1, ls="--")
    axes.set(ylabel="", xlabel="times as fast as onnx_fp32, with 95 % interval",
             title="Speed-up: PyTorch, ONNX, INT8")
    axes.margins(x=0.16)  # room for the numbers
    _legend_below(axes, *axes.get_legend_handles_labels())
    return figure


def training_curves(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Loss and accuracy by epoch.

    `history` has an index of epochs from 1 and columns train.loss, val.loss, train.accuracy and
    val.accuracy.
    """
    figure, axes = themed_axes(10, 4, columns=2)
    for panel, name in zip(axes, ("loss", "accuracy"), strict=True):
        scale, unit = (100, ", %") if name == "accuracy" else (1, "")
        for split, label in (("train", "training"), ("val", "validation")):
            panel.plot(history.index, scale * history[f"{split}.{name}"], marker="o", ms=4,
                       label=label)
        panel.axvline(best_epoch, color="grey", ls="--", lw=1, label=f"best epoch ({best_epoch})")
        panel.set(xlabel="epoch", ylabel=name + unit, title=name.capitalize())
        panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        panel.legend(frameon=False)
    return figure


def confusion(tables: dict[str, pd.DataFrame]) -> Figure:
    """Confusion matrices in percent of the actual class, one panel for each variant.

    Each table has columns actual and predicted, a row for each test picture.
    """
    classes = sorted(set().union(*(table.actual for table in tables.values())))
    labels = [name.replace("$", r"\$") for name in classes]  # no formulas
    side = min(max(3.6, 0.42 * len(classes)), MOST_INCHES)
    figure, axes = themed_axes(side * len(tables) + 1, side + 0.4, columns=len(tables))
    annotate = len(classes) <= 15
    for panel, (name, table) in zip(np.atleast_1d(axes), tables.items(), strict=True):
        matrix = pd.crosstab(table.actual, table.predicted).reindex(
            index=classes, columns=classes, fill_value=0)
        matrix.index = matrix.columns = labels
        share = 100 * matrix.div(matrix.sum(axis=1), axis=0)
        text = share.map(lambda value: f"{value:.1f}".removesuffix(".0") if value else "")
        sns.heatmap(share, ax=panel, cmap="Blues", vmin=0, vmax=100, square=True, cbar=False,
                    annot=text if annotate else False, fmt="", annot_kws={"fontsize": 9},
                    linewidths=0.5 if annotate else 0)
        accuracy = (table.actual == table.predicted).mean()
        panel.set(title=f"{name}: {100 * accuracy:.2f} % right", xlabel="predicted",
                  ylabel="actual, % of the class")
        panel.tick_params(axis="x", rotation=90 if max(map(len, classes)) > 2 else 0)
        panel.tick_params(axis="y", rotation=0)
    return figure


def pareto_front(variants: dict[str, dict[str, float]]) -> list[str]:
    """The variants that no other one beats in both accuracy and latency, fastest first."""
    front: list[str] = []
    for name, row in sorted(variants.items(),
                            key=lambda item: (item[1]["latency_p50_ms"], -item[1]["accuracy"])):
        if not front or row["accuracy"] > variants[front[-1]]["accuracy"]:
            front.append(name)
    return front


def accuracy_against_latency(variants: dict[str, dict[str, float]]) -> Figure:
    """Accuracy with its 95 % interval against latency; the area of a point is the file's size.

    Those CLOSE_POINTS or more below the best have an axis of their own underneath. A dashed line
    joins those that no other variant beats in both.
    """
    enough = max(row["accuracy"] for row in variants.values()) - CLOSE_POINTS / 100
    close = {name for name, row in variants.items() if row["accuracy"] > enough}
    rows = 1 if len(close) == len(variants) else 2
    figure, panels = themed_axes(6.5, 6.4, rows=rows, sharex=True, height_ratios=[3, 1][:rows])
    upper, lower = np.atleast_1d(panels)[[0, -1]]
    colours, points = _colours(list(variants)), []
    for name, row in variants.items():
        axes = upper if name in close else lower
        accuracy = 100 * row["accuracy"]
        low, high = (abs(100 * row[f"accuracy_ci95_{end}"] - accuracy) for end in ("low", "high"))
        axes.errorbar(row["latency_p50_ms"], accuracy, yerr=[[low], [high]], color=colours[name],
                      capsize=3, lw=1)
        points.append(axes.scatter(row["latency_p50_ms"], accuracy, s=40 * row["size_mb"],
                                   color=colours[name], alpha=0.6, zorder=2,
                                   label=f"{name}, {row['size_mb']:.1f} MB"))
    front = [variants[name] for name in pareto_front(variants) if name in close]
    line, = upper.plot([row["latency_p50_ms"] for row in front],
                       [100 * row["accuracy"] for row in front], color="grey", ls="--", lw=1,
                       marker=".", zorder=3, label="none is better in both")
    for axes in {upper, lower}:
        axes.margins(x=0.15, y=0.3)
    upper.set_ylim(top=min(upper.get_ylim()[1], 103))
    lower.set(xscale="log", xlabel="latency of one picture, ms (median, log scale)")
    _log_ticks(lower.xaxis)
    upper.set(ylabel="test accuracy, %", title="Accuracy against latency; area is file size")
    handles = [*points, line]
    legend = _legend_below(lower, handles, [handle.get_label() for handle in handles])
    for handle in legend.legend_handles[:len(points)]:
        handle.set_sizes([60])
    return figure


def collapse(accuracy: dict[str, float], layers: pd.DataFrame) -> Figure:
    """Which factor loses the accuracy, and where.

    `accuracy` is by recipe, a fraction. `layers` has columns position, output_snr_db_per_tensor
    and output_snr_db_per_channel, a row for each layer from input to output.
    """
    figure, (bars, lines) = themed_axes(13, 5.4, columns=2, width_ratios=[1, 1.2])
    table = pd.DataFrame({"recipe": list(accuracy), "accuracy": [100 * v for v in
                                                                 accuracy.values()]})
    sns.barplot(table, y="recipe", x="accuracy", ax=bars, color=sns.color_palette(PALETTE)[0])
    bars.bar_label(bars.containers[0], fmt="%.1f", padding=3, fontsize=9)
    bars.set(xlim=(0, 115), xlabel="accuracy on validation, %", ylabel="",
             title="Accuracy by what is rounded to INT8")
    for column, label in (("per_channel", "per channel"), ("per_tensor", "per tensor")):
        lines.plot(layers.position, layers[f"output_snr_db_{column}"], marker="o", ms=3,
                   label=label)
    lines.axhline(0, color="black", lw=1, ls="--", label="error = signal")
    lines.set(xlabel="layer, from input to output", ylabel="signal-to-noise ratio, dB",
              title="Output of each layer, weights alone rounded")
    _legend_below(lines, *lines.get_legend_handles_labels())
    return figure


def experiments(rows: pd.DataFrame, variants: list[str], by: list[str]) -> Figure:
    """A line for each experiment and a panel for each number, those of the variants side by side.

    `rows` has a column for each parameter of `by` and of MODEL_NUMBERS, which are left out where
    they are all the same, and one "<variant> <number>" for each variant and VARIANT_NUMBERS.
    """
    of_model = [number for number in MODEL_NUMBERS if rows[number].nunique() > 1]
    colours, lines = _colours(list(variants)), range(len(rows))
    figure, panels = themed_axes(13, 3 + 0.4 * len(rows), len(VARIANT_NUMBERS) + len(of_model))
    for axes, number in zip(panels, [*VARIANT_NUMBERS, *of_model], strict=True):
        if number in of_model:
            axes.scatter(rows[number], lines, s=70, color="grey")
        else:
            for variant in variants:
                axes.scatter(rows[f"{variant} {number}"], lines, s=70, alpha=0.8, label=variant,
                             color=colours[variant])
        axes.set(xlabel=number, yticks=lines, yticklabels=[], ylim=(len(rows) - 0.5, -0.5))
        axes.margins(x=0.15)
        if number.endswith("%"):
            axes.set_xlim(right=min(axes.get_xlim()[1], 100.5))
    panels[0].set_yticklabels(rows[by].astype(str).agg(", ".join, axis=1))
    panels[0].set_ylabel(", ".join(key.rsplit(".", 1)[-1] for key in by), labelpad=10)
    _legend_below(panels[0], *panels[0].get_legend_handles_labels())
    return figure
