"""The autopsy's figures and tables, from docs/collapse.json alone."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from benchmarks.ablation_grid import grid, name_of
from benchmarks.markdown import markdown_table
from stages.analysis.ablation import Cell
from stages.reporting.blocks import write_block
from stages.reporting.figures import PALETTE, save

DATA, PAGE = Path("docs/collapse.json"), Path("docs/collapse.md")
GRID, LAYERS, SPREAD = (Path(f"docs/collapse_{name}.png") for name in ("grid", "layers", "spread"))
FIGURES = {"Accuracy by what is rounded": GRID, "Error behind every layer": LAYERS,
           "Accuracy against the spread of the bottlenecks": SPREAD}
AS_TRAINED = "as trained"
COLUMNS = ("float", "dynamic", "static")
COLUMNS_OF_PANELS = 2
# The cells that the curves show, with what they are called there.
LAYER_CELLS = {
    name_of(Cell("per channel", "float")): "weights per channel",
    name_of(Cell("per tensor", "float")): "weights per tensor",
    name_of(Cell("float", "static")): "activations, static",
    name_of(Cell("per channel", "static")): "static, weights per channel",
    name_of(Cell("per tensor", "dynamic", shipped=True)): "quantize_dynamic",
}


def row_of(cell: Cell) -> str:
    """The row of the grid that `cell` stands in: all but how activations are quantized."""
    if cell.shipped:
        return f"quantize_dynamic, {cell.weight_type}"
    name = "float" if cell.weights == "float" else \
        f"{cell.weights} {cell.weight_type}{', 7 bits' if cell.reduced else ''}"
    return f"{name}, activations QInt8" if cell.activation_type == "QInt8" else name


def accuracy_grid(cells: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Accuracy in % by row (weights) and COLUMNS (activations); NaN where there is no cell."""
    rows = list(dict.fromkeys(map(row_of, grid().values())))
    table = pd.DataFrame(np.nan, index=rows, columns=COLUMNS)
    for name, cell in grid().items():
        if name in cells:
            table.loc[row_of(cell), cell.activations] = 100 * cells[name]["accuracy"]
    return table


def twin_table(record: dict[str, Any]) -> str:
    """Accuracy of every twin by LAYER_CELLS, beside its spread, in Markdown."""
    floating = name_of(Cell("float", "float"))
    rows = []
    for label, twin in record["twins"].items():
        spread = " / ".join(f"{max(twin['spread'][kind], default=float('nan')):.3g}×"
                            for kind in ("weights", "activations"))
        rows.append((label, spread, *(_percent(twin["cells"].get(name))
                                      for name in (floating, *LAYER_CELLS))))
    return markdown_table(("twin", "widest bottleneck, weights / activations", "float",
                           *LAYER_CELLS.values()), rows)


def grid_table(cells: dict[str, dict[str, Any]]) -> str:
    """`accuracy_grid` in Markdown."""
    table = accuracy_grid(cells)
    return markdown_table(
        ("weights", "activations float", "dynamic", "static"),
        [(name, *("" if np.isnan(value) else f"{value:.1f} %" for value in row))
         for name, row in zip(table.index, table.to_numpy(), strict=True)])


def cut_off_table(cut_off: dict[str, Any]) -> str:
    """Accuracy by cell with and without VNNI, in Markdown."""
    return markdown_table(
        (f"on {cut_off['images']} of these pictures", "as with VNNI",
         f"without ({cut_off['by']})", "largest change of a logit"),
        [(name, f"{100 * row['accuracy']:.1f} %", f"{100 * row['cut_off_accuracy']:.1f} %",
          f"{row['max_logit_change']:.3f}") for name, row in cut_off["cells"].items()])


def markdown(content: dict[str, Any]) -> str:
    """Everything measured: the figures, and the tables of each model to be unfolded."""
    parts = [f"![{title}]({path.name})" for title, path in FIGURES.items()]
    for name, record in content.items():
        change = max(twin["float_logits_change"] for twin in record["twins"].values())
        parts += ["<details>\n"
                  f"<summary>{name}: {record['model']} at {record['image_size']} px on "
                  f"{record['dataset']}, {record['validation_images']} validation pictures; "
                  f"{record['cpu']}, onnxruntime {record['onnxruntime']}</summary>",
                  grid_table(record["twins"][AS_TRAINED]["cells"])]
        if len(record["twins"]) > 1:
            published = record["published"]
            parts += [f"Twins: float logits differ by at most {change:.1e} of the largest one; "
                      f"Lite0 as published has {max(published['weights']):.3g}× / "
                      f"{max(published['activations']):.3g}×.", twin_table(record)]
        if record["cut_off"].get("cells"):
            parts.append(cut_off_table(record["cut_off"]))
        parts.append("</details>")
    return "\n\n".join(parts)


def grid_figure(content: dict[str, Any]) -> Figure:
    """Accuracy by what is rounded, a panel for each model as trained."""
    figure, panels = _panels(content, 5.4, 5.2)
    for index, (axes, (name, record)) in enumerate(zip(panels, content.items(), strict=True)):
        table = accuracy_grid(record["twins"][AS_TRAINED]["cells"])
        sns.heatmap(table, ax=axes, annot=True, fmt=".1f", vmin=0, vmax=100, cmap="cividis",
                    cbar=False, linewidths=1)
        axes.grid(visible=False)
        axes.set(title=name, xlabel="activations",
                 ylabel="weights" if index % COLUMNS_OF_PANELS == 0 else "")
    return figure


def layers_figure(content: dict[str, Any]) -> Figure:
    """Signal-to-noise ratio behind every layer, a panel for each model as trained.

    Lines grow thinner from first to last, so that none hides one that it lies upon.
    """
    figure, panels = _panels(content, 6.2, 4.0)
    widths = np.linspace(5, 1, len(LAYER_CELLS))
    for axes, (name, record) in zip(panels, content.items(), strict=True):
        cells = record["twins"][AS_TRAINED]["cells"]
        for (cell, label), width in zip(LAYER_CELLS.items(), widths, strict=True):
            if cell in cells:
                values = [np.nan if value is None else value
                          for value in cells[cell]["layers_snr_db"]]
                axes.plot(values, lw=width, label=label)
        axes.axhline(0, color="black", lw=1, ls="--", label="error as large as the signal")
        axes.set(title=name, xlabel="layer, from input to output")
    for axes in panels[::COLUMNS_OF_PANELS]:
        axes.set_ylabel("signal-to-noise ratio, dB")
    _legend(panels[0])
    return figure


def spread_figure(content: dict[str, Any]) -> Figure:
    """Accuracy against the spread of the bottlenecks, a panel for each model with twins."""
    figure, panels = _panels(content, 6.2, 4.0)
    for axes, (name, record) in zip(panels, content.items(), strict=True):
        twins = sorted(record["twins"].values(), key=lambda twin: twin["power"])
        for cell, label in LAYER_CELLS.items():
            axes.plot([twin["power"] for twin in twins],
                      [100 * twin["cells"][cell]["accuracy"] if cell in twin["cells"] else np.nan
                       for twin in twins], marker="o", label=label)
        axes.set(title=name, ylim=(0, 103), xlabel="spread of Lite0's published bottlenecks to "
                 "the power of\n(0: as trained)")
    for axes in panels[::COLUMNS_OF_PANELS]:
        axes.set_ylabel("accuracy on validation, %")
    _legend(panels[0])
    return figure


def draw(content: dict[str, Any]) -> None:
    """Write the three figures, and the tables between the page's markers."""
    for figure, path in ((grid_figure(content), GRID), (layers_figure(content), LAYERS),
                         (spread_figure(content), SPREAD)):
        save(figure, path)
    write_block(PAGE, "autopsy", markdown(content))


def _percent(cell: dict[str, Any] | None) -> str:
    return "" if cell is None else f"{100 * cell['accuracy']:.1f} %"


def _panels(content: dict[str, Any], width: float, height: float) -> tuple[Figure, Any]:
    sns.set_theme(style="whitegrid", palette=PALETTE)
    columns = min(len(content), COLUMNS_OF_PANELS)
    rows = -(-len(content) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(width * columns + 1.5, height * rows),
                                  sharey=True, squeeze=False)
    for empty in panels.flat[len(content):]:
        empty.set_axis_off()
    return figure, panels.flat[:len(content)]


def _legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, frameon=False, fontsize=8, loc="best")
