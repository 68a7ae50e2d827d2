"""Which values of a recipe of quantize.variants go together."""

from stages.config.errors import UserError
from stages.config.schema import Recipe


def check_recipe(key: str, recipe: Recipe) -> None:
    """Hold a recipe to what its method can do.

    Args:
        key: where it stands, for the message.

    Raises:
        UserError: two of its values contradict each other.
    """
    if recipe.method == "mixed" and recipe.max_drop_pp is None:
        raise UserError(f"{key}.max_drop_pp: method mixed needs it; set the points that may be "
                        "lost")
    for option in ("max_drop_pp", "min_snr_db", "layers_per_group"):
        if recipe.method != "mixed" and (value := getattr(recipe, option)) is not None:
            raise UserError(f"{key}.{option}: got {value}, which needs method: mixed")
    if recipe.method != "static" and recipe.first_in_float:
        raise UserError(f"{key}.first_in_float: got {recipe.first_in_float}, which needs method: "
                        "static; mixed finds by itself what is to stay float")
    if recipe.qat and (recipe.method == "mixed" or recipe.first_in_float):
        raise UserError(f"{key}.qat: got a recipe, which needs all layers quantized; set method: "
                        "static and first_in_float: 0")
    if recipe.method == "dynamic":
        for option in ("calibration_images", "reduce_range", "bias_correction", "equalization",
                       "cut_flat_tails", "adaptive_rounding", "qat"):
            if getattr(recipe, option):
                methods = "static" if option == "qat" else "static or mixed"
                raise UserError(f"{key}.{option}: is set, which needs method: {methods}")
        if recipe.calibration != "none":
            raise UserError(f"{key}.calibration: got '{recipe.calibration}', but dynamic "
                            "quantization finds ranges at run time; set it to none")
        if recipe.activation_type != "QUInt8":
            raise UserError(f"{key}.activation_type: got '{recipe.activation_type}', but dynamic "
                            "quantization knows QUInt8 alone")
    elif recipe.calibration == "none":
        raise UserError(f"{key}.calibration: got 'none', but static quantization needs ranges; "
                        "set it to minmax, percentile, entropy, mse or logits")
    elif recipe.bias_correction and recipe.adaptive_rounding:
        raise UserError(f"{key}.bias_correction: got true, but adaptive_rounding takes mean errors "
                        "into account; set one of them to false")
    elif (recipe.activation_type, recipe.weight_type) == ("QInt8", "QUInt8"):
        raise UserError(f"{key}.weight_type: got 'QUInt8', which ONNX Runtime does not combine "
                        "with activation_type QInt8; set it to QInt8")
