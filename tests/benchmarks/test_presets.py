"""Programs that train as the experiment does take its values."""

from omegaconf import OmegaConf

from benchmarks.presets import CONF, cifar10_params


def test_values_are_those_of_the_experiment_but_for_the_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some programs train in a folder of their own
    params = cifar10_params(96, epochs=2, frozen=["blocks.0"])
    recipe = OmegaConf.load(CONF / "experiment/cifar10.yaml").train
    assert {key: params.train[key] for key in recipe} == {
        **recipe, "epochs": 2, "frozen": ["blocks.0"], "start_image_size": 96}
    assert params.model.image_size == 96
    assert params.data == OmegaConf.load(CONF / "data/cifar10.yaml")
