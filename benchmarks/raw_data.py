"""Raw data of benchmarks, JSON to which a program adds what it measures, and pages made of it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.config.errors import UserError
from stages.files.atomic import write_json
from stages.files.reading import read_json
from stages.measurement.system import describe_system
from stages.reporting.blocks import write_block
from stages.reporting.tables import cpu_label, threads_told

Told = Callable[[dict[str, Any]], str]


def measured_before(path: Path) -> dict[str, Any]:
    """What the JSON file of raw data at `path` holds; an empty object if there is no such file.

    Raises:
        UserError: it is no JSON object.
    """
    return read_json(path) if path.is_file() else {}


def require_same_facts(path: Path, name: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Hold the facts `before` of the record `name` in the file `path` to those of `now`.

    Raises:
        UserError: one differs; names which. What is measured now would not belong there.
    """
    if other := [key for key, value in now.items() if before.get(key) != value]:
        raise UserError(f"{path}: '{name}' was measured with another {', '.join(other)}; choose "
                        "another name, or delete it there")


def recorded_db(ratio: float) -> float | None:
    """A ratio in decibels to a tenth; None for NaN, of a tensor not there."""
    return None if np.isnan(ratio) else round(ratio, 1)


def cpu_and_threads(system: dict[str, Any]) -> str:
    """What a benchmark ran on, by its `system`."""
    return f"{cpu_label(system['cpu'])}, {threads_told(system['cpu']['threads_used'])}"


def told_each(told: Told, records: dict[str, dict[str, Any]]) -> str:
    """What `told` makes of each of `records`, with an empty line between them."""
    return "\n\n".join(map(told, records.values()))


def publish(raw: Path, page: Path, block: str, content: dict[str, Any], told: Told) -> str:
    """Write `content` to the JSON file `raw`, and what `told` makes of it to a block of `page`.

    Returns:
        what stands in the block now.
    """
    write_json(raw, content)
    text = told(content)
    write_block(page, block, text)
    return text


def publish_by_cpu(raw: Path, page: Path, block: str, measure: Callable[[], dict[str, Any]],
                   told: Told) -> str:
    """`publish` what this machine measures, in place of an earlier record of the same CPU and
    number of threads.

    Args:
        measure: gives the record, to which the machine is added as `system`; called once the
            records before are read, lest it measures in vain.
        told: what the block says of one record.

    Returns:
        what stands in the block now, of all CPUs.
    """
    before, system = measured_before(raw), describe_system()
    content = {**before, cpu_and_threads(system): {**measure(), "system": system}}
    return publish(raw, page, block, content, partial(told_each, told))
