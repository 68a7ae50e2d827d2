"""params.yaml is what conf/ composes to, and every preset in conf/ is valid."""

import pytest
from omegaconf import OmegaConf
from paths import ROOT

from stages.config.compose import compose
from stages.config.params import load_params
from stages.config.schema import Params

SECTIONS = tuple(Params.__dataclass_fields__)
EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
DATA = sorted(path.stem for path in (ROOT / "conf" / "data").glob("*.yaml"))
MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
RECIPES = sorted(path.stem for path in (ROOT / "conf" / "quantize").glob("*.yaml"))


def composed(target, *overrides):
    compose(ROOT / "conf", target, overrides)
    return target


def test_params_yaml_is_the_composition(tmp_path):
    path = composed(tmp_path / "params.yaml")
    assert (ROOT / "params.yaml").read_text() == path.read_text()


@pytest.mark.parametrize("override", [
    *(f"experiment={name}" for name in EXPERIMENTS), *(f"data={name}" for name in DATA),
    *(f"model={name}" for name in MODELS), *(f"quantize={name}" for name in RECIPES)])
def test_every_preset_is_accepted_by_the_schema(tmp_path, override):
    load_params(*SECTIONS, path=composed(tmp_path / "params.yaml", override))


@pytest.mark.parametrize("name", MODELS)
def test_preset_of_a_model_is_whole_by_itself(tmp_path, name):
    """benchmarks.peers takes it so, with the size of its preset, where config.yaml has another."""
    preset = OmegaConf.load(ROOT / "conf" / "model" / f"{name}.yaml")
    OmegaConf.save({"model": preset}, tmp_path / "params.yaml")
    assert load_params("model", path=tmp_path / "params.yaml").model == preset


@pytest.mark.parametrize(("preset", "activation_type", "reduce_range"), [
    ("int8", "QUInt8", True), ("int8_full_range", "QUInt8", False),
    ("int8_signed", "QInt8", False)])
def test_recipes_of_a_cpu_differ_in_their_types_alone(tmp_path, preset, activation_type,
                                                      reduce_range):
    plain, suited = (load_params("quantize", path=composed(
        tmp_path / f"{name}.yaml", f"quantize={name}")).quantize for name in ("int8", preset))
    for recipe in plain.variants.values():
        if recipe.method != "dynamic":
            recipe.activation_type, recipe.reduce_range = activation_type, reduce_range
    assert suited == plain


def test_experiment_overrides_the_defaults_and_a_value_overrides_the_experiment(tmp_path):
    path = composed(tmp_path / "params.yaml", "experiment=seed", "train.lr=1e-3")
    params = load_params("data", "model", "train", path=path)
    assert params.model.name == "efficientnet_b3"
    assert params.data.name == "cifar10"
    assert params.model.image_size == 224
    assert params.train.lr == 1e-3
