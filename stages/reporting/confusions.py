"""Which classes a variant takes for which, and what those pictures look like."""

import base64
import io
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from stages.data.dataset import Dataset

THUMBNAIL = 96


def confused_pairs(table: pd.DataFrame, reference: pd.DataFrame, count: int
                   ) -> list[dict[str, Any]]:
    """The `count` most frequent pairs of an actual and a wrongly predicted class.

    Both tables have columns actual and predicted, a row for each test picture; `pictures` is how
    often the pair stands in the first, `reference` in the second.
    """
    ours, theirs = (wrong.value_counts(["actual", "predicted"]) for wrong in (
        frame[frame.actual != frame.predicted] for frame in (table, reference)))
    ranked = sorted(ours.items(), key=lambda entry: (-entry[1], entry[0]))[:count]
    return [{"actual": actual, "predicted": predicted, "pictures": int(pictures),
             "reference": int(theirs.get((actual, predicted), 0))}
            for (actual, predicted), pictures in ranked]


def class_drops(by_class: dict[str, dict[str, float]], reference: str, first: str, count: int
                ) -> list[dict[str, Any]]:
    """Drop in accuracy by class against `reference`, in points, for every other variant.

    `by_class` is accuracy as a fraction by variant and class. At most `count` classes are given,
    those first in which the variant `first` loses most, or any variant where it is the reference.
    """
    rows = [{"class": name, "reference": accuracy,
             "drops": {variant: 100 * (accuracy - accuracies[name])
                       for variant, accuracies in by_class.items() if variant != reference}}
            for name, accuracy in by_class[reference].items()]
    return sorted(rows, key=lambda row: -row["drops"].get(first, max(row["drops"].values(),
                                                                     default=0)))[:count]


def mistakes(predictions: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Test pictures that a variant gets wrong, surest first.

    Returns:
        Columns position, label, predicted, confidence, and reference: what the reference predicts.
    """
    ours, theirs = (table[table.split == "test"] for table in (predictions, reference))
    joined = ours.drop(columns="split").merge(
        theirs[["position", "predicted"]].rename(columns={"predicted": "reference"}),
        on="position")
    wrong = joined[joined.label != joined.predicted]
    return wrong.sort_values(["confidence", "position"], ascending=[False, True],
                             ignore_index=True)


def with_examples(pairs: list[dict[str, Any]], wrong: pd.DataFrame, dataset: Dataset, count: int
                  ) -> list[dict[str, Any]]:
    """Add to each of `pairs` its `examples`: at most `count` pictures, surest first.

    `wrong` is what `mistakes` gives; an example is `lost` when the
    reference has it right.
    """
    names = np.array(dataset.classes)
    actual, predicted = names[wrong.label], names[wrong.predicted]
    result = []
    for pair in pairs:
        chosen = wrong[(actual == pair["actual"]) & (predicted == pair["predicted"])][:count]
        result.append({**pair, "examples": [
            {"uri": picture_uri(dataset.images[row.position]), "confidence": row.confidence,
             "lost": row.reference == row.label} for row in chosen.itertuples()]})
    return result


def are_of_one_run(wrong: pd.DataFrame, dataset: Dataset, table: pd.DataFrame) -> bool:
    """Whether the mistakes `wrong` are those of `table`, and of the pictures of `dataset`.

    Metrics and tables are in git, predictions and pictures are not: after a change of branch they
    can be of different runs.
    """
    if wrong.position.max() >= len(dataset.labels) or \
            wrong[["label", "predicted"]].max(axis=None) >= len(dataset.classes):
        return False
    names, told = np.array(dataset.classes), table[table.actual != table.predicted]
    return Counter(zip(names[wrong.label], names[wrong.predicted], strict=True)) == \
        Counter(zip(told.actual, told.predicted, strict=True)) and \
        bool((dataset.labels[wrong.position] == wrong.label).all())


def picture_uri(picture: np.ndarray) -> str:
    """A data URI of a uint8 (height, width, 3) picture as PNG, at most THUMBNAIL pixels a side."""
    image = Image.fromarray(np.asarray(picture))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return png_uri(buffer.getvalue())


def png_uri(content: bytes) -> str:
    """A data URI of the bytes of a PNG file."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
