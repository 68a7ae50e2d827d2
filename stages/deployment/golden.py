"""Golden inputs and outputs: what a model said of made-up pictures when it was built.

The pictures follow from their size alone, by a hash, so that a model carries only its answers.
"""

import hashlib
import math
from typing import Any

import numpy as np
import onnxruntime

from stages.deployment.runtime import LOGITS, PICTURES, DeployedModel
from stages.inference.session import ONNX_ERRORS

TILES = 4
SEEDS = (0, 1)
# Largest error of the logits, as a share of their spread (root mean square, standard deviation).
# Float: sums in another order, as another CPU makes them, change it by about 1e-6.
# INT8: integer sums are exact, but a float rounding that tips moves a logit by a whole step. The
# same graph computed in float throughout, the furthest a right implementation can be, is 0.008
# off (EfficientNet-Lite0 on digits); a CPU whose int8 products saturate, x86 without VNNI, 0.107.
# There the model is not the one whose accuracy was measured, and that has to be told.
TOLERANCE_FLOAT, TOLERANCE_INT8 = 0.001, 0.05


def golden_sizes(resolution: int, image_size: int) -> list[list[int]]:
    """[height, width] of the golden pictures: as stored, as the model sees them, and two that are
    shrunk and stretched on their way."""
    half = math.ceil(image_size / 2)
    sizes = [[resolution, resolution], [image_size, image_size],
             [image_size + half, image_size], [half, image_size + half]]
    return [size for size in sizes for _ in SEEDS]


def golden_pictures(sizes: list[list[int]]) -> list[np.ndarray]:
    """Pictures of coloured tiles, uint8 (1, height, width, 3), the same on every machine."""
    pictures = []
    for index, (height, width) in enumerate(sizes):
        seed = f"golden {SEEDS[index % len(SEEDS)]} {height} {width}".encode()
        colours = np.frombuffer(hashlib.shake_256(seed).digest(TILES * TILES * 3), np.uint8)
        rows, columns = (np.arange(side) * TILES // side for side in (height, width))
        tiles = colours.reshape(TILES, TILES, 3)
        pictures.append(np.ascontiguousarray(tiles[rows][:, columns][None]))
    return pictures


def record(logits: np.ndarray, sizes: list[list[int]], *, quantized: bool) -> dict[str, Any]:
    """What goes into the metadata: logits, shape (pictures, classes), to six digits."""
    return {"sizes": sizes, "tolerance": TOLERANCE_INT8 if quantized else TOLERANCE_FLOAT,
            "logits": [[float(f"{value:.6g}") for value in row] for row in logits.tolist()]}


def replay(session: onnxruntime.InferenceSession, sizes: list[list[int]]) -> np.ndarray:
    """The logits of the golden pictures, float32 (pictures, classes), run one by one."""
    return np.concatenate([session.run([LOGITS], {PICTURES: picture})[0]
                           for picture in golden_pictures(sizes)])


def relative_error(expected: np.ndarray, actual: np.ndarray) -> float:
    """Root mean square of the difference over the standard deviation of `expected`."""
    difference = np.sqrt(np.mean(np.square(expected - actual, dtype=np.float64)))
    return float(difference / max(float(np.std(expected)), np.finfo(np.float32).tiny))


def golden_problem(model: DeployedModel) -> str | None:
    """What is wrong with the model's answers to the golden pictures; None when nothing is."""
    golden = model.metadata["golden"]
    try:
        expected = np.array(golden["logits"], dtype=np.float32)
        sizes, tolerance = [tuple(map(int, size)) for size in golden["sizes"]], golden["tolerance"]
    except (KeyError, TypeError, ValueError) as error:
        return f"the golden answers in its metadata can't be used ({error})"
    try:
        actual = replay(model.session, sizes)
    except ONNX_ERRORS as error:
        return f"it does not run on the golden pictures ({' '.join(str(error).split())})"
    if expected.shape != actual.shape:
        return f"{actual.shape} answers where {expected.shape} are stated"
    error = relative_error(expected, actual)
    if not error <= tolerance:
        return f"logits are off by {error:.2g} of their spread, accepted is {tolerance}"
    return None
