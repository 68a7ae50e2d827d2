"""Every mistake in params.yaml ends in one line that names the key, and in no work done."""

import copy
import math
from dataclasses import fields, is_dataclass

import pytest
import yaml
from omegaconf import MISSING
from omegaconf.errors import MissingMandatoryValue
from refusals import refusal

from stages.config.params import load_params
from stages.config.schema import Params, Recipe

SECTIONS = tuple(field.name for field in fields(Params))
RECIPE = {"method": "static", "weight_type": "QInt8", "activation_type": "QUInt8",
          "per_channel": True, "calibration": "minmax", "bias_correction": False}
GOOD = {
    "data": {"name": "pictures", "format": "imagefolder", "sha256": None, "resolution": 32,
             "horizontal_flip": True, "validation_fraction": 0.1, "test_fraction": 0.2,
             "calibration_size": 16, "seed": 0},
    "model": {"library": "timm", "name": "resnet18", "weights": "none", "activation": "keep",
              "image_size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.5]},
    "train": {"launcher": "python", "seed": 1, "epochs": 2, "batch_size": 8, "lr": 0.01,
              "weight_decay": 0.0, "label_smoothing": 0.1, "ema_decay": 0.9, "crop_padding": 1,
              "cutout": 0, "start_image_size": 16, "frozen": [], "precision": "fp32",
              "patience": 2, "min_delta": 0.0},
    "export": {"opset": 18, "max_abs_diff": 1e-3},
    "quantize": {"max_drop_pp": 1.0, "variants": {"int8": RECIPE}},
    "variants": {"onnx_fp32": "models/onnx_fp32.onnx", "int8": "models/int8.onnx"},
    "benchmark": {"latency_runs": 10, "percentiles": [50], "warmup_runs": 1,
                  "batch_sizes": [1, 4], "throughput_rounds": 2,
                  "providers": ["CPUExecutionProvider"], "torch_modes": ["eager"]},
}
KINDS = {**{field.name: field.type for field in fields(Params) if is_dataclass(field.type)},
         "quantize.variants.int8": Recipe}
LEAVES = {f"{section}.{field.name}": field for section, kind in KINDS.items()
          for field in fields(kind)}
RANGES = {key: (field.type, field.metadata["low"], field.metadata["high"])
          for key, field in LEAVES.items() if "low" in field.metadata}
CHOICES = {key: field.metadata["choices"] for key, field in LEAVES.items()
           if "choices" in field.metadata}


# What a value of a recipe asks of the others.
ASKS = {"max_drop_pp": {"method": "mixed"},
        "layers_per_group": {"method": "mixed", "max_drop_pp": 1.0},
        "min_snr_db": {"method": "mixed", "max_drop_pp": 1.0},
        "mixed": {"max_drop_pp": 1.0}, "dynamic": {"calibration": "none"},
        "none": {"method": "dynamic"}}


def good_except(key, value):
    """GOOD with `value` at the dotted `key`."""
    content = copy.deepcopy(GOOD)
    if key.startswith("quantize.variants.int8."):
        for asks in (key.rpartition(".")[2], value):
            content["quantize"]["variants"]["int8"] |= ASKS.get(str(asks), {})
    *parents, last = key.split(".")
    section = content
    for name in parents:
        section = section[name]
    section[last] = value
    return content


@pytest.fixture
def load(tmp_path):
    """load(content, *keys): write `content`, a tree or text, and read `keys` (all) of it."""
    def write_and_load(content, *keys):
        path = tmp_path / "params.yaml"
        text = content if isinstance(content, str | bytes) else yaml.safe_dump(content)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_params(*(keys or SECTIONS), path=path)
    return write_and_load


def test_a_good_file_keeps_its_values(load):
    params = load(GOOD)
    assert params.data.resolution == 32
    assert params.data.sha256 is None
    assert list(params.model.mean) == [0.5, 0.4, 0.3]
    assert params.quantize.variants["int8"].per_channel is True
    assert params.variants["int8"] == "models/int8.onnx"


def test_a_part_that_may_be_nothing_is_there_all_the_same(load):
    assert load(GOOD, "data.sha256").data.sha256 is None
    del (content := good_except("data.sha256", None))["data"]["sha256"]
    assert "data.sha256: is missing; known are calib" in refusal(load, content, "data.sha256")


def test_only_what_is_asked_for_is_set(load):
    params = load(GOOD, "data.seed", "quantize.variants.int8")
    assert params.data.seed == 0
    assert params.quantize.variants["int8"].method == "static"
    with pytest.raises(MissingMandatoryValue):
        _ = params.data.resolution
    with pytest.raises(MissingMandatoryValue):
        _ = params.model.name


@pytest.mark.parametrize(("key", "value"), [
    ("model.image_size", "large"), ("benchmark.latency_runs", 1), ("benchmark.percentilez", [50]),
    ("quantize.variants.int8.weight_type", "INT3")])
def test_a_mistake_in_what_a_later_stage_reads_is_found_by_the_first(load, key, value):
    assert f"'{key}'" in (message := refusal(load, good_except(key, value), "data")) or \
        f"{key}: " in message


def test_a_recipe_that_contradicts_itself_is_found_by_the_first_stage(load):
    content = good_except("quantize.variants.int8.bias_correction", True)
    content["quantize"]["variants"]["int8"]["adaptive_rounding"] = True
    assert "params.yaml: quantize.variants.int8.bias_correction: got true, but" in refusal(
        load, content, "data")


def test_variants_have_the_one_that_all_are_compared_with(load):
    assert "params.yaml: variants: has no onnx_fp32, which all others are compared with" in \
        refusal(load, good_except("variants", {"int8": "models/int8.onnx"}), "data")


def test_a_section_may_refer_to_another(load):
    content = good_except("train.start_image_size", "${model.image_size}")
    assert load(content, "train").train.start_image_size == 32


def test_scientific_notation_is_a_number(load):
    text = yaml.safe_dump(GOOD).replace("lr: 0.01", "lr: 1e-2")
    assert "1e-2" in text
    assert load(text).train.lr == 0.01


@pytest.mark.parametrize("key", RANGES)
def test_a_number_may_reach_its_limits_and_not_pass_them(load, key):
    kind, low, high = RANGES[key]
    many = kind in (list[int], list[float])
    exact = kind in (int, list[int], int | None)
    wrap = (lambda number: [number] * LEAVES[key].metadata.get("length", 2)) if many else \
        (lambda number: number)
    section = key.split(".")[0]
    for good in (low, high):
        load(good_except(key, wrap(good)), section)
    for bad in (low - 1, high + 1) if exact else (math.nextafter(low, -math.inf),
                                                  math.nextafter(high, math.inf), math.nan,
                                                  math.inf, -math.inf):
        message = refusal(load, good_except(key, wrap(bad)), section)
        assert f"{key}: got {bad}" in message
        assert f"from {low} to {high}" in message


@pytest.mark.parametrize("key", CHOICES)
def test_a_choice_is_one_of_those_told(load, key):
    wrap = (lambda name: [name]) if LEAVES[key].type == list[str] else (lambda name: name)
    for good in CHOICES[key]:
        load(good_except(key, wrap(good)), key.split(".")[0])
    message = refusal(load, good_except(key, wrap("another")))
    assert key in message
    assert "'another'" in message
    assert ", ".join(CHOICES[key]) in message


@pytest.mark.parametrize(("key", "value"), [
    ("data.resolution", "wide"), ("data.resolution", 8.5), ("data.resolution", True),
    ("data.resolution", [8]), ("data.resolution", {"a": 1}), ("data.resolution", None),
    ("data.resolution", math.nan), ("data.horizontal_flip", "maybe"), ("data.name", [1]),
    ("data.name", None), ("data.sha256", ["a"]), ("train.lr", "fast"), ("train.lr", True),
    ("model.mean", [0.5, "red", 0.5]), ("model.mean", 0.5), ("benchmark.batch_sizes", 4),
    ("benchmark.batch_sizes", [1, 2.5]), ("quantize.variants.int8.per_channel", "some"),
    ("model.mean", "${model.name}"),
    ("data.seed", "${nowhere.to_be_found}"), ("variants", ["int8"]), ("data", "digits"),
    ("train", [1]), ("benchmark", 5),
])
def test_a_wrong_type_is_refused_by_key(load, key, value):
    assert f"params.yaml: {key}" in refusal(load, good_except(key, value))


@pytest.mark.parametrize(("key", "value", "told"), [
    ("benchmark.batch_sizes", 4, "benchmark.batch_sizes: must be a list, as in [1, 8]"),
    ("train.lr", None, "train.lr: must not be null"),
    ("model.mean", None, "model.mean: must not be null")])
def test_types_are_told_in_words_of_the_file(load, key, value, told):
    assert refusal(load, good_except(key, value)).endswith(f"params.yaml: {told}")


@pytest.mark.parametrize(("key", "value"), [
    ("benchmark.batch_sizes", [[1, 8]]), ("benchmark.percentiles", [[50]]),
    ("model.mean", [[0.5], [0.5], [0.5]]), ("train.frozen", [{"stem": 1}]),
    ("variants.int8", ["models/int8.onnx"]), ("variants.int8", {"file": "models/int8.onnx"})])
def test_a_list_where_a_value_stands_is_refused_by_key(load, key, value):
    assert f"{key}: got " in (told := refusal(load, good_except(key, value)))
    assert told.endswith(" where one value must stand")


@pytest.mark.parametrize("key", ["benchmark.batch_sizes", "train.frozen"])
def test_a_value_that_a_list_lacks_is_told_by_key(load, key):
    assert refusal(load, good_except(key, ["???"])).endswith(f"{key}: a value in it is missing")


def test_a_list_for_a_mapping_is_refused_by_section(load):
    message = refusal(load, good_except("quantize.variants", ["int8"]))
    assert "params.yaml: quantize" in message


@pytest.mark.parametrize(("key", "value", "problem"), [
    ("model.mean", [0.5, 0.5], "has 2 values, needs 3"),
    ("model.std", [0.5] * 4, "has 4 values, needs 3"),
    ("model.mean", [], "has 0 values, needs 3"),
    ("benchmark.batch_sizes", [], "has 0 values, needs at least one"),
])
def test_a_list_of_wrong_length_is_refused(load, key, value, problem):
    assert f"{key}: {problem}" in refusal(load, good_except(key, value))


@pytest.mark.parametrize(("key", "hint"), [
    ("data.resolutoin", "did you mean 'resolution'?"),
    ("train.zzz", "known are launcher, seed, epochs"),
    ("quantize.variants.int8.methd", "did you mean 'method'?"),
    ("data.1", "known are name, format"),
])
def test_an_unknown_key_is_refused_with_a_hint(load, key, hint):
    message = refusal(load, good_except(key, 1))
    assert f"unknown key '{key}'" in message
    assert hint in message


def test_an_unknown_key_is_refused_where_another_part_of_its_section_is_read(load):
    content = {"data": {**GOOD["data"], "reslution": 8}}
    assert "unknown key 'data.reslution'; did you mean 'resolution'?" in refusal(
        load, content, "data.seed")


def test_an_unknown_section_is_refused_with_a_hint(load):
    message = refusal(load, {**GOOD, "tarin": {}}, "data")
    assert "unknown section 'tarin'; did you mean 'train'?" in message


@pytest.mark.parametrize("key", [key for key, field in LEAVES.items()
                                 if field.default is MISSING])
def test_a_missing_key_is_refused_by_name(load, key):
    content = good_except(key, None)
    parent = content
    for name in key.split(".")[:-1]:
        parent = parent[name]
    del parent[key.split(".")[-1]]
    assert f"{key}: is missing" in refusal(load, content)


@pytest.mark.parametrize(("asked", "known"), [
    ("train", "known are data"), ("quantize.variants.int4", "known are int8"),
])
def test_a_missing_section_is_refused_by_name(load, asked, known):
    content = {"quantize": GOOD["quantize"]} if "." in asked else {"data": GOOD["data"]}
    assert f"{asked}: is missing; {known}" in refusal(load, content, asked)


@pytest.mark.parametrize(("text", "told"), [
    ("data: {name: [a\nmodel: 1\n", "line 2"), ("data:\n\tname: x\n", "line 2"),
    ("data: {seed: 1, seed: 2}\n", "duplicate key"), ("a: 1\n---\nb: 2\n", "line 2"),
    ("data: !!python/object/apply:os.getcwd []\n", "constructor"),
    (b"\xff\xfed\x00a\x00", "utf-8"), ("- data\n- model\n", "list"), ("5\n", "int"),
    ("", "data: is missing"), ("data: {seed: '${'}\n", "${"), ("null: 1\n", "NoneType"),
])
def test_what_is_no_yaml_of_sections_is_refused(load, text, told):
    message = refusal(load, text)
    assert "params.yaml: " in message
    assert told in message


def test_a_missing_file_is_refused_with_what_to_do(tmp_path):
    message = refusal(load_params, "data", path=tmp_path / "params.yaml")
    assert "params.yaml: no such file; run from the repository's root" in message


def test_a_folder_in_its_place_is_refused(tmp_path):
    assert str(tmp_path) in refusal(load_params, "data", path=tmp_path)
