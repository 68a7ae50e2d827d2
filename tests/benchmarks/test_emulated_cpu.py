"""The comparison of two CPUs, by hand, and what is said when the other one can't be had."""

import shutil
import sys

import numpy as np
from refusals import refusal

from benchmarks.emulated_cpu import Logits, compare, main, run_models, table

RIGHT, WRONG = [1.0, 0.0], [0.0, 1.0]
TOLD = {"u8s8": {"cpu_ms_a_picture": 5.0, "warnings": ["u8s8.onnx: cut off"]},
        "s8s8": {"cpu_ms_a_picture": 9.0, "warnings": []}}


def test_accuracy_on_both_and_how_far_logits_move():
    logits = {"u8s8": Logits(np.array([RIGHT, RIGHT]), np.array([RIGHT, WRONG]) * 2),
              "s8s8": Logits(np.array([RIGHT, WRONG]), np.array([RIGHT, WRONG]))}
    rows = compare(np.array([0, 0]), logits, TOLD)
    assert rows["u8s8"] == {"accuracy": 1.0, "emulated_accuracy": 0.5, "max_logit_change": 2.0,
                            "emulated_cpu_ms_a_picture": 5.0, "warnings": ["u8s8.onnx: cut off"]}
    assert rows["s8s8"]["accuracy"] == rows["s8s8"]["emulated_accuracy"] == 0.5
    assert rows["s8s8"]["max_logit_change"] == 0
    lines = table(rows, "Haswell").splitlines()
    assert "accuracy on Haswell" in lines[0]
    assert lines[2:] == ["| u8s8 | 100.00 % | 50.00 % | 2.000 | yes |",
                         "| s8s8 | 50.00 % | 50.00 % | 0.000 | no |"]


def test_missing_emulator_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["emulated_cpu"])
    assert refusal(main) == "qemu-x86_64: not installed; it comes with the package qemu-user"


def test_command_that_fails_is_told_in_one_line(tmp_path):
    assert "exit status 1" in refusal(run_models, tmp_path, "native", [])
