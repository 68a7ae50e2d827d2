from synthetic import a_system

from benchmarks import depthwise_backward
from benchmarks.depthwise_backward import LAYERS, WAYS, measure_layer, told


def test_either_way_is_timed_once_a_round(monkeypatch):
    monkeypatch.setattr(depthwise_backward, "BATCH", 2)
    for precision in ("fp32", "bf16"):
        layer = measure_layer((4, 6, 5, 1), precision, 3)
        assert layer["precision"] == precision
        assert set(layer["milliseconds"]) == set(WAYS)
        assert all(len(each) == 3 and min(each) > 0 for each in layer["milliseconds"].values())


def test_the_table_has_medians_and_extremes():
    layer = dict(zip(("channels", "pixels", "kernel", "stride"), LAYERS[2], strict=True),
                 precision="fp32", milliseconds={"pytorch": [9.0, 30.0, 12.0],
                                                 "stage": [4.0, 5.0, 6.5]})
    text = told({"layers": [layer], "system": a_system()})
    assert text.startswith("Batches of 32, 3 rounds; A CPU (avx2, fma), 2 threads; torch 9.9.\n")
    assert text.rstrip().endswith(
        "| 480 | 14 | 5 by 5, 1 | fp32 | 12.0 (9.0 to 30.0) | 5.0 (4.0 to 6.5) |")
