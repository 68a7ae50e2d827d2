import re

import pytest
import torch
from omegaconf import OmegaConf
from synthetic import CLASSES, Malicious, model_params, random_batch, random_model

from stages.config.errors import UserError
from stages.model.checkpoint import load_checkpoint, save_checkpoint, save_torch


@pytest.fixture
def saved(tmp_path):
    """A checkpoint, its parameters, and the model in it."""
    params, path = model_params(), tmp_path / "checkpoint.pt"
    model = random_model(params)
    save_checkpoint(path, model, params, CLASSES)
    return path, params, model


def test_comes_back_as_it_was(saved):
    path, params, model = saved
    loaded, classes = load_checkpoint(path, params)
    batch = torch.from_numpy(random_batch(2, 32))
    assert classes == CLASSES
    assert not loaded.training
    assert torch.equal(loaded(batch), model(batch))


def test_same_content_gives_the_same_bytes(saved, tmp_path):
    path, params, _ = saved
    again = random_model(params).train()
    save_checkpoint(tmp_path / "again.pt", again, params, CLASSES)
    assert (tmp_path / "again.pt").read_bytes() == path.read_bytes()
    save_checkpoint(tmp_path / "other.pt", random_model(params, seed=1), params, CLASSES)
    assert (tmp_path / "other.pt").read_bytes() != path.read_bytes()


@pytest.mark.parametrize(("key", "value"), [
    ("library", "torchvision"), ("name", "test_resnet"), ("weights", "imagenet"),
    ("activation", "relu6"), ("image_size", 64), ("mean", [0.5, 0.5, 0.5]),
    ("std", [0.2, 0.25, 0.31])])
def test_other_model_parameters_are_refused_by_name(saved, key, value):
    path, params, _ = saved
    changed = OmegaConf.merge(params, {key: value})
    with pytest.raises(UserError, match=rf"checkpoint\.pt: was trained with model\.{key}="
                                        rf".*, params\.yaml says {re.escape(str(value))};"):
        load_checkpoint(path, changed)


@pytest.mark.parametrize("classes", [CLASSES[:2], [*CLASSES, "more"]])
def test_other_number_of_classes_is_refused(saved, classes):
    path, params, _ = saved
    save_torch(path, {**torch.load(path), "classes": classes})
    with pytest.raises(UserError, match=f"don't fit test_efficientnet with {len(classes)} classes"):
        load_checkpoint(path, params)


def test_classes_of_other_data_are_refused(saved):
    path, params, _ = saved
    assert load_checkpoint(path, params, [*CLASSES])[1] == CLASSES
    with pytest.raises(UserError, match=r"checkpoint\.pt: was trained on the classes left, middle, "
                                        r"right, the data has 0, 1, 2 and 1 more; run 'dvc repro"):
        load_checkpoint(path, params, ["0", "1", "2", "3"])


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pt: no such file; run 'dvc repro train'"):
        load_checkpoint(tmp_path / "absent.pt", model_params())


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: b"no checkpoint", lambda content: content[:-100],
    lambda content: content[: len(content) // 2], lambda content: content[100:]],
    ids=["empty", "text", "end missing", "half", "beginning missing"])
def test_damaged_file(saved, damage):
    path, params, _ = saved
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"checkpoint\.pt: damaged or no checkpoint"):
        load_checkpoint(path, params)


@pytest.mark.parametrize("content", [{"weights": 1}, [1, 2], torch.ones(2)])
def test_file_of_something_else(tmp_path, content):
    save_torch(tmp_path / "other.pt", content)
    with pytest.raises(UserError, match=r"other\.pt: damaged or no checkpoint"):
        load_checkpoint(tmp_path / "other.pt", model_params())


@pytest.mark.parametrize(("key", "value"), [("model", "resnet"), ("classes", 3),
                                            ("state_dict", [1.0])])
def test_a_part_that_was_exchanged(saved, key, value):
    path, params, _ = saved
    save_torch(path, {**torch.load(path), key: value})
    with pytest.raises(UserError, match=r"checkpoint\.pt: damaged or no checkpoint"):
        load_checkpoint(path, params)


def test_tampered_file_runs_no_code(saved, tmp_path):
    path, params, _ = saved
    witness = tmp_path / "witness"
    save_torch(path, {**torch.load(path), "classes": Malicious(witness)})
    with pytest.raises(UserError, match=r"checkpoint\.pt: damaged or no checkpoint"):
        load_checkpoint(path, params)
    assert not witness.exists()
    torch.load(path, weights_only=False)
    assert witness.exists(), "the file would not have run anything anyhow"


def test_failed_write_leaves_the_old_file(saved):
    path = saved[0]
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_torch(path, {"model": lambda: None})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
