"""Reading params.yaml through the schema, so that a mistake in it stops a stage at once."""

import difflib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from stages.config.errors import UserError
from stages.config.schema import Params

PARAMS_FILE = Path("params.yaml")
ABSENT = object()


def load_params(*keys: str, path: Path = PARAMS_FILE) -> Params:
    """Read `keys` of the parameter file, sections or parts of one; all else stays unset.

    A stage names just what it declares in dvc.yaml, so it can't read what DVC does not track.

    Raises:
        UserError: unreadable file, unknown key, wrong type, value out of range, missing value.
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
    try:
        params = OmegaConf.structured(Params)
        for key in keys:
            value = OmegaConf.select(raw, key, default=ABSENT)
            if value is ABSENT or (value is None and "." not in key):
                raise UserError(f"{path}: {key}: is missing{_known(raw, key)}")
            _check_names(raw, key, path)
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True)
            wanted = OmegaConf.create()
            OmegaConf.update(wanted, key, value)
            params = OmegaConf.merge(params, wanted)
        for key in keys:
            _check(key, OmegaConf.select(params, key), path, _rule(key))
    except ConfigKeyError as error:
        raise UserError(f"{path}: unknown key '{error.full_key}'"
                        f"{_hint(str(error.key), error.object_type)}") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {error.full_key or key}: {_one_line(error)}") from None
    return params


def _check_names(raw: DictConfig, key: str, path: Path) -> None:
    """Find a misspelt key also where a stage reads but a part of its section."""
    section = key.partition(".")[0]
    kind = Params.__dataclass_fields__[section].type
    if is_dataclass(kind) and isinstance(raw[section], DictConfig):
        for name in raw[section]:
            if name not in kind.__dataclass_fields__:
                raise UserError(f"{path}: unknown key '{section}.{name}'{_hint(str(name), kind)}")


def _known(raw: DictConfig, key: str) -> str:
    parent = OmegaConf.select(raw, key.rpartition(".")[0]) if "." in key else raw
    return f"; known are {', '.join(map(str, parent))}" if isinstance(parent, DictConfig) else ""


def _rule(key: str) -> Any:
    """The schema's range or choices for the leaf `key` of a section."""
    section, _, name = key.partition(".")
    kind = Params.__dataclass_fields__[section].type
    return kind.__dataclass_fields__[name].metadata if is_dataclass(kind) and \
        name in kind.__dataclass_fields__ else {}


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
            _check(f"{key}.{name}", value[name], path, rules.get(name))
    elif OmegaConf.is_list(value):
        if len(value) != rule.get("length", len(value)) or not (
                len(value) or rule.get("may_be_empty")):
            raise UserError(f"{path}: {key}: has {len(value)} values, needs "
                            f"{rule.get('length', 'at least one')}")
        for item in value:
            _check(key, item, path, rule)
    elif value is None:
        return
    elif "choices" in rule and value not in rule["choices"]:
        raise UserError(f"{path}: {key}: got '{value}', may be {', '.join(rule['choices'])}")
    elif "low" in rule and not rule["low"] <= value <= rule["high"]:
        raise UserError(f"{path}: {key}: got {value}, "
                        f"may be from {rule['low']} to {rule['high']}")


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
