import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection, QuadMesh

from stages.reporting import figures

NAMES = ["torch_fp32", "onnx_fp32", "int8_dynamic", "int8_static"]
VARIANTS = {name: {"speedup_latency": 0.2 + index, "speedup_throughput": 0.5 + index,
                   "speedup_latency_ci95_low": 0.1 + index,
                   "speedup_latency_ci95_high": 0.4 + index,
                   "speedup_throughput_ci95_low": 0.3 + index,
                   "speedup_throughput_ci95_high": 0.6 + index,
                   "accuracy": 0.9 + index / 100, "accuracy_ci95_low": 0.88 + index / 100,
                   "accuracy_ci95_high": 0.93, "latency_p50_ms": 8.0 / 2**index,
                   "size_mb": 16.0 / 2**index} for index, name in enumerate(NAMES)}
RUNS = pd.DataFrame({"run": range(12), **{
    name: np.linspace(8, 9, 12) / 2**index for index, name in enumerate(NAMES)}})
HISTORY = pd.DataFrame({"train.loss": [1.0, 0.5, 0.4], "val.loss": [0.9, 0.6, 0.7],
                        "train.accuracy": [0.5, 0.8, 0.9], "val.accuracy": [0.6, 0.8, 0.7]},
                       index=[1, 2, 3])
ACTUAL = ["a", "a", "a", "a", "b", "b", "c", "c"]
CONFUSED = {"onnx_fp32": pd.DataFrame({"actual": ACTUAL, "predicted": ACTUAL}),
            "int8_static": pd.DataFrame({"actual": ACTUAL, "predicted": [*"aaab", *"bb", *"ab"]})}

ACCURACY = {"float": 0.9, "weights per tensor": 0.1}
LAYERS = pd.DataFrame({"position": [0, 1, 2], "output_snr_db_per_channel": [30.0, 25.0, 20.0],
                       "output_snr_db_per_tensor": [10.0, 5.0, 1.0]})

DRAWN = {"latency_by_run": (lambda: figures.latency_by_run(RUNS), 1),
         "speedups": (lambda: figures.speedups(VARIANTS), 1),
         "training_curves": (lambda: figures.training_curves(HISTORY, 2), 2),
         "confusion": (lambda: figures.confusion(CONFUSED), 2),
         "collapse": (lambda: figures.collapse(ACCURACY, LAYERS), 2),
         "accuracy_against_latency": (lambda: figures.accuracy_against_latency(VARIANTS), 1)}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def curves(axes):
    """The lines of `axes` that hold data, without those that just span it."""
    return [line for line in axes.lines if len(line.get_xdata()) > 2]


@pytest.mark.parametrize("name", DRAWN)
def test_panels_have_labels_and_titles(name):
    draw, panels = DRAWN[name]
    figure = draw()
    assert len(figure.axes) == panels
    for axes in figure.axes:
        assert axes.get_title()
        assert axes.get_xlabel()
        assert axes.get_ylabel() or axes.containers  # bars bear names


@pytest.mark.parametrize("name", DRAWN)
def test_same_data_gives_the_same_bytes(name, tmp_path):
    draw, _ = DRAWN[name]
    contents = []
    for number in range(2):
        figures.save(draw(), tmp_path / "new" / f"{number}.png")
        contents.append((tmp_path / "new" / f"{number}.png").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith(b"\x89PNG")
    assert b"Software" not in contents[0]
    assert not plt.get_fignums(), "a saved figure is closed"


def test_a_line_for_each_variant_with_its_median():
    axes = figures.latency_by_run(RUNS).axes[0]
    drawn = sorted((line.get_ydata().tolist() for line in curves(axes)), reverse=True)
    expected = [RUNS[name].tolist() for name in NAMES]
    np.testing.assert_allclose(drawn, expected)
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == [f"{name}: {RUNS[name].median():.2f} ms" for name in NAMES]


def test_no_two_of_many_variants_have_one_colour():
    runs = pd.DataFrame({"run": range(3), **{f"variant {index}": [1 + index] * 3
                                             for index in range(13)}})
    drawn = curves(figures.latency_by_run(runs).axes[0])
    assert len({line.get_color() for line in drawn}) == len(drawn) == 13


def test_two_bars_for_each_variant():
    axes = figures.speedups(VARIANTS).axes[0]
    bars = {container.get_label(): [bar.get_width() for bar in container]
            for container in axes.containers}
    assert list(bars.values()) == [
        [pytest.approx(VARIANTS[name][key]) for name in NAMES]
        for key in ("speedup_latency", "speedup_throughput")]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == NAMES
    assert [text.get_text() for text in axes.texts[:4]] == ["0.20×", "1.20×", "2.20×", "3.20×"]


def test_interval_of_a_speedup_lies_across_the_end_of_its_bar():
    axes = figures.speedups(VARIANTS).axes[0]
    bars = [bar for container in axes.containers for bar in container]
    assert len(axes.lines) == len(bars) + 1  # and the one of onnx_fp32
    for bar, line in zip(bars, axes.lines, strict=False):
        assert line.get_xdata()[0] < bar.get_width() < line.get_xdata()[1]
        for y in line.get_ydata():
            assert bar.get_y() < y < bar.get_y() + bar.get_height()


def test_training_and_validation_in_both_panels():
    for axes, name, scale, label in zip(figures.training_curves(HISTORY, 2).axes,
                                        ("loss", "accuracy"), (1, 100),
                                        ("loss", "accuracy, %"), strict=True):
        training, validation = curves(axes)
        assert training.get_ydata().tolist() == (scale * HISTORY[f"train.{name}"]).tolist()
        assert validation.get_ydata().tolist() == (scale * HISTORY[f"val.{name}"]).tolist()
        assert training.get_xdata().tolist() == [1, 2, 3]
        spans = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
        assert [list(span) for span in spans] == [[2, 2]]
        assert axes.get_ylabel() == label


def test_confusion_is_in_percent_of_the_actual_class():
    figure = figures.confusion(CONFUSED)
    shares = [next(entry for entry in axes.collections if isinstance(entry, QuadMesh))
              .get_array().reshape(3, 3) for axes in figure.axes]
    np.testing.assert_allclose(shares[0], 100 * np.eye(3))
    np.testing.assert_allclose(shares[1], [[75, 25, 0], [0, 100, 0], [50, 50, 0]])
    assert "onnx_fp32: 100.00 %" in figure.axes[0].get_title()
    assert "int8_static: 62.50 %" in figure.axes[1].get_title()


@pytest.mark.parametrize("classes", [3, 40])
def test_confusion_writes_numbers_where_there_is_room(classes):
    names = [f"class {number:02}" for number in range(classes)]
    table = pd.DataFrame({"actual": names, "predicted": names})
    axes, = figures.confusion({"onnx_fp32": table}).axes
    assert bool([text for text in axes.texts if text.get_text()]) == (classes == 3)
    [cells] = [entry for entry in axes.collections if isinstance(entry, QuadMesh)]
    # Lines between the smallest of cells would leave nothing of them.
    assert bool(cells.get_linewidths()[0]) == (classes == 3)


def test_confusion_shows_names_with_dollar_signs(tmp_path):
    names = ["$100_$200", "$0_$10"]
    table = pd.DataFrame({"actual": names, "predicted": names})
    figures.save(figures.confusion({"onnx_fp32": table}), tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").is_file()


def test_confusion_of_many_classes_is_no_larger_than_that_of_fifty():
    def size(classes):
        names = [f"{number:03}" for number in range(classes)]
        table = pd.DataFrame({"actual": names, "predicted": names})
        return figures.confusion({"onnx_fp32": table}).get_size_inches().tolist()

    assert size(3) < size(30) < size(50) == size(200)


def test_numbers_of_the_confusion_are_short():
    texts = {text.get_text() for axes in figures.confusion(CONFUSED).axes for text in axes.texts}
    assert texts == {"100", "75", "25", "50", ""}


@pytest.mark.parametrize(("points", "front"), [
    ({"a": (1, 0.9), "b": (2, 0.95), "c": (3, 0.99)}, ["a", "b", "c"]),
    ({"a": (3, 0.99), "b": (1, 0.99), "c": (2, 0.98)}, ["b"]),
    ({"a": (1, 0.5), "b": (1, 0.9), "c": (2, 0.9)}, ["b"])],
    ids=["each is best at something", "one beats all", "ties"])
def test_pareto_front(points, front):
    assert figures.pareto_front({name: {"latency_p50_ms": latency, "accuracy": accuracy}
                                 for name, (latency, accuracy) in points.items()}) == front


def test_front_is_drawn():
    worse = {**VARIANTS, "int8_dynamic": {**VARIANTS["int8_dynamic"], "accuracy": 0.1,
                                          "accuracy_ci95_low": 0.05}}
    axes = figures.accuracy_against_latency({name: worse[name] for name in NAMES[1:]}).axes[0]
    line = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert line.get_xdata().tolist() == [1.0]  # int8_static beats both others
    assert line.get_ydata().tolist() == [pytest.approx(93)]


def test_accuracy_axis_ends_near_100_percent():
    best = {name: {**row, "accuracy": 0.99, "accuracy_ci95_low": 0.1, "accuracy_ci95_high": 1.0}
            for name, row in VARIANTS.items()}
    assert figures.accuracy_against_latency(best).axes[0].get_ylim()[1] <= 103


def test_a_point_for_each_variant_with_its_interval():
    axes = figures.accuracy_against_latency(VARIANTS).axes[0]
    points = [entry for entry in axes.collections if isinstance(entry, PathCollection)]
    assert len(points) == len(NAMES)
    for name, point, bar in zip(NAMES, points, axes.containers, strict=True):
        row = VARIANTS[name]
        assert point.get_offsets().tolist() == [[row["latency_p50_ms"],
                                                 pytest.approx(100 * row["accuracy"])]]
        (_, low), (_, high) = bar[2][0].get_segments()[0]
        assert (low, high) == (pytest.approx(100 * row["accuracy_ci95_low"]),
                               pytest.approx(100 * row["accuracy_ci95_high"]))
    areas = [point.get_sizes()[0] for point in points]
    assert areas[0] == 2 * areas[1] == 8 * areas[3]
    assert axes.get_xscale() == "log"
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told[-1] == "none is better in both"
    assert all(name in text for name, text in zip(NAMES, told[:-1], strict=True))


def test_variants_far_below_the_best_have_an_axis_of_their_own():
    lost = {**VARIANTS, "int8_dynamic": {**VARIANTS["int8_dynamic"], "accuracy": 0.1,
                                         "accuracy_ci95_low": 0.08, "accuracy_ci95_high": 0.12}}
    upper, lower = figures.accuracy_against_latency(lost).axes
    assert upper.get_ylim()[0] > 80
    assert lower.get_ylim()[1] < 20
    drawn = {axes: [point.get_offsets()[0, 1] for point in axes.collections
                    if isinstance(point, PathCollection)] for axes in (upper, lower)}
    assert drawn == {upper: pytest.approx([90, 91, 93]), lower: pytest.approx([10])}
    assert upper.get_xlim() == lower.get_xlim()
    assert len(lower.get_legend().get_texts()) == len(NAMES) + 1


def experiment_rows(**changes):
    rows = pd.DataFrame({"model.name": ["b0", "b3"], "parameters, M": [4.0, 10.7],
                         "MACs, M": [33.0, 82.0]})
    for index, variant in enumerate(("float", "int8")):
        for number in figures.VARIANT_NUMBERS:
            rows[f"{variant} {number}"] = [1.0 + index, 3.0 + index]
    return rows.assign(**changes)


def test_experiments_have_a_line_each_and_a_panel_for_each_number():
    figure = figures.experiments(experiment_rows(), ("float", "int8"), ["model.name"])
    assert [axes.get_xlabel() for axes in figure.axes] == [*figures.VARIANT_NUMBERS,
                                                           *figures.MODEL_NUMBERS]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b0", "b3"]
    speed, macs = figure.axes[2], figure.axes[4]
    assert [dots.get_offsets().tolist() for dots in speed.collections] == [
        [[1, 0], [3, 1]], [[2, 0], [4, 1]]]
    assert macs.collections[0].get_offsets().tolist() == [[33, 0], [82, 1]]


def test_numbers_of_the_model_are_left_out_where_they_are_all_the_same():
    figure = figures.experiments(experiment_rows(**{"MACs, M": 33.0}), ("float",), ["model.name"])
    assert [axes.get_xlabel() for axes in figure.axes] == [*figures.VARIANT_NUMBERS,
                                                           "parameters, M"]


def test_accuracy_of_experiments_ends_at_a_hundred_percent():
    rows = pd.DataFrame({"model.activation": ["keep", "relu6"], "parameters, M": 4.0,
                         "MACs, M": 3.0, "onnx_fp32 validation accuracy, %": 99.6,
                         "onnx_fp32 ms": [1.0, 2.0], "onnx_fp32 images/s": [10.0, 20.0]})
    accuracy, *_ = figures.experiments(rows, ["onnx_fp32"], ["model.activation"]).axes
    assert 99.6 < accuracy.get_xlim()[1] <= 100.5


def test_collapse_shows_each_recipe_and_both_ways_of_rounding():
    bars, lines = figures.collapse(ACCURACY, LAYERS).axes
    assert [label.get_text() for label in bars.get_yticklabels()] == list(ACCURACY)
    assert [bar.get_width() for bar in bars.containers[0]] == pytest.approx([90, 10])
    drawn = {line.get_label(): list(line.get_ydata()) for line in curves(lines)}
    assert drawn == {"per channel": [30, 25, 20], "per tensor": [10, 5, 1]}
