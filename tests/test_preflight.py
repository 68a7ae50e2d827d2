"""The command that says what a CPU does with INT8 and which recipe suits it."""

import subprocess
import sys

import pytest
from paths import ROOT

from stages import preflight
from stages.preflight import recommended_preset


@pytest.mark.parametrize(("unit", "saturates", "preset"), [
    ("VNNI", False, "int8_full_range"), ("AMX", False, "int8_full_range"),
    ("unknown", False, "int8_full_range"), ("AVX2", True, "int8"), ("unknown", True, "int8"),
    ("Arm dot product", False, "int8_signed")])
def test_preset_that_suits(unit, saturates, preset):
    assert recommended_preset(unit, saturates) == preset


@pytest.mark.parametrize(("saturates", "preset"), [(True, "int8"),
                                                   (False, "int8_full_range")])
def test_recipes_for_an_override(monkeypatch, capsys, saturates, preset):
    monkeypatch.setattr(preflight, "integer_unit", lambda *asked: "unknown")
    monkeypatch.setattr(preflight, "products_saturate", lambda: saturates)
    monkeypatch.setattr(sys, "argv", ["preflight", "--recipes"])
    preflight.main()
    assert capsys.readouterr().out == f"{preset}\n"
    assert (ROOT / "conf" / "quantize" / f"{preset}.yaml").is_file()


def test_needs_onnxruntime_and_numpy_alone():
    """As on the machine that the model is to run on."""
    blocked = {module: None for module in ("torch", "torchvision", "timm", "onnx", "pandas",
                                           "scipy", "sklearn", "dvc", "hydra", "PIL")}
    code = (f"import runpy, sys; sys.modules.update({blocked}); sys.argv = ['preflight']; "
            "runpy.run_module('stages.preflight', run_name='__main__')")
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    told = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert list(told) == ["CPU", "instruction sets", "INT8 unit", "sums of products",
                          "recipes that suit"]
    assert "-S quantize=int8" in told["recipes that suit"]
