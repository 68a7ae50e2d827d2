import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from synthetic import CLASSES, TINY, logits_of, random_batch, random_pictures, recipe

from stages.config.errors import UserError
from stages.inference import saturation
from stages.inference.predictor import EVALUATION_BATCH, load_onnx, model_input, predict
from stages.inference.torch_predictor import load_torch
from stages.model.checkpoint import save_checkpoint
from stages.model.preprocess import preprocess
from stages.quantization.recipe import record_recipe


def load(path, params):
    return load_torch(path, params) if path.suffix == ".pt" else load_onnx(path)


@pytest.fixture
def files(exported, tmp_path):
    """One model as a checkpoint and as ONNX, its parameters, and the model."""
    model, params, proto = exported(TINY, 32, 18)
    save_checkpoint(tmp_path / "model.pt", model, params, CLASSES)
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path, params, model


@pytest.mark.parametrize("count", [1, 5])
def test_both_kinds_say_what_the_model_says(files, count):
    folder, params, model = files
    batch = random_batch(count, 32)
    expected = logits_of(model, batch)
    for name in ("model.pt", "model.onnx"):
        logits = load(folder / name, params)(batch)
        assert (type(logits), logits.dtype) == (np.ndarray, np.float32)
        np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["model.pt", "model.onnx"])
@pytest.mark.parametrize("count", [1, EVALUATION_BATCH, EVALUATION_BATCH + 3])
def test_predict_gives_every_picture_its_logits(files, name, count):
    folder, params, model = files
    pictures = random_pictures(count, 12, 12)
    logits = predict(load(folder / name, params), pictures, params)
    batch = preprocess(torch.from_numpy(pictures), 32, params.mean, params.std)
    assert logits.shape == (count, len(CLASSES))
    np.testing.assert_allclose(logits, logits_of(model, batch.numpy()), atol=1e-4)


def test_model_input_is_contiguous_float32(files):
    batch = model_input(random_pictures(3, 12, 12), files[1])
    assert (batch.shape, batch.dtype) == ((3, 3, 32, 32), np.float32)
    assert batch.flags.c_contiguous


@pytest.mark.parametrize("warned", [True, False])
def test_a_model_whose_sums_this_cpu_cuts_off_is_warned_of(files, monkeypatch, caplog, warned):
    """By the recipe in its metadata."""
    path = files[0] / "model.onnx"
    model = onnx.load(path)
    record_recipe(model, recipe(reduce_range=not warned), rounded=False, tuned=False)
    onnx.save(model, path)
    monkeypatch.setattr(saturation, "products_saturate", lambda: True)
    load_onnx(path)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [message.startswith(f"{path}: on this CPU") for message in told] == [True] * warned


@pytest.mark.parametrize("name", ["absent.pt", "absent.onnx"])
def test_missing_file(files, name):
    folder, params, _ = files
    with pytest.raises(UserError, match=rf"{name}: no such file; run 'dvc repro"):
        load(folder / name, params)


@pytest.mark.parametrize("name", ["model.pt", "model.onnx"])
@pytest.mark.parametrize("content", [b"", b"garbage", bytes(500), "half", "the other kind"])
def test_file_of_something_else(files, name, content):
    folder, params, _ = files
    path = folder / name
    if content == "half":
        content = path.read_bytes()[:path.stat().st_size // 2]
    elif content == "the other kind":
        content = (folder / {"model.pt": "model.onnx", "model.onnx": "model.pt"}[name]).read_bytes()
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: (not an ONNX model|damaged)") as caught:
        load(path, params)
    assert "\n" not in str(caught.value)


def spoil_operator(model):
    model.graph.node[0].op_type = "NoSuchOperator"


def spoil_input(model):
    model.graph.node[0].input[0] = "no such value"


def spoil_version(model):
    model.opset_import[0].version = 9999


def spoil_type(model):
    """QLinearConv, say, has no kernel for every type; here Relu has none for int16."""
    del model.graph.node[:]
    del model.graph.initializer[:]
    model.graph.node.append(helper.make_node("Relu", ["input"], ["logits"]))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.INT16
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")


@pytest.mark.parametrize("spoil", [spoil_operator, spoil_input, spoil_version, spoil_type])
def test_graph_that_cannot_be_run(files, spoil):
    folder, _, _ = files
    model = onnx.load(folder / "model.onnx")
    spoil(model)
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(UserError, match=r"model\.onnx: not an ONNX model that can be run"):
        load_onnx(folder / "model.onnx")
