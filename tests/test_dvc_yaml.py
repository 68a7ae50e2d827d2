"""dvc.yaml says what the stages really read and write."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from import_closure import closure
from paths import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE["stages"].items()}
DVC = [sys.executable, "-m", "dvc"]


def code_of(stage: str) -> Path:
    return ROOT / "stages" / f"{stage}.py"


def paths(entries: list) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_module_and_template_is_a_dependency(stage):
    listed = {path for path in paths(STAGES[stage]["deps"]) if path.startswith("stages/")}
    modules = closure(stage)
    templates = {f"stages/reporting/templates/{name}" for module in modules for name in
                 re.findall(r'render\("([^"]+)"', (ROOT / module).read_text(encoding="utf-8"))}
    assert listed == modules | templates


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_those_that_the_stage_loads(stage):
    calls = [node for node in ast.walk(ast.parse(code_of(stage).read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load_params"]
    loaded = {re.sub(r"\{\w+\}", "${key}", ast.literal_eval(
        ast.unparse(argument).removeprefix("f"))) for call in calls for argument in call.args}
    assert loaded == set(STAGES[stage]["params"])


@pytest.mark.parametrize("stage", STAGES)
def test_stage_is_described_and_runs_its_module(stage):
    assert STAGES[stage]["desc"]
    launcher = "${train.launcher}" if stage == "train" else "python"
    assert STAGES[stage]["cmd"].split(" ${key}")[0] == f"{launcher} -m stages.{stage}"


def test_variants_are_the_same_everywhere():
    variants = list(PARAMS["variants"])
    for name in PARAMS["quantize"]["variants"]:
        assert PARAMS["variants"][name] == f"models/{name}.onnx"
    timed = paths(STAGES["benchmark"]["deps"])
    assert [path for path in timed if path.startswith("models/")] == \
        list(PARAMS["variants"].values())
    onnx_variants = [name for name in variants if name != "torch_fp32"]
    deploy = paths(STAGES["deploy"]["deps"])
    for pattern in ("models/{}.onnx", "data/predictions/{}.csv", "metrics/evaluate/{}.json"):
        assert {pattern.format(name) for name in onnx_variants} <= set(deploy)
    report = paths(STAGES["report"]["deps"])
    for pattern in ("data/predictions/{}.csv", "metrics/evaluate/{}.json",
                    "plots/confusion/{}.csv"):
        assert {pattern.format(name) for name in variants} <= set(report)
    plotted = {name: plot for entry in PIPELINE["plots"] for name, plot in entry.items()}
    for name in ("Latency by run", "Throughput by batch size"):
        assert next(iter(plotted[name]["y"].values())) == variants


def test_metrics_and_plots_are_in_git_and_models_are_not():
    for name, stage in STAGES.items():
        for entry in stage.get("metrics", []) + stage.get("plots", []):
            assert next(iter(entry.values()))["cache"] is False, name
        for path in paths(stage.get("outs", [])):
            assert path.startswith(("data/", "models/")) or name == "benchmark"


def test_every_table_that_is_plotted_says_how():
    """Without a template or axes, DVC draws the last column of a table by its row's number."""
    for stage in STAGES.values():
        for entry in stage.get("plots", []):
            (path, properties), = entry.items()
            if path.endswith(".csv"):
                assert {"x", "y", "title"} <= set(properties), path
                template = properties.get("template", "linear")
                assert template in ("linear", "confusion") or \
                    (ROOT / ".dvc" / "plots" / f"{template}.json").is_file()


def test_run_cache_cannot_replay_timings():
    assert {"plots/latency_runs.csv": {"cache": False}} in STAGES["benchmark"]["outs"]


def test_only_named_modules_read_the_test_split():
    readers = {path.name for path in (ROOT / "stages").rglob("*.py")
               if re.search(r"""["']test["']""", path.read_text(encoding="utf-8"))}
    assert readers == {"evaluate.py",                   # the pictures of the split
                       "deploy.py",                     # parity with evaluate on each; selects none
                       "dataset.py",                    # names of the splits
                       "splits.py", "imagefolder.py",   # where the split is made
                       "summary.py", "confusions.py"}   # predictions that evaluate wrote


def test_no_concern_imports_a_stage_and_none_imports_in_a_circle():
    concerns = {path.parent.name for path in (ROOT / "stages").glob("*/*.py")}
    edges = {concern: set() for concern in concerns}
    for path in (ROOT / "stages").glob("*/*.py"):
        for imported in re.findall(r"from stages\.(\w+)", path.read_text(encoding="utf-8")):
            assert imported in concerns, f"{path.name} imports the stage {imported}"
            edges[path.parent.name] |= {imported} - {path.parent.name}
    while edges:
        leaves = [concern for concern, needs in edges.items() if not needs & set(edges)]
        assert leaves, f"a circle among {sorted(edges)}"
        for leaf in leaves:
            del edges[leaf]


def test_packages_hold_no_code():
    for path in (ROOT / "stages").rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr), path


def test_fresh_clone_has_nothing_to_reproduce(tmp_path):
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    result = subprocess.run([*DVC, "repro", "--dry", "--allow-missing"], cwd=tmp_path / "clone",
                            capture_output=True, text=True, check=True,
                            env={**os.environ, "DVC_NO_ANALYTICS": "1"})
    assert "Running stage" not in result.stdout + result.stderr
    assert "up to date" in result.stdout + result.stderr


def test_stages_that_run_onnx_models_alone_start_without_the_model_libraries():
    """They take seconds to import, in every one of a dozen processes."""
    code = ("import sys, stages.analyze, stages.deploy, stages.evaluate, stages.quantize; "
            "print({'timm', 'torchvision'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout == "set()\n"
