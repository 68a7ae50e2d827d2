import shutil
import struct
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from synthetic import LITE0, TINY, Malicious
from torch import nn

from stages.config.errors import UserError
from stages.model.preprocess import preprocess
from stages.model.weights import (
    PACKAGED,
    head_is_zero,
    load_backbone,
    packaged_state,
    read_state_dict,
)

PALACE = 698  # in ImageNet's order of classes


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The packaged weights copied to a package of our own."""
    entry = PACKAGED[LITE0]
    source = Path(find_spec(entry.package).origin).parent / entry.file
    target = tmp_path / "copied_weights" / entry.file
    target.parent.mkdir(parents=True)
    shutil.copyfile(source, target)
    (tmp_path / "copied_weights" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PACKAGED, LITE0, replace(entry, package="copied_weights"))
    return target


@pytest.fixture(scope="module")
def full_lite0():
    return timm.create_model(LITE0)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_tensors_get_the_right_names(name):
    """A photograph of a Chinese palace, which scikit-learn brings, is seen for a palace."""
    model = timm.create_model(name)
    model.load_state_dict(packaged_state(PACKAGED[name], model))
    picture = load_sample_image("china.jpg")[:, 100:527]
    batch = preprocess(torch.from_numpy(np.array(picture))[None], 224, [0.5] * 3, [0.5] * 3)
    with torch.no_grad():
        probabilities = model.eval()(batch).softmax(1)[0]
    assert probabilities.argmax() == PALACE


def test_packaged_copy_is_accepted_when_untouched(copied, full_lite0):
    assert packaged_state(PACKAGED[LITE0], full_lite0).keys() == full_lite0.state_dict().keys()


@pytest.mark.parametrize("position", [0, 1_000_000, -1])
def test_packaged_copy_is_refused_when_a_byte_differs(copied, full_lite0, position):
    content = bytearray(copied.read_bytes())
    content[position] ^= 1
    copied.write_bytes(content)
    with pytest.raises(UserError, match=r"not the weights file expected; reinstall copied-weights"):
        packaged_state(PACKAGED[LITE0], full_lite0)


def test_packaged_file_is_missing(copied, full_lite0):
    copied.unlink()
    with pytest.raises(UserError, match="is missing"):
        packaged_state(PACKAGED[LITE0], full_lite0)


def test_package_is_not_installed(full_lite0):
    entry = replace(PACKAGED[LITE0], package="no_such_package")
    with pytest.raises(UserError, match=r"no-such-package is not installed; run 'pip install"):
        packaged_state(entry, full_lite0)


def test_packaged_file_of_another_model():
    with pytest.raises(UserError, match="tensors don't match"):
        packaged_state(PACKAGED[LITE0], timm.create_model(TINY))


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module._orig_mod."])
def test_load_state_reads_tensors_as_trainers_keep_them(tmp_path, key, prefix):
    state = {"a.weight": torch.arange(6.0).view(2, 3), "model.b": torch.tensor(4)}
    kept = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({key: kept, "epoch": 3} if key else kept, tmp_path / "state.pth")
    loaded = read_state_dict(tmp_path / "state.pth")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("content", [b"", b"no weights\n", b"PK\x03\x04" + bytes(100),
                                     b"\x80\x02]q\x00.", b"\x80\x02a."],
                         ids=["empty", "text", "broken zip", "pickled list", "broken pickle"])
def test_load_state_refuses_other_bytes(tmp_path, content):
    (tmp_path / "state.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"state\.pth: "):
        read_state_dict(tmp_path / "state.pth")


def test_load_state_runs_no_code(tmp_path):
    torch.save({"a": Malicious(tmp_path / "witness")}, tmp_path / "state.pth")
    with pytest.raises(UserError, match="unsafe"):
        read_state_dict(tmp_path / "state.pth")
    assert not (tmp_path / "witness").exists()
    torch.load(tmp_path / "state.pth", weights_only=False)
    assert (tmp_path / "witness").exists(), "the file would not have run anything anyhow"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("new_format", [True, False])
def test_load_state_refuses_a_truncated_or_damaged_file(tmp_path, new_format):
    """Whatever torch.load makes of the bytes: it reads them, or the user is told."""
    file, tensor = tmp_path / "state.pth", torch.ones(3, 4)
    torch.save({"a": tensor}, file, _use_new_zipfile_serialization=new_format)
    # The old format names a storage by its address: a fixed name gives the same bytes every time.
    address = str(tensor.untyped_storage()._cdata).encode()
    whole = file.read_bytes().replace(struct.pack("<BI", ord("X"), len(address)) + address,
                                      struct.pack("<BI", ord("X"), 4) + b"name")
    file.write_bytes(whole)
    assert torch.equal(read_state_dict(file)["a"], tensor)
    rng, refused = np.random.default_rng(0), 0
    for end in range(0, len(whole), 40):
        file.write_bytes(whole[:end])
        with pytest.raises(UserError):
            read_state_dict(file)
    for position in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[position] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            read_state_dict(file)
        except UserError:
            refused += 1
    assert refused > 20


def test_safetensors_are_read(tmp_path):
    file = tmp_path / "state.safetensors"
    save_file({"a.weight": torch.arange(6.0)}, file)
    assert torch.equal(read_state_dict(file)["a.weight"], torch.arange(6.0))


def test_a_whole_model_is_refused_with_what_to_write_instead(tmp_path):
    torch.save(network(), tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"write the file by torch\.save\(model\.state_dict\(\)"):
        read_state_dict(tmp_path / "model.pth")


@pytest.mark.parametrize("content", [[torch.ones(1)], {"a": 1.0}, {"state_dict": [1]}, {},
                                     {3: torch.ones(1)}, torch.ones(1)],
                         ids=["list", "number", "wrapped", "empty", "numbered", "tensor"])
def test_load_state_refuses_what_is_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "state.pth")
    with pytest.raises(UserError, match="holds no state dict of tensors"):
        read_state_dict(tmp_path / "state.pth")


def network(hidden=4, classes=3, depth=1):
    return nn.Sequential(*[nn.Linear(hidden, hidden) for _ in range(depth)],
                         nn.Linear(hidden, classes))


def test_backbone_is_taken_and_a_head_of_other_size_is_zero():
    source, model = network(classes=1000), network()
    load_backbone(model, source.state_dict(), "file")
    assert torch.equal(model[0].weight, source[0].weight)
    assert torch.equal(model[0].bias, source[0].bias)
    assert not model[1].weight.any()
    assert not model[1].bias.any()
    assert head_is_zero(model)
    load_backbone(model, network().state_dict(), "file")
    assert not head_is_zero(model)


def test_a_head_without_a_bias_is_its_weight_alone():
    """As MaxViT's of torchvision, whose layer before it has a bias."""
    def model(classes):
        return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, classes, bias=False))

    other = model(3)
    load_backbone(other, model(1000).state_dict(), "file")
    assert other[0].bias.any()
    assert head_is_zero(other)


def test_counters_of_batch_norm_may_be_missing():
    """Files from before PyTorch 0.4.1 have none."""
    source, model = (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)) for _ in range(2))
    nn.init.normal_(source[0].weight)
    state = {name: value for name, value in source.state_dict().items()
             if not name.endswith("num_batches_tracked")}
    load_backbone(model, state, "file")
    assert torch.equal(model[0].weight, source[0].weight)


def test_an_output_of_dvc_as_weights_is_told(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"is no file; .* DVC removes before: copy it first"):
        read_state_dict(Path("models/checkpoint.pt"))


def test_zero_head_sends_no_gradient_to_the_backbone():
    model = network()
    load_backbone(model, network(classes=9).state_dict(), "file")
    nn.functional.cross_entropy(model(torch.ones(2, 4)), torch.tensor([0, 1])).backward()
    assert not model[0].weight.grad.any()
    assert model[1].weight.grad.any()


@pytest.mark.parametrize(("source", "told"), [
    (network(depth=2), r"file: has tensor '2\.weight' and 1 more that the model has not"),
    (nn.Sequential(nn.Linear(4, 4)), r"file: lacks tensor '1\.weight' and 1 more"),
    (network(hidden=5), r"file: 3 tensors have another shape, '0\.weight' first"),
    (nn.Sequential(nn.Linear(9, 4), nn.Linear(4, 3)),
     r"file: 1 tensors have another shape, '0\.weight' first")])
def test_another_network_is_refused(source, told):
    model = network()
    before = [tensor.clone() for tensor in model.state_dict().values()]
    with pytest.raises(UserError, match=told):
        load_backbone(model, source.state_dict(), "file")
    assert all(map(torch.equal, before, model.state_dict().values()))
