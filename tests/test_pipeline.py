"""The whole pipeline through DVC, on a small configuration, in a repository of its own."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from archive_files import picture_files, write_zip
from refusals import refusal
from working_copy import SMALL, make_working_copy, run, write_params

from stages import deploy, evaluate, export, quantize, report
from stages.data.dataset import load_dataset
from stages.deployment.golden import TOLERANCE_INT8
from stages.deployment.parity import MIN_AGREEMENT
from stages.inference import saturation
from stages.quantization.recipe import recorded_recipe
from stages.quantization.variant import Record

VARIANTS = ["torch_fp32", "onnx_fp32", "int8_dynamic", "int8_static", "int8_qat", "int8_mixed"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository in which `dvc repro` has run once, committed."""
    folder = make_working_copy(tmp_path_factory.mktemp("pipeline") / "repository")
    write_params(folder, *SMALL)
    run(folder, "dvc", "repro")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "small")
    return folder


def summary_of(folder):
    return json.loads((folder / "metrics" / "summary.json").read_text())


def test_summary_has_the_schema(repository):
    summary = summary_of(repository)
    assert list(summary["variants"]) == VARIANTS
    assert summary["dataset"] == "digits"
    assert summary["image_size"] == 32
    for row in summary["variants"].values():
        assert set(row) == {
            "accuracy", "accuracy_ci95_low", "accuracy_ci95_high", "validation_accuracy",
            "accuracy_drop_pp", "accuracy_drop_pp_ci95_low", "accuracy_drop_pp_ci95_high",
            "flip_rate", "mcnemar_p", "calibration_error", "size_mb",
            "latency_p50_ms", "end_to_end_p50_ms", "throughput_img_s", "speedup_latency",
            "speedup_latency_ci95_low", "speedup_latency_ci95_high", "speedup_throughput",
            "speedup_throughput_ci95_low", "speedup_throughput_ci95_high", "load_ms",
            "first_run_ms", "peak_memory_mb"}
        assert row["accuracy_ci95_low"] <= row["accuracy"] <= row["accuracy_ci95_high"]
    reference = summary["variants"]["onnx_fp32"]
    assert reference["accuracy_drop_pp"] == reference["flip_rate"] == 0
    assert reference["speedup_latency"] == reference["speedup_throughput"] == 1


@pytest.mark.parametrize("variant", ["onnx_fp32", "int8_dynamic"])
def test_what_evaluate_tells_is_of_its_predictions(repository, variant):
    def read(path):
        return json.loads((repository / path).read_text())

    told, data = read(f"metrics/evaluate/{variant}.json"), read("data/splits.json")
    table = pd.read_csv(repository / f"data/predictions/{variant}.csv")
    parts = {split: table[table.split == split] for split in ("validation", "test")}
    for split, part in parts.items():
        assert part.position.tolist() == data["splits"][split]
        assert part.label.tolist() == [data["labels"][position] for position in part.position]
    right = {split: part.label == part.predicted for split, part in parts.items()}
    assert told["accuracy"] == right["test"].mean()
    assert told["validation_accuracy"] == right["validation"].mean()
    assert told["by_class"] == right["test"].groupby(parts["test"].label).mean().rename(
        dict(enumerate(data["classes"]))).to_dict()
    confused = pd.read_csv(repository / f"plots/confusion/{variant}.csv", dtype=str)
    for column, of in (("actual", "label"), ("predicted", "predicted")):
        assert confused[column].tolist() == [data["classes"][at] for at in parts["test"][of]]


def test_the_same_to_the_last_bit_when_made_again(repository):
    made = ["models/int8_mixed.onnx", "metrics/quantize/int8_mixed.json", "metrics/analysis.json",
            "plots/layer_error.csv", "metrics/evaluate/int8_static.json",
            "data/predictions/int8_static.csv"]
    before = {path: (repository / path).read_bytes() for path in made}
    for stage in ("quantize int8_mixed", "analyze", "evaluate int8_static"):
        run(repository, "python", "-m", *f"stages.{stage}".split())
    assert [path for path in made if (repository / path).read_bytes() != before[path]] == []


def test_a_model_unlike_pytorchs_is_not_kept(repository, monkeypatch):
    monkeypatch.chdir(repository)
    before, parity = export.FLOAT_FILE.read_bytes(), export.parity
    monkeypatch.setattr(export, "parity", lambda *logits: {**parity(*logits), "max_abs_diff": 1.0})
    assert "logits differ from PyTorch's by 1 " in refusal(export.main)
    assert export.FLOAT_FILE.read_bytes() == before
    assert not list(Path("models").glob("*.partial"))


def test_a_model_that_answers_otherwise_than_evaluate_saw_is_not_shipped(repository, monkeypatch):
    monkeypatch.chdir(repository)
    before = deploy.MODEL_FILE.read_bytes()
    monkeypatch.setattr(deploy, "read_csv", lambda path: pd.read_csv(path).assign(
        predicted=lambda table: (table.predicted + 1) % 10))
    assert "the class of 270 of 270 pictures is not" in refusal(deploy.main)
    assert deploy.MODEL_FILE.read_bytes() == before
    assert not list(Path("models").glob("*.partial"))


def test_pytorch_is_never_shipped(repository, monkeypatch):
    monkeypatch.chdir(repository)
    written, read_json = {}, report.read_json

    def with_a_fast_torch(path):
        content = read_json(path)
        if path.name == "benchmark.json":
            content["variants"]["torch_fp32"].update(
                {f"speedup_latency{end}": 100.0 for end in ("", "_ci95_low", "_ci95_high")})
        return content

    monkeypatch.setattr(report, "read_json", with_a_fast_torch)
    monkeypatch.setattr(report, "write_json", lambda path, made: written.update({path.name: made}))
    monkeypatch.setattr(report, "write_csv", lambda *_: None)
    monkeypatch.setattr(report.figures, "save", lambda *_: None)
    report.main()
    summary = written["summary.json"]
    assert summary["variants"]["torch_fp32"]["speedup_latency"] == 100
    assert summary["selected"]["variant"] != "torch_fp32"


def test_data_and_models_are_shared_through_a_remote(repository, tmp_path):
    """README's commands, with a folder in place of S3 or SSH."""
    config = (repository / ".dvc" / "config").read_bytes()
    try:
        run(repository, "dvc", "remote", "add", "-d", "storage", str(tmp_path / "storage"))
        run(repository, "dvc", "push")
        run(tmp_path, "git", "clone", "-q", str(repository), "clone")
        shutil.copy(repository / ".dvc" / "config", tmp_path / "clone" / ".dvc" / "config")
    finally:
        (repository / ".dvc" / "config").write_bytes(config)
    run(tmp_path / "clone", "dvc", "pull")
    for path in ("data/images.npy", "models/checkpoint.pt", "models/deploy.onnx"):
        assert (tmp_path / "clone" / path).read_bytes() == (repository / path).read_bytes()


def test_pytorch_and_onnx_agree(repository):
    export = json.loads((repository / "metrics" / "export.json").read_text())
    assert export["argmax_agreement"] == 1
    assert export["max_abs_diff"] < 1e-3
    assert summary_of(repository)["variants"]["torch_fp32"]["flip_rate"] == 0


def test_selected_model_is_deployed(repository):
    deployed = json.loads((repository / "metrics" / "deploy.json").read_text())
    assert deployed["variant"] == summary_of(repository)["selected"]["variant"]
    assert deployed["parity"]["test"]["class_agreement"] >= MIN_AGREEMENT
    verified = run(repository, "python", "-m", "stages.verify", "models/deploy.onnx",
                   "--record", "metrics/deploy.json").stdout
    assert [line.rsplit(": ", 1)[1] for line in verified.splitlines()] == ["ok"] * 4


def test_an_int8_model_is_deployed_with_what_it_was_made_of(repository, monkeypatch, caplog):
    monkeypatch.chdir(repository)
    kept = {path: path.read_bytes() for path in (deploy.MODEL_FILE, deploy.METRICS_FILE,
                                                 deploy.CARD_FILE)}
    read = deploy.read_json

    def selecting_int8(path):
        content = read(path)
        if path.name == "summary.json":
            content["selected"]["variant"] = "int8_static"
        return content

    monkeypatch.setattr(deploy, "read_json", selecting_int8)
    monkeypatch.setattr(deploy, "recorded_recipe",
                        lambda body: {**recorded_recipe(body), "reduce_range": False})
    monkeypatch.setattr(saturation, "products_saturate", lambda: True)
    try:
        deploy.main()
        facts = {entry.key: entry.value for entry in onnx.load(deploy.MODEL_FILE).metadata_props}
        card = deploy.CARD_FILE.read_text()
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    for key, path in (("fp32_sha256", "models/onnx_fp32.onnx"),
                      ("variant_sha256", "models/int8_static.onnx")):
        assert facts[key] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert json.loads(facts["golden"])["tolerance"] == TOLERANCE_INT8
    assert json.loads(facts["calibration"])["images"] == 20
    assert "Quantized to INT8 (static: weights QInt8" in card
    assert f"{deploy.MODEL_FILE}: on this CPU, which has no VNNI" in caplog.text


@pytest.mark.parametrize(("stage", "arguments"), [(export, []), (evaluate, ["torch_fp32"])])
def test_a_checkpoint_of_other_classes_is_refused(repository, monkeypatch, stage, arguments):
    monkeypatch.chdir(repository)
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    monkeypatch.setattr(stage, "load_dataset", lambda: replace(
        load_dataset(), classes=[f"picture of {digit}" for digit in range(10)]))
    assert "was trained on the classes 0, 1, 2 and 7 more, the data has picture of 0" in refusal(
        stage.main)


@pytest.mark.parametrize(("recipe", "reduce_range", "warned"), [
    ("int8_static", False, True), ("int8_static", True, False), ("int8_dynamic", False, False)])
def test_quantize_warns_where_sums_are_cut_off(repository, monkeypatch, caplog, recipe,
                                               reduce_range, warned):
    """The model is not made again: what the repository has takes its place."""
    def of_these_bits(model):
        return {**recorded_recipe(model), "reduce_range": reduce_range}

    monkeypatch.chdir(repository)
    target = Path(f"models/{recipe}.onnx")
    content = target.read_bytes()
    record = Record(np.arange(2))
    monkeypatch.setattr(sys, "argv", ["quantize", recipe])
    monkeypatch.setattr(quantize, "write_variant",
                        lambda source, path, *_: path.write_bytes(content) and record)
    monkeypatch.setattr(quantize, "write_json", lambda *_: None)
    monkeypatch.setattr(quantize, "recorded_recipe", of_these_bits)
    monkeypatch.setattr(saturation, "products_saturate", lambda: True)
    quantize.main()
    assert (f"{target}: on this CPU, which has no VNNI" in caplog.text) is warned
    assert target.read_bytes() == content


def test_an_onnx_file_of_ones_own_is_quantized_and_evaluated(repository, monkeypatch):
    """README's two commands, with a model that has no metadata in the place of export's."""
    touched = [Path(path) for path in (
        "models/onnx_fp32.onnx", "models/int8_static.onnx", "metrics/quantize/int8_static.json",
        "metrics/calibration/int8_static.json", "metrics/evaluate/int8_static.json",
        "data/predictions/int8_static.csv", "plots/confusion/int8_static.csv")]
    monkeypatch.chdir(repository)
    kept = {path: path.read_bytes() for path in touched}
    model = onnx.load(touched[0])
    del model.metadata_props[:]
    model.producer_name = "another exporter"
    try:
        for path in touched[1:]:
            path.unlink()
        touched[0].unlink()  # a link to DVC's cache, maybe
        onnx.save(model, touched[0])
        run(repository, "python", "-m", "stages.quantize", "int8_static")
        run(repository, "python", "-m", "stages.evaluate", "int8_static")
        assert [path for path in touched if not path.is_file()] == []
        told = json.loads(touched[2].read_text())
        assert told["size_ratio"] == pytest.approx(touched[1].stat().st_size
                                                   / touched[0].stat().st_size)
        assert 0 <= told["prepared_max_abs_diff"] < 1e-2
        again, before = json.loads(touched[4].read_text()), json.loads(kept[touched[4]])
        assert {**again, "size_mb": 0} == {**before, "size_mb": 0}
    finally:
        for path, content in kept.items():
            path.unlink(missing_ok=True)
            path.write_bytes(content)


def test_models_carry_labels_and_preprocessing(repository):
    model = onnx.load(repository / "models" / "onnx_fp32.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]
    assert metadata["image_size"] == "32"


def test_nothing_to_do_after_repro(repository):
    again = run(repository, "dvc", "repro").stdout
    assert "Data and pipelines are up to date." in again
    assert "Running stage" not in again


@pytest.mark.slow
def test_make_bench_measures_again_what_is_there(repository, tmp_path):
    folder = shutil.copytree(repository, tmp_path / "repository")

    def bytes_of(*names):
        return {name: (folder / name).read_bytes() for name in names}

    models = [f"models/{name}.onnx" for name in VARIANTS if name != "torch_fp32"]
    measured = ["metrics/benchmark.json", "plots/latency_runs.csv"]
    before, told = bytes_of(*models), bytes_of(*measured)
    run(folder, "make", "--old-file=setup", "bench")
    assert bytes_of(*models) == before
    assert all(now != told[name] for name, now in bytes_of(*measured).items())
    assert "Running stage" not in run(folder, "dvc", "repro").stdout


def test_plots_of_dvc_are_rendered(repository):
    run(repository, "dvc", "plots", "show", "-o", "page")
    page = (repository / "page" / "index.html").read_text()
    for name in ("Loss by epoch", "Latency by run", "Accuracy against latency",
                 "Confusion int8_static"):
        assert name in page


def test_experiment_at_opset_13_leaves_the_workspace_alone(repository):
    before = (repository / "params.yaml").read_text()
    run(repository, "dvc", "exp", "run", "--temp", "-n", "opset-13",
        *(part for value in [*SMALL, "export.opset=13"] for part in ("-S", value)),
        "evaluate@int8_static")
    assert (repository / "params.yaml").read_text() == before
    diff = run(repository, "dvc", "metrics", "diff", "HEAD", "opset-13", "--json").stdout
    changed = json.loads(diff[diff.index("{"):])
    assert changed["metrics/export.json"]["opset"] == {"old": 18, "new": 13, "diff": -5}


def test_source_of_the_bytes_leaves_no_trace(tmp_path):
    folder = make_working_copy(tmp_path / "repository")
    write_params(folder, *SMALL, "data=imagefolder", "data.resolution=16",
                 "data.calibration_size=4", "data.validation_fraction=0.2")
    first = write_zip(tmp_path / "pictures.zip", picture_files("cat", "dog"))
    run(folder, "dvc", "repro", "download", DATA_SOURCE_PICTURES=str(first))
    params, lock = ((folder / name).read_text() for name in ("params.yaml", "dvc.lock"))
    (tmp_path / "elsewhere").mkdir()
    second = first.rename(tmp_path / "elsewhere" / "other.zip")
    (tmp_path / ".env").write_text("DATA_SOURCE_PICTURES=elsewhere/other.zip\n")
    forced = run(folder, "dvc", "repro", "--force", "download")
    assert "Running stage 'download'" in forced.stdout
    assert (folder / "params.yaml").read_text() == params
    assert (folder / "dvc.lock").read_text() == lock
    assert str(second) not in lock
