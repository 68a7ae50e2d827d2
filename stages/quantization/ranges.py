"""Which range of a tensor its 256 steps are spread over, judged from its histogram.

A narrower range clips what is rare and rounds the rest more finely. Candidates for a range are
[-t, t], cut to what was seen, for thresholds t that fall from the largest value seen.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import rel_entr

from stages.quantization.histogram import BINS, Histogram

Range = tuple[np.float32, np.float32]

ACTIVATION_LEVELS = 256
LARGEST_WEIGHT = 127  # of signed, symmetric INT8
LARGEST_REDUCED_WEIGHT = 64  # with reduce_range
PERCENTILE = 99.99
THRESHOLDS = 2.0 ** (-np.arange(129) / 16)  # of the largest value, down to a 256th of it
# Count that a bin has which the coarser distribution leaves empty: divergence stays finite.
UNSEEN = 1e-4


def percentile_range(histogram: Histogram) -> Range:
    """The range that holds PERCENTILE % of the values, with the rest cut off evenly at both ends.

    Source: H. Wu et al., Integer quantization for deep learning inference, 2020, section 3.3.
    """
    cut = (1 - PERCENTILE / 100) / 2 * histogram.counts.sum()
    below = np.cumsum(histogram.counts)
    first, last = np.searchsorted(below, cut, "right"), np.searchsorted(below, below[-1] - cut)
    return _cut(histogram, histogram.edges[first], histogram.edges[last + 1])


def mse_range(histogram: Histogram) -> Range:
    """The candidate whose quantized values have the least mean squared error.

    Source: M. Nagel et al., A white paper on neural network quantization, 2021, section 3.1.
    """
    seen = np.flatnonzero(histogram.counts)
    values = (histogram.edges[:-1] + histogram.width / 2)[seen]
    counts = histogram.counts[seen]

    def error(lowest: float, highest: float) -> float:
        step = (highest - lowest) / (ACTIVATION_LEVELS - 1)
        zero = np.round(-lowest / step)
        rounded = (np.clip(np.round(values / step) + zero, 0, ACTIVATION_LEVELS - 1) - zero) * step
        return float(counts @ np.square(values - rounded))

    return _best(histogram, error)


def entropy_range(histogram: Histogram) -> Range:
    """The candidate whose quantized distribution diverges least from the one seen.

    Exact zeros are left out: quantization keeps them, whatever the range. So are candidates that
    clip most of what was seen: where all of it ends up at one edge, nothing diverges.
    Source: S. Migacz, 8-bit inference with TensorRT, 2017.
    """
    counts = histogram.counts.astype(np.float64)
    counts[BINS // 2] -= histogram.zeros

    def divergence(lowest: float, highest: float) -> float:
        first, last = np.floor(np.array([lowest, highest]) / histogram.width).astype(int)
        first, last = first + BINS // 2, last + BINS // 2 + 1
        inside = counts[first:last]
        if len(inside) < ACTIVATION_LEVELS or 2 * inside.sum() < counts.sum():
            return np.inf
        clipped = inside.copy()
        clipped[0] += counts[:first].sum()
        clipped[-1] += counts[last:].sum()
        level = np.arange(len(inside)) * ACTIVATION_LEVELS // len(inside)
        filled = inside > 0
        share = np.bincount(level, inside) / np.maximum(np.bincount(level, filled), 1)
        coarse = np.where(filled, share[level], np.where(clipped > 0, UNSEEN, 0))
        return float(rel_entr(clipped / clipped.sum(), coarse / coarse.sum()).sum())

    return _best(histogram, divergence)


RANGE_OF: dict[str, Callable[[Histogram], Range]] = {
    "percentile": percentile_range, "entropy": entropy_range, "mse": mse_range}


def _best(histogram: Histogram, loss: Callable[[float, float], float]) -> Range:
    """The candidate of least `loss`, and the widest one among equals."""
    largest = max(abs(histogram.lowest), abs(histogram.highest))
    if largest == 0:
        return histogram.lowest, histogram.highest
    candidates = [_cut(histogram, -threshold, threshold) for threshold in largest * THRESHOLDS]
    return candidates[int(np.argmin([loss(*map(float, each)) for each in candidates]))]


def _cut(histogram: Histogram, lowest: float, highest: float) -> Range:
    """The range without what lies beyond the extremes seen, but with zero, which stays exact."""
    zero = np.float32(0)
    return (min(max(np.float32(lowest), histogram.lowest), zero),
            max(min(np.float32(highest), histogram.highest), zero))
