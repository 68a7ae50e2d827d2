"""Reading params.yaml through the schema, so that a mistake in it stops a stage at once."""

import difflib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from stages.config.errors import UserError
from stages.config.recipes import check_recipe
from stages.config.schema import REFERENCE, Params

PARAMS_FILE = Path("params.yaml")
ABSENT = object()


def load_params(*keys: str, path: Path = PARAMS_FILE) -> Params:
    """Read `keys` of the parameter file, sections or parts of one; all else stays unset.

    A stage names just what it declares in dvc.yaml, so it can't use what DVC does not track. The
    whole file is checked all the same: a mistake in what a later stage reads ends the first.

    Raises:
        UserError: unreadable file, unknown key, wrong type, value out of range, missing value, a
            recipe of values that contradict each other, no variant to compare with.
    """
    try:
        raw = OmegaConf.load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the repository's root") from None
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {_one_line(error)}") from None
    if not isinstance(raw, DictConfig):
        raise UserError(f"{path}: must hold sections with keys, not a list")
    if unknown := [key for key in raw if key not in Params.__dataclass_fields__]:
        raise UserError(f"{path}: unknown section '{unknown[0]}'{_hint(str(unknown[0]), Params)}")
    whole = _checked(raw, path)
    params = OmegaConf.structured(Params)
    for key in keys:
        value = OmegaConf.select(raw, key, default=ABSENT)
        if value is ABSENT or (value is None and "." not in key):
            raise UserError(f"{path}: {key}: is missing{_known(raw, key)}")
        wanted = OmegaConf.create()
        OmegaConf.update(wanted, key, OmegaConf.select(whole, key))
        params = OmegaConf.merge(params, wanted)
    return params


def _checked(raw: DictConfig, path: Path) -> DictConfig:
    """All sections of the file, of the types, in the ranges and among the choices of the schema."""
    whole = OmegaConf.structured(Params)
    for section in raw:
        try:
            value = raw[section]
            if value is None:  # as if it were not there
                continue
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True)
            whole = OmegaConf.merge(whole, {section: value})
        except ConfigKeyError as error:
            raise UserError(f"{path}: unknown key '{error.full_key}'"
                            f"{_hint(str(error.key), error.object_type)}") from None
        except OmegaConfBaseException as error:
            raise UserError(f"{path}: {error.full_key or section}: {_one_line(error)}") from None
        _check(section, whole[section], path)
    if not OmegaConf.is_missing(whole, "variants") and REFERENCE not in whole.variants:
        raise UserError(f"{path}: variants: has no {REFERENCE}, which all others are compared with")
    if not OmegaConf.is_missing(whole.quantize, "variants"):
        for name, recipe in whole.quantize.variants.items():
            check_recipe(f"{path}: quantize.variants.{name}", recipe)
    return whole


def _known(raw: DictConfig, key: str) -> str:
    parent = OmegaConf.select(raw, key.rpartition(".")[0]) if "." in key else raw
    return f"; known are {', '.join(map(str, parent))}" if isinstance(parent, DictConfig) else ""


def _check(key: str, value: Any, path: Path, rule: Any = None) -> None:
    """Hold `value` and everything below it to the ranges and choices of the schema."""
    rule = rule or {}
    if isinstance(value, DictConfig):
        object_type = OmegaConf.get_type(value)
        rules = ({f.name: f.metadata for f in fields(object_type)}
                 if is_dataclass(object_type) else {})
        for name in value:
            if OmegaConf.is_missing(value, name):
                raise UserError(f"{path}: {key}.{name}: is missing")
            if not is_dataclass(object_type):
                _refuse_nested(f"{key}.{name}", value[name], path)
            _check(f"{key}.{name}", value[name], path, rules.get(name))
    elif OmegaConf.is_list(value):
        if len(value) != rule.get("length", len(value)) or not (
                len(value) or rule.get("may_be_empty")):
            raise UserError(f"{path}: {key}: has {len(value)} values, needs "
                            f"{rule.get('length', 'at least one')}")
        if any(OmegaConf.is_missing(value, index) for index in range(len(value))):
            raise UserError(f"{path}: {key}: a value in it is missing")
        for item in value:
            _refuse_nested(key, item, path)
            _check(key, item, path, rule)
    elif value is None:
        return
    elif "choices" in rule and value not in rule["choices"]:
        raise UserError(f"{path}: {key}: got '{value}', may be {', '.join(rule['choices'])}")
    elif "low" in rule and not rule["low"] <= value <= rule["high"]:
        raise UserError(f"{path}: {key}: got {value}, "
                        f"may be from {rule['low']} to {rule['high']}")


def _refuse_nested(key: str, item: Any, path: Path) -> None:
    """Hold an item of a list or a mapping to one value or a section, which OmegaConf does not."""
    if OmegaConf.is_config(item) and not is_dataclass(OmegaConf.get_type(item)):
        raise UserError(f"{path}: {key}: got {OmegaConf.to_container(item)} where one value "
                        "must stand")


def _hint(key: str, object_type: Any) -> str:
    if not is_dataclass(object_type):
        return ""
    names = [f.name for f in fields(object_type)]
    near = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(names)}"


def _one_line(error: Exception) -> str:
    """The first line of `error`, in words of params.yaml where they are those of OmegaConf."""
    line = str(error).strip().split("\n")[0]
    if "is not a ListConfig, list or tuple" in line:
        return "must be a list, as in [1, 8]"
    if "is not Optional" in line or "value 'None'" in line:
        return "must not be null"
    return line
