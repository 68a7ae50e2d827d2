"""Tell a good copy of a deployed model from a damaged, changed or mixed-up one.

    python -m stages.verify models/deploy.onnx --record metrics/deploy.json

Checks that it is such a model and runs, the hash of its graph with the weights, and that of its
metadata; replays the golden pictures; and compares every hash with the record that `deploy` wrote,
when that is given. One line for each check.
Exit status: 0 good, 1 a check failed, 2 bad usage, or no such file or record.
"""

import json
import logging
import sys
from pathlib import Path

import onnx

from stages.config.command_line import command_line
from stages.config.errors import UserError
from stages.config.stage import run_stage
from stages.deployment.golden import golden_problem
from stages.deployment.metadata import graph_sha256, metadata_sha256
from stages.deployment.runtime import HASH_KEYS, load_deployed

log = logging.getLogger(__name__)

EXIT_FAILED, EXIT_NO_FILE = 1, 2


def verify(path: Path, record: dict[str, str] | None) -> dict[str, str | None]:
    """What is wrong with the model at `path`, by the name of the check; None where all is well.

    Raises:
        UserError: it is not a model that `deploy` built, or it is damaged beyond running.
    """
    deployed = load_deployed(path)
    stated, model = deployed.metadata, onnx.load(path)
    intact = {
        "graph": None if stated["graph_sha256"] == graph_sha256(model) else
        "operators or weights were changed after it was built",
        "metadata": None if stated["metadata_sha256"] == metadata_sha256(model) else
        "metadata was changed after it was built"}
    if intact["metadata"]:
        answers = "not replayed, since the answers stand in the metadata"
    else:
        answers = golden_problem(deployed)
    if answers and not any(intact.values()):
        answers += ("; its hashes are right, so it is this CPU or ONNX Runtime that computes "
                    "otherwise, and the accuracy stated may not hold here")
    result = {**intact, "golden": answers}
    if record is not None:
        others = [key.removesuffix("_sha256") for key in HASH_KEYS
                  if record.get(key) != stated[key]]
        result["record"] = f"another model's: {', '.join(others)} differ" if others else None
    return result


def read_record(path: Path) -> dict[str, str]:
    """The record that `deploy` wrote.

    Raises:
        UserError: no such file, or no JSON object.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read as a record ({error})") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: not a record; expected a JSON object as in metrics/deploy.json")
    return record


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--record", type=Path, help="metrics/deploy.json of the run it is from")
    arguments = parser.parse_args()
    try:
        if not arguments.model.is_file():
            raise UserError(f"{arguments.model}: no such file")
        record = read_record(arguments.record) if arguments.record else None
    except UserError as error:
        log.error("%s", error)
        sys.exit(EXIT_NO_FILE)
    # A file's name need not be text.
    if sys.stdout:  # None where it is closed
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    problems = verify(arguments.model, record)
    for check, problem in problems.items():
        print(f"{arguments.model}: {check}: {problem or 'ok'}")
    if any(problems.values()):
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    run_stage(main)
