import numpy as np
import pandas as pd
import pytest
from refusals import refusal

from stages.measurement.accuracy import Comparison
from stages.reporting.summary import (
    CONFUSION,
    comparison,
    comparisons,
    read_confusion,
    select,
    summarize,
)

NAMES = ("torch_fp32", "onnx_fp32", "int8_dynamic", "int8_static")


def rows(spread=0.005, **speedups):
    """What summarize gives, as far as select looks at it; the interval is `spread` to each side."""
    return {name: {"speedup_latency": speedup, "speedup_latency_ci95_low": speedup - spread,
                   "speedup_latency_ci95_high": speedup + spread}
            for name, speedup in speedups.items()}


def bounds(images=5000, **drops):
    """What comparisons gives; on test every variant looks lossless, which must not count."""
    return {name: {"validation": {"drop_upper_pp": drop, "images": images},
                   "test": {"drop_upper_pp": 0.0}} for name, drop in drops.items()}


@pytest.mark.parametrize(("speedups", "drops", "winner"), [
    ({"int8_dynamic": 1.5, "int8_static": 2.0}, {"int8_dynamic": 0.1, "int8_static": 0.9},
     "int8_static"),
    ({"int8_dynamic": 3.0, "int8_static": 2.0}, {"int8_dynamic": 0.1, "int8_static": 0.9},
     "int8_dynamic"),
    ({"int8_dynamic": 3.0, "int8_static": 2.0}, {"int8_dynamic": 1.01, "int8_static": 0.9},
     "int8_static"),
    ({"int8_dynamic": 1.5, "int8_static": 2.0}, {"int8_dynamic": -0.5, "int8_static": 1.0},
     "int8_static"),
    ({"int8_dynamic": 1.01, "int8_static": 0.9}, {"int8_dynamic": 0.9, "int8_static": 0.0},
     "int8_dynamic")],
    ids=["fastest", "fastest is the other", "too large a drop", "drop at the limit",
         "barely faster"])
def test_fastest_within_the_limit_is_selected(speedups, drops, winner):
    selected = select(rows(**speedups), bounds(onnx_fp32=0.0, **drops), 1.0)
    assert selected["variant"] == winner
    assert f"{drops[winner]:.2f}" in selected["reason"]
    speedup = speedups[winner]
    assert f"{speedup:.2f} times ({speedup - 0.005:.2f} to {speedup + 0.005:.2f})" in \
        selected["reason"]


@pytest.mark.parametrize(("speedups", "drops"), [
    ({"int8_dynamic": 0.8, "int8_static": 0.99}, {"int8_dynamic": 0.1, "int8_static": 0.1}),
    ({"int8_dynamic": 1.5, "int8_static": 2.0}, {"int8_dynamic": 5.0, "int8_static": 1.2}),
    ({"int8_dynamic": 0.5, "int8_static": 2.0}, {"int8_dynamic": 0.1, "int8_static": 1.2}),
    ({"int8_dynamic": 1.0, "int8_static": 1.0}, {"int8_dynamic": 0.0, "int8_static": 0.0})],
    ids=["none is faster", "none is accurate", "one of each", "equally fast"])
def test_float_model_is_selected_with_a_reason(speedups, drops):
    selected = select(rows(**speedups), bounds(onnx_fp32=0.0, **drops), 1.0)
    assert selected["variant"] == "onnx_fp32"
    for name in speedups:
        assert (f"{name}: drop up to {drops[name]:.2f} points, "
                f"{speedups[name]:.2f} times (") in selected["reason"]


@pytest.mark.parametrize(("images", "told"), [
    (162, "; 162 validation pictures are too few to show such a drop at 95 %, which takes 163"),
    (163, "")])
def test_too_few_pictures_are_a_reason(images, told):
    selected = select(rows(int8_static=2.0),
                      bounds(images, onnx_fp32=1.1, int8_static=1.1), 1.0)
    assert selected["reason"].endswith(f"as fast){told}")


def predictions(labels, predicted, split="test"):
    return pd.DataFrame({"split": split, "position": np.arange(len(labels)), "label": labels,
                         "predicted": predicted, "confidence": 0.9})


LABELS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
REFERENCE = [0, 1, 2, 0, 1, 2, 0, 1, 0, 1]  # wrong in the last two
STATIC = [0, 1, 2, 0, 1, 2, 1, 0, 2, 2]  # loses two, gains one, differs in four


@pytest.fixture
def tables():
    validation = predictions(LABELS, LABELS, "validation")
    worse = predictions(LABELS, [9, 9, 9, *LABELS[3:]], "validation")
    return {"torch_fp32": pd.concat([validation, predictions(LABELS, REFERENCE)]),
            "onnx_fp32": pd.concat([validation, predictions(LABELS, REFERENCE)]),
            "int8_dynamic": pd.concat([worse, predictions(LABELS, [9] * 10)]),
            "int8_static": pd.concat([validation, predictions(LABELS, STATIC)])}


def test_comparison_is_of_one_split(tables):
    against = comparison(tables["int8_dynamic"], tables["onnx_fp32"], "validation")
    assert against == Comparison(n=10, lost=3, gained=0, flipped=3)


def test_comparison_joins_by_position(tables):
    shuffled = tables["int8_static"].sample(frac=1, random_state=0)
    for split in ("validation", "test"):
        assert comparison(shuffled, tables["onnx_fp32"], split) == \
            comparison(tables["int8_static"], tables["onnx_fp32"], split)


def test_predictions_of_other_pictures_are_refused(tables):
    other = tables["int8_static"].assign(position=tables["int8_static"].position + 1)
    assert refusal(comparison, other, tables["onnx_fp32"], "test") == (
        "data/predictions: the test pictures of a variant are not those of onnx_fp32; "
        "run 'dvc repro'")


def test_comparisons_by_hand(tables):
    result = comparisons(tables)
    assert list(result) == list(NAMES)
    static = result["int8_static"]["test"]
    assert static["drop_upper_pp"] > static.pop("drop_pp") == pytest.approx(10)
    assert static.pop("drop_upper_pp") == pytest.approx(Comparison(10, 2, 1, 4).drop_upper_pp())
    assert static == {"images": 10, "lost": 2, "gained": 1, "flipped": 4, "mcnemar_p": 1.0}
    assert result["int8_dynamic"]["validation"]["mcnemar_p"] == 0.25
    assert result["int8_dynamic"]["validation"]["lost"] == 3
    assert result["onnx_fp32"]["test"]["flipped"] == 0


def benchmark_row(latency, throughput, speedup):
    """A variant's row of benchmark.json; the ratios are not those of its medians."""
    return {"latency_p50_ms": latency, "latency_p50_ms_ci95_low": latency - 0.1,
            "latency_p50_ms_ci95_high": latency + 0.1, "latency_p90_ms": latency + 1,
            "latency_p90_ms_ci95_low": latency + 0.9, "latency_p90_ms_ci95_high": latency + 1.1,
            "end_to_end_p50_ms": latency + 0.5, "throughput_img_s": throughput,
            "throughput_batch_size": 16, "throughput_streams": 2, "warmup_runs": 20,
            **{f"speedup_{measure}{end}": speedup + shift
               for measure in ("latency", "end_to_end", "throughput")
               for end, shift in (("", 0), ("_ci95_low", -0.25), ("_ci95_high", 0.25))},
            "load_ms": 40.0, "first_run_ms": 3.0, "peak_memory_mb": 90.0}


def test_summary_by_hand_against_onnx_fp32(tables):
    benchmark = {"torch_fp32": benchmark_row(8.0, 100.0, 0.5),
                 "onnx_fp32": benchmark_row(4.0, 400.0, 1.0),
                 "int8_dynamic": benchmark_row(5.0, 300.0, 0.75),
                 "int8_static": benchmark_row(1.0, 1000.0, 3.75)}
    evaluations = {name: {"accuracy": 0.5, "accuracy_ci95_low": 0.4, "accuracy_ci95_high": 0.6,
                          "validation_accuracy": 0.7, "images": 10, "size_mb": size}
                   for name, size in zip(NAMES, (4, 3, 2, 1), strict=True)}
    result = summarize(evaluations, benchmark, tables)
    assert list(result) == list(NAMES)
    assert result["int8_static"] == {
        "accuracy": 0.5, "accuracy_ci95_low": 0.4, "accuracy_ci95_high": 0.6,
        "validation_accuracy": 0.7,
        "accuracy_drop_pp": pytest.approx(10),
        # (1 of 12, and 1.96 times the root of 4 - 1/12, of 12)
        "accuracy_drop_pp_ci95_low": pytest.approx(-23.99, abs=0.01),
        "accuracy_drop_pp_ci95_high": pytest.approx(40.66, abs=0.01),
        "flip_rate": 0.4, "mcnemar_p": 1.0,
        "calibration_error": pytest.approx(0.2), "size_mb": 1,
        "latency_p50_ms": 1.0, "latency_p90_ms": 2.0, "end_to_end_p50_ms": 1.5,
        "throughput_img_s": 1000.0, "speedup_latency": 3.75, "speedup_latency_ci95_low": 3.5,
        "speedup_latency_ci95_high": 4.0, "speedup_throughput": 3.75,
        "speedup_throughput_ci95_low": 3.5, "speedup_throughput_ci95_high": 4.0,
        "load_ms": 40.0, "first_run_ms": 3.0, "peak_memory_mb": 90.0}
    assert result["int8_dynamic"]["accuracy_drop_pp"] == pytest.approx(80)
    reference = result["onnx_fp32"]
    assert (reference["accuracy_drop_pp"], reference["flip_rate"]) == (0, 0)


def test_what_noise_could_explain_is_not_selected():
    drops = bounds(onnx_fp32=0.0, noisy=0.0, sure=0.5)
    sure = rows(sure=1.3)
    assert select({**sure, **rows(spread=1.6, noisy=2.5)}, drops, 1.0)["variant"] == "sure"
    alone = select(rows(spread=1.6, noisy=2.5), drops, 1.0)
    assert alone["variant"] == "onnx_fp32"
    assert "noisy: drop up to 0.00 points, 2.50 times (0.90 to 4.10) as fast" in alone["reason"]


def test_of_those_as_fast_as_the_fastest_the_most_accurate_is_selected():
    speeds = rows(first=2.0, second=1.95, slow=1.5)
    drops = bounds(onnx_fp32=0.0, first=0.5, second=0.2, slow=0.0)
    level = select(speeds, drops, 1.0)
    assert level["variant"] == "second"
    assert level["reason"].startswith("within 7 % of first, the fastest whose drop")
    fastest = select({**speeds, **rows(first=2.2)}, drops, 1.0)
    assert fastest["variant"] == "first"
    assert fastest["reason"].startswith("fastest whose drop")


def test_of_two_that_are_level_in_both_the_faster_is_selected():
    selected = select(rows(slower=2.0, faster=2.08),
                      bounds(onnx_fp32=0.0, slower=0.26, faster=0.26), 1.0)
    assert selected["variant"] == "faster"
    assert selected["reason"].startswith("fastest whose drop")


def test_without_a_candidate_the_float_model_is_selected():
    selected = select({}, bounds(onnx_fp32=0.0), 1.0)
    assert selected["variant"] == "onnx_fp32"
    assert "(there is none)" in selected["reason"]


def test_class_names_that_pandas_takes_for_missing_values_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["NA", "None", "null", "nan", "1"]
    CONFUSION.mkdir(parents=True)
    pd.DataFrame({"actual": names, "predicted": names[::-1]}).to_csv(CONFUSION / "a.csv",
                                                                     index=False)
    assert read_confusion("a").actual.tolist() == names
    assert read_confusion("a").predicted.tolist() == names[::-1]
