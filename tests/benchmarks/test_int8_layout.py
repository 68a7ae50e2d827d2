from inverted_residual import SIDE, network
from synthetic import a_system

from benchmarks import int8_layout, untrained
from benchmarks.int8_layout import PADDED, PLAIN, REPEATED, measure, told
from stages.config.schema import REFERENCE


def test_each_way_of_a_model_is_timed(monkeypatch):
    """A small network with the same operations takes the place of the model."""
    for name, value in (("SIZE", SIDE), ("PICTURES", 4), ("BATCHES", (1, 2))):
        monkeypatch.setattr(int8_layout, name, value)
    monkeypatch.setattr(untrained, "untrained", lambda *_: None)
    monkeypatch.setattr(untrained, "export_onnx", lambda *_: network("SiLU"))
    times = measure("efficientnet_b0", "relu6", 2)["milliseconds"]
    assert list(times) == ["1", "2"]
    for each in times.values():
        assert list(each) == [REFERENCE, PLAIN, PADDED, REPEATED]
        assert all(len(series) == 2 and min(series) > 0 for series in each.values())


def test_ratios_are_taken_round_by_round():
    text = told({"rounds": 2, "models": [
        {"model": "a_model", "activation": "relu6", "milliseconds": {"16": {
            REFERENCE: [40.0, 80.0], PLAIN: [20.0, 40.0], PADDED: [10.0, 20.0]}}}],
        "system": a_system()})
    assert text.startswith("Random weights, 224 px, 2 rounds; A CPU (avx2, fma), 2 threads; "
                           "onnxruntime 9.9.\n")
    assert text.rstrip().endswith("| a_model with relu6 | 16 | input padded | 15.00 "
                                  "| 2.00× (2.00 to 2.00) | 4.00× (4.00 to 4.00) |")
