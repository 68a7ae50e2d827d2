"""Pages from their templates, and what holds the report's to the present run and machine."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from jinja2.exceptions import UndefinedError

from stages.config.errors import UserError
from stages.config.params import PARAMS_FILE
from stages.config.schema import Params
from stages.files.atomic import replacing
from stages.reporting.tables import cell, cpu_label, drop, points, speedup, threads_told

TEMPLATES = Path(__file__).parent / "templates"


def percent(fraction: float, digits: int = 2) -> str:
    return f"{100 * fraction:.{digits}f} %"


def chance(p: float) -> str:
    """A p-value: two digits, and no zero."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def environment() -> Environment:
    """Templates that escape what they put into HTML, and fail on a name that is not there."""
    result = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined,
                         autoescape=select_autoescape(["html"]), trim_blocks=True,
                         lstrip_blocks=True, keep_trailing_newline=True)
    result.filters.update(percent=percent, points=points, chance=chance, cell=cell,
                          drop=drop, speedup=speedup, cpu_label=cpu_label,
                          threads_told=threads_told)
    return result


def render(template: str, facts: dict[str, Any]) -> str:
    """The page `template` with `facts` filled in.

    Raises:
        UserError: the metrics lack a value that the page shows.
    """
    try:
        return environment().get_template(template).render(facts)
    except UndefinedError as error:
        raise UserError(f"metrics: {error.message}; made by other code than this, "
                        "run 'dvc repro'") from None


def write_page(path: Path, template: str, facts: dict[str, Any]) -> None:
    """Render `template` to the file `path`. Raises UserError as `render` does."""
    text = render(template, facts)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def require_one_run(summary: dict[str, Any], params: Params) -> None:
    """Hold metrics/summary.json to the parameters beside it.

    Raises:
        UserError: it is of another data set, model or picture size.
    """
    told = [summary.get(key) for key in ("dataset", "model", "image_size")]
    wanted = [params.data.name, params.model.name, params.model.image_size]
    if told != wanted:
        raise UserError(f"metrics/summary.json: is of {told}, {PARAMS_FILE} is of {wanted}; "
                        "run 'dvc repro'")


def other_machine(measured: dict[str, Any], here: dict[str, Any]) -> str | None:
    """A warning when `measured`, the cpu of system.json, is not the CPU described by `here`."""
    if all(measured[key] == here[key] for key in ("model", "architecture", "cores", "flags")):
        return None
    there, now = (f"{cpu_label(cpu)}, {cpu['cores']} cores" for cpu in (measured, here))
    return (f"The timings were taken on another CPU ({there}) than this page was made on ({now}). "
            "Run 'make bench' to measure them here.")
