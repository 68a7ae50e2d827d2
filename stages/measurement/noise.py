"""Signal-to-noise ratio: how far what a quantized model computes is from what it should be."""

import numpy as np

# What equal numbers are shown as, for which the ratio is infinite.
MOST_DB = 120.0
TINY = float(np.finfo(np.float64).tiny)


def signal_to_noise_db(reference: np.ndarray, actual: np.ndarray) -> float:
    """Power of `reference` over that of the difference, in decibels, MOST_DB at most."""
    return float(decibels(power(reference), power(reference - actual)))


def relative_noise(reference: np.ndarray, actual: np.ndarray) -> float:
    """Power of the difference over that of `reference`; 0 where they are equal, zeros too."""
    return power(actual - reference) / max(power(reference), TINY)


def power(values: np.ndarray) -> float:
    """Sum of squares, in float64."""
    return float(np.square(values, dtype=np.float64).sum())


def decibels(signal: np.ndarray | float, noise: np.ndarray | float) -> np.ndarray:
    """Ratio of two powers in decibels, MOST_DB at most and where there is no noise; NaN of NaN."""
    ratio = np.log10(np.maximum(signal, TINY)) - np.log10(np.maximum(noise, TINY))
    return np.where(np.equal(noise, 0), MOST_DB, np.minimum(10 * ratio, MOST_DB))
