"""Where a model's first weights came from, and under which terms."""

from dataclasses import dataclass

from stages.config.schema import Model
from stages.model.weights import packaged_weights

OURS, OTHER = "mit", "other"


@dataclass(frozen=True)
class WeightsOrigin:
    """license: an identifier of the Hugging Face hub, "other" where terms can't be named."""

    told: str
    license: str


def weights_origin(model: Model) -> WeightsOrigin:
    """What `model.weights` says of the weights that training began with."""
    if model.weights == "none":
        return WeightsOrigin("Training began with random weights.", OURS)
    if model.weights != "imagenet":
        return WeightsOrigin("Training began with weights from a file; their license is not known "
                             "here.", OTHER)
    if packaged := packaged_weights(model.library, model.name):
        return WeightsOrigin(f"Training began with the ImageNet weights of the package "
                             f"{packaged.package.replace('_', '-')}, whose license is "
                             f"{packaged.license}.", packaged.license)
    return WeightsOrigin(f"Training began with the ImageNet weights that {model.library} "
                         "publishes; their license is not known here.", OTHER)
