import copy
import re
from http.client import IncompleteRead

import httpx2
import pytest
import requests
import timm
import torch
import torchvision
from omegaconf import OmegaConf
from refusals import refusal
from safetensors import SafetensorError
from synthetic import (
    LITE0,
    TINY,
    Malicious,
    logits_of,
    model_params,
    random_batch,
    random_model,
)

from stages.config.errors import UserError
from stages.model.build import build_model, check_sizes
from stages.model.weights import PACKAGED, packaged_state, packaged_weights


def same_but_for_a_zero_head(state, published, head):
    return all(not tensor.any() if name.startswith(head) else torch.equal(tensor, published[name])
               for name, tensor in state.items())


@pytest.mark.parametrize(("library", "name"), [
    ("timm", TINY), ("torchvision", "squeezenet1_1"), ("torchvision", "resnet18")])
def test_builds_a_model_of_either_library_with_its_own_head(library, name):
    model = build_model(model_params(name, library=library), 7).eval()
    assert logits_of(model, random_batch(2, 64)).shape == (2, 7)


def test_a_model_is_known_by_the_tag_of_its_weights_too(monkeypatch):
    fetched = []

    def fetch(*args, **kwargs):
        fetched.append(args)
        raise OSError("no network in tests")

    monkeypatch.setattr(*hub_of("timm"), fetch)
    tagged = "mobilenetv3_small_050.lamb_in1k"
    build_model(model_params(tagged), 3)
    assert not fetched
    with pytest.raises(UserError, match=re.escape(tagged)):
        build_model(model_params(tagged, weights="imagenet"), 3)
    assert "mobilenetv3_small_050.lamb_in1k" in str(fetched)


@pytest.mark.parametrize(("library", "name"), [
    ("timm", TINY), ("torchvision", "mobilenet_v3_small")])
def test_other_colours_than_those_of_the_weights_are_warned_of(monkeypatch, caplog, library, name):
    params = model_params(name, library=library, weights="imagenet")
    published = random_model(params, classes=1000).state_dict()
    monkeypatch.setattr(*hub_of(library), lambda *args, **kwargs: dict(published))
    build_model(OmegaConf.merge(params, {"mean": [0.485, 0.456, 0.406],
                                         "std": [0.229, 0.224, 0.225]}), 4)
    assert "were trained with" not in caplog.text
    build_model(OmegaConf.merge(params, {"std": [0.5, 0.5, 0.5]}), 4)
    assert (f"model.std: the ImageNet weights of {name} were trained with [0.229, 0.224, 0.225]"
            in caplog.text)


@pytest.mark.parametrize(("library", "name"), [
    ("timm", "tf_efficientnet_lit0"), ("timm", "vgg"), ("torchvision", LITE0),
    ("torchvision", "fcn_resnet50"), ("torchvision", "../resnet18")])
def test_unknown_model_is_refused_by_name(library, name):
    with pytest.raises(UserError, match=rf"model\.name: {library} has no classifier '{name}'"):
        build_model(model_params(name, library=library), 3)


def test_weights_none_is_random_and_follows_the_seed():
    def first_tensor(seed):
        torch.manual_seed(seed)
        return next(iter(build_model(model_params(), 3).state_dict().values()))

    assert torch.equal(first_tensor(1), first_tensor(1))
    assert not torch.equal(first_tensor(1), first_tensor(2))


def test_not_pretrained_looks_at_no_weights():
    build_model(model_params(weights="no/such/file.pth"), 3, pretrained=False)


def test_packaged_weights_are_loaded_with_a_zero_head():
    state = build_model(model_params(LITE0, weights="imagenet"), 5).state_dict()
    published = packaged_state(PACKAGED[LITE0], timm.create_model(LITE0))
    assert state["classifier.weight"].shape == (5, 1280)
    assert same_but_for_a_zero_head(state, published, "classifier.")


def test_packaged_weights_are_found_by_their_tag_and_no_other():
    tagged, plain = (build_model(model_params(name, weights="imagenet"), 5).state_dict()
                     for name in (f"{LITE0}.in1k", LITE0))
    assert all(torch.equal(value, plain[name]) for name, value in tagged.items())
    assert packaged_weights("timm", f"{LITE0}.other") is None
    assert packaged_weights("torchvision", LITE0) is None


def hub_of(library):
    """Where the library fetches: the module of that function, and its name."""
    return ((timm.models._builder, "load_state_dict_from_hf") if library == "timm"
            else (torchvision.models._api, "load_state_dict_from_url"))


@pytest.mark.parametrize(("library", "name", "head"), [
    ("timm", TINY, "classifier."), ("torchvision", "mobilenet_v3_small", "classifier.3.")])
def test_weights_of_the_hub_are_loaded_with_a_zero_head(monkeypatch, library, name, head):
    params = model_params(name, library=library, weights="imagenet")
    published = random_model(params, classes=1000).state_dict()
    monkeypatch.setattr(*hub_of(library), lambda *args, **kwargs: dict(published))
    state = build_model(params, 4).state_dict()
    assert same_but_for_a_zero_head(state, published, head)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
@pytest.mark.parametrize("error", [
    OSError("no route to host"), RuntimeError("invalid hash value"), IncompleteRead(b""),
    requests.ConnectionError("refused"),
    httpx2.ReadTimeout("stalled"), SafetensorError("header too large")],
    ids=lambda error: type(error).__name__)
def test_weights_that_cannot_be_fetched(monkeypatch, library, error):
    def fetch(*args, **kwargs):
        raise error

    monkeypatch.setattr(*hub_of(library), fetch)
    name = TINY if library == "timm" else "mobilenet_v3_small"
    with pytest.raises(UserError) as caught:
        build_model(model_params(name, library=library, weights="imagenet"), 3)
    for told in ("model.weights", name, type(error).__name__, "network", "'none'"):
        assert told in str(caught.value)
    assert "\n" not in str(caught.value)


B3 = model_params("efficientnet_b3", library="torchvision", weights="imagenet")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Where torch's hub keeps the file that torchvision publishes for B3; it can't be fetched."""
    def fetch(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    name = torchvision.models.EfficientNet_B3_Weights.DEFAULT.url.rsplit("/", 1)[1]
    assert re.fullmatch(r"efficientnet_b3_\w+-[0-9a-f]{8}\.pth", name)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints" / name


def test_published_file_of_torchvision_is_a_backbone(hub):
    """By its path or from the hub's cache; in the format that is published: a state dict of B3
    with ImageNet's 1000 classes, a hash in the file's name.
    """
    published = random_model(B3, classes=1000).state_dict()
    torch.save(published, hub)
    for weights in (str(hub), "imagenet"):
        model = build_model(OmegaConf.merge(B3, {"weights": weights}), 10)
        assert same_but_for_a_zero_head(model.state_dict(), published, "classifier.1.")


def test_tampered_file_in_the_cache_of_the_hub_runs_no_code(hub, tmp_path):
    torch.save({"weight": Malicious(tmp_path / "witness")}, hub)
    with pytest.raises(UserError, match="torchvision's efficientnet_b3 can't be fetched"):
        build_model(B3, 10)
    assert not (tmp_path / "witness").exists()
    torch.load(hub, weights_only=False)
    assert (tmp_path / "witness").exists(), "the file would not have run anything anyhow"


def test_weights_that_nobody_published_are_not_blamed_on_the_network():
    with pytest.raises(UserError, match=r"^model\.weights: timm publishes none of ghostnet_050; "
                                        r"set model\.weights to 'none' or"):
        build_model(model_params("ghostnet_050", weights="imagenet"), 10)


def test_all_heads_of_a_model_are_zero(tmp_path):
    name = "deit_tiny_distilled_patch16_224"
    torch.save(random_model(model_params(name, 32), classes=1000).state_dict(), tmp_path / "d.pth")
    state = build_model(model_params(name, 32, weights=str(tmp_path / "d.pth")), 5).state_dict()
    for head in ("head", "head_dist"):
        assert state[f"{head}.weight"].shape == (5, 192)
        assert not state[f"{head}.weight"].any()
    assert state["blocks.0.mlp.fc1.weight"].any()


def test_file_with_as_many_classes_keeps_its_head(tmp_path):
    trained = random_model(model_params(), classes=3)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "trained.pth")
    model = build_model(model_params(weights=str(tmp_path / "trained.pth")), 3)
    assert torch.equal(model.classifier.weight, trained.classifier.weight)


@pytest.mark.parametrize(("theirs", "ours"), [
    ("resnet34", "resnet18"), ("resnet18", "resnet34"), ("efficientnet_b1", "efficientnet_b0"),
    ("shufflenet_v2_x1_0", "shufflenet_v2_x0_5"), ("squeezenet1_1", "resnet18")])
def test_file_of_another_model_is_refused(tmp_path, theirs, ours):
    """Among them a deeper sibling, whose tensors are named and shaped alike and just more."""
    other = build_model(model_params(theirs, library="torchvision"), 1000)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth: .*it belongs to another model"):
        build_model(model_params(ours, library="torchvision", weights=str(tmp_path / "other.pth")),
                    10)


def test_missing_file_names_the_options(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pth' is no file; options are imagenet, none"):
        build_model(model_params(weights=str(tmp_path / "absent.pth")), 3)


def test_a_name_that_is_nearly_one_brings_it_up():
    with pytest.raises(UserError, match=r"did you mean 'resnet18'\?"):
        build_model(model_params("resnet188", library="torchvision"), 3)


def test_a_refusal_without_words_is_told_by_its_kind():
    class Refuses(torch.nn.Module):
        def forward(self, x):
            raise AssertionError

    told = refusal(check_sizes, Refuses(), model_params(), 3, 64)
    assert told.endswith("can't be trained on pictures of 64 pixels (AssertionError)")


@pytest.mark.parametrize(("library", "name", "size", "told"), [
    ("torchvision", "googlenet", 64, "googlenet does not give one tensor of logits in training"),
    ("torchvision", "squeezenet1_1", 16, "squeezenet1_1 can't be trained on pictures of 16"),
    ("timm", TINY, 32, None)])
def test_what_can_not_be_trained_is_told_by_name(library, name, size, told):
    params = model_params(name, library=library)
    model = build_model(params, 3, pretrained=False)
    before = copy.deepcopy(model.state_dict())
    if told:
        assert told in refusal(check_sizes, model, params, 3, 64, size)
    else:
        check_sizes(model, params, 3, 64, size)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
