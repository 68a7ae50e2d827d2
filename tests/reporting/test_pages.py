import pytest
from refusals import refusal
from synthetic import a_system

from stages.analyze import CELLS, CUT_OFF
from stages.reporting.pages import chance, other_machine, percent, render
from stages.reporting.tables import cell, points

CPU = a_system()["cpu"]


@pytest.mark.parametrize(("value", "shown"), [
    (0.45, "+0.45"), (-1.239, "-1.24"), (0.0, "0.00"), (-0.0, "0.00"), (-0.004, "0.00"),
    (0.006, "+0.01")])
def test_points(value, shown):
    assert points(value) == shown


@pytest.mark.parametrize(("value", "shown"), [
    (1.0, "1"), (0.0523, "0.052"), (0.0001, "0.0001"), (1e-68, "< 0.0001"), (0.0, "< 0.0001")])
def test_chance(value, shown):
    assert chance(value) == shown


def test_percent():
    assert percent(0.98765) == "98.77 %"
    assert percent(0.98765, 1) == "98.8 %"


def test_cell_stays_one_cell():
    assert cell("a|b <i>&\nc") == "a\\|b &lt;i>&amp; c"


def test_same_machine_gives_no_warning():
    assert other_machine(CPU, {**CPU, "threads_used": 1}) is None


@pytest.mark.parametrize("change", [{"model": "B CPU"}, {"architecture": "aarch64"},
                                    {"cores": 4}, {"flags": ["avx2"]}], ids=lambda c: next(iter(c)))
def test_another_machine_is_told(change):
    warning = other_machine({**CPU, **change}, CPU)
    assert "A CPU (avx2, fma), 2 cores" in warning
    assert "make bench" in warning


def test_machine_without_known_instruction_sets():
    assert "(riscv64)" in other_machine({**CPU, "architecture": "riscv64", "flags": []}, CPU)


def test_value_that_metrics_lack_is_named():
    message = refusal(render, "collapse.txt", {"analysis": {"accuracy": {"float": 0.5}}})
    assert "weights per tensor, activations float" in message
    assert message.endswith("run 'dvc repro'")


@pytest.mark.parametrize("cuts_off", [False, True])
def test_sums_that_the_cpu_cuts_off_are_told_where_it_does(cuts_off):
    accuracy = dict.fromkeys(CELLS, 0.99)
    text = render("collapse.txt", {"analysis": {
        "accuracy": accuracy | ({CUT_OFF: 0.123} if cuts_off else {}),
        "widest_channel_spread": 9.0,
        "last_layer_snr_db": {"per_tensor": -0.04, "per_channel": 20.0}}})
    assert " 0.0 dB per tensor and 20.0 dB" in " ".join(text.split())
    assert "-0.0" not in text
    assert ("to 12.3 %. Weights of 7 bits" in text) is cuts_off
    assert ("VNNI" in text) is cuts_off
