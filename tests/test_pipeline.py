"""The whole pipeline through DVC, on a small configuration, in a repository of its own."""

import io
import json
import zipfile

import numpy as np
import onnx
import pytest
from PIL import Image
from working_copy import SMALL, compose, make_working_copy, run

VARIANTS = ["torch_fp32", "onnx_fp32", "int8_dynamic", "int8_static", "int8_qat", "int8_mixed"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository in which `dvc repro` has run once, committed."""
    folder = make_working_copy(tmp_path_factory.mktemp("pipeline") / "repository")
    compose(folder, *SMALL)
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
            "accuracy_drop_pp", "flip_rate", "mcnemar_p", "calibration_error", "size_mb",
            "latency_p50_ms", "end_to_end_p50_ms", "throughput_img_s", "speedup_latency",
            "speedup_latency_ci95_low", "speedup_latency_ci95_high", "speedup_throughput",
            "speedup_throughput_ci95_low", "speedup_throughput_ci95_high", "load_ms",
            "first_run_ms", "peak_memory_mb"}
        assert row["accuracy_ci95_low"] <= row["accuracy"] <= row["accuracy_ci95_high"]
    reference = summary["variants"]["onnx_fp32"]
    assert reference["accuracy_drop_pp"] == reference["flip_rate"] == 0
    assert reference["speedup_latency"] == reference["speedup_throughput"] == 1


def test_pytorch_and_onnx_agree(repository):
    export = json.loads((repository / "metrics" / "export.json").read_text())
    assert export["argmax_agreement"] == 1
    assert export["max_abs_diff"] < 1e-3
    assert summary_of(repository)["variants"]["torch_fp32"]["flip_rate"] == 0


def test_selected_model_is_deployed(repository):
    deployed = json.loads((repository / "metrics" / "deploy.json").read_text())
    assert deployed["variant"] == summary_of(repository)["selected"]["variant"]
    assert deployed["parity"]["test"]["class_agreement"] == 1
    verified = run(repository, "python", "-m", "stages.verify", "models/deploy.onnx",
                   "--record", "metrics/deploy.json").stdout
    assert [line.rsplit(": ", 1)[1] for line in verified.splitlines()] == ["ok"] * 4


def test_models_carry_labels_and_preprocessing(repository):
    model = onnx.load(repository / "models" / "onnx_fp32.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]
    assert metadata["image_size"] == "32"


def test_nothing_to_do_after_repro(repository):
    assert "up to date" in run(repository, "dvc", "status").stdout
    again = run(repository, "dvc", "repro")
    assert "Running stage" not in again.stdout


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


def archive_of_pictures(path):
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat", "dog"):
            for index in range(20):
                buffer = io.BytesIO()
                pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(buffer, "PNG")
                archive.writestr(f"{name}/{index}.png", buffer.getvalue())
    return path


def test_source_of_the_bytes_leaves_no_trace(tmp_path):
    folder = make_working_copy(tmp_path / "repository")
    compose(folder, *SMALL, "data=imagefolder", "data.resolution=16", "data.calibration_size=4",
            "data.validation_fraction=0.2")
    first = archive_of_pictures(tmp_path / "pictures.zip")
    run(folder, "dvc", "repro", "prepare", DATA_SOURCE_PICTURES=str(first))
    params, lock = ((folder / name).read_text() for name in ("params.yaml", "dvc.lock"))
    (tmp_path / "elsewhere").mkdir()
    second = first.rename(tmp_path / "elsewhere" / "other.zip")
    (tmp_path / ".env").write_text("DATA_SOURCE_PICTURES=elsewhere/other.zip\n")
    forced = run(folder, "dvc", "repro", "--force", "prepare")
    assert "Running stage 'download'" in forced.stdout
    assert (folder / "params.yaml").read_text() == params
    assert (folder / "dvc.lock").read_text() == lock
    assert str(second) not in lock


def test_bad_parameter_stops_before_any_work(tmp_path):
    folder = make_working_copy(tmp_path / "repository")
    compose(folder, *SMALL, "train.epochs=0")
    result = run(folder, "python", "-m", "stages.train", check=False)
    assert result.returncode == 1
    assert result.stdout.strip().splitlines() == [
        "ERROR params.yaml: train.epochs: got 0, may be from 1 to 10000"]
