import pytest
from synthetic import a_system

from stages.reporting.tables import (
    float_nodes_told,
    result_table,
    search_sentence,
    training_sentence,
)


@pytest.fixture
def summary():
    row = {"accuracy": 0.98765, "accuracy_ci95_low": 0.97, "accuracy_ci95_high": 0.99501,
           "accuracy_drop_pp": 0.0, "accuracy_drop_pp_ci95_low": -0.36,
           "accuracy_drop_pp_ci95_high": 0.364, "size_mb": 13.456, "latency_p50_ms": 1.234,
           "latency_p90_ms": 2.356, "throughput_img_s": 1943.4,
           **{f"speedup_{measure}{end}": 1.0 for measure in ("latency", "throughput")
              for end in ("", "_ci95_low", "_ci95_high")}}
    return {"dataset": "digits", "model": "lite0", "image_size": 64, "test_images": 10000,
            "latency_runs": 100, "selected": {"variant": "int8_static", "reason": "it is fast"},
            "variants": {"onnx_fp32": row, "int8_static": {
                **row, "accuracy_drop_pp": 0.2, "speedup_latency": 2.345,
                "speedup_latency_ci95_low": 2.1, "speedup_latency_ci95_high": 2.456,
                "speedup_throughput": 1.5}}}


@pytest.fixture
def system():
    return {**a_system(), "packages": {"torch": "1.2.3", "onnxruntime": "4.5.6"}}


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_result_table_by_hand(summary, system):
    lines = result_table(summary, system).splitlines()
    table = [cells(line) for line in lines if line.startswith("|")]
    assert [row[0] for row in table] == ["variant", "---", "onnx_fp32", "**int8_static**"]
    assert {len(row) for row in table} == {8}
    assert table[2][1:] == ["98.77 % (97.00 to 99.50)", "0", "13.46 MB",
                            "1.23 / 2.36 ms",
                            "1943 images/s",
                            "1.00× (1.00 to 1.00)", "1.00× (1.00 to 1.00)"]
    assert table[3][2] == "+0.20 (-0.36 to +0.36)"
    assert table[3][6:] == ["2.35× (2.10 to 2.46)", "1.50× (1.00 to 1.00)"]
    assert table[0][4] == "latency p50 / p90"
    assert "Selected: **int8_static**, it is fast." in lines


def test_the_last_percentile_is_shown(summary, system):
    for row in summary["variants"].values():
        row["latency_p99_ms"] = 3.5
    table = [cells(line) for line in result_table(summary, system).splitlines()
             if line.startswith("|")]
    assert table[0][4] == "latency p50 / p99"
    assert table[2][4] == "1.23 / 3.50 ms"


def test_result_table_tells_where_it_was_measured(summary, system):
    first = result_table(summary, system).splitlines()[0]
    for told in ("digits", "lite0 at 64 px", "10,000 test pictures", "A CPU", "fma",
                 "2 threads", "100 runs", "torch 1.2.3", "onnxruntime 4.5.6"):
        assert told in first
    system["cpu"]["flags"] = []
    assert "A CPU (x86_64)" in result_table(summary, system)


def test_what_runs_in_float_is_told_by_reason():
    assert float_nodes_told({"in_float": []}) == "nothing"
    assert float_nodes_told({"in_float": [
        {"operator": "Add", "reason": "one"}, {"operator": "Mul", "reason": "one"},
        {"operator": "Mul", "reason": "one"}, {"operator": "Conv", "reason": "another"}]}) == \
        "2 Mul, 1 Add (one); 1 Conv (another)"


def test_search_sentence():
    assert search_sentence("int8_mixed", {
        "kept_in_float": ["stem", "next"], "macs_in_float": 0.125,
        "sensitivity": [{"weights": ["stem", "next"]}, {"weights": ["last"]}],
        "reason": "the fewest", "steps": [
            {"layers_in_float": 0, "drop_pp": 2.0, "drop_upper_pp": 3.0, "logits_snr_db": 9.96},
            {"layers_in_float": 2, "drop_pp": 0.0, "drop_upper_pp": 0.5,
             "logits_snr_db": 31.0}]}) == (
        "int8_mixed has 2 of 3 layers in float (stem, next), 12.5 % of the operations: the fewest. "
        "Tried: 0 in float, drop 2.00 points (at most 3.00), 10.0 dB; "
        "2 in float, drop 0.00 points (at most 0.50), 31.0 dB.")


@pytest.mark.parametrize(("stopped_early", "told"), [(True, "stopped early"),
                                                     (False, "ran to the last epoch")])
def test_training_sentence(stopped_early, told):
    sentence = training_sentence(
        {"stopped_early": stopped_early, "epochs": 12, "best": {"epoch": 9, "val_accuracy": 0.98}},
        {"seconds": 150, "images_per_second": 99.6, "threads": 2, "device": "cpu", "processes": 1})
    for part in (told, "12 epochs", "epoch 9", "98.00 %", "2.5 minutes", "100 images/s",
                 "on 2 threads (cpu)"):
        assert part in sentence


@pytest.mark.parametrize(("processes", "threads", "told"), [
    (1, 3, "on 3 threads (cpu)"), (4, 3, "on 4 processes with 3 threads each (cpu)"),
    (2, 1, "on 2 processes with 1 thread each (cpu)")])
def test_training_sentence_of_several_processes(processes, threads, told):
    assert told in training_sentence(
        {"stopped_early": False, "epochs": 1, "best": {"epoch": 1, "val_accuracy": 0.5}},
        {"seconds": 1, "images_per_second": 1, "threads": threads, "device": "cpu",
         "processes": processes})
