"""How a tensor's values are spread, in a fixed number of bins, however many values come.

The width of a bin is a power of two and zero is an edge between bins, so a range that grows merges
whole bins, and the counts do not depend on the order in which values come.
"""

import numpy as np

BINS = 8192
SMALLEST_EXPONENT = -126


class Histogram:
    """Counts of the values seen.

    lowest, highest: extremes seen, float32.
    counts: int64, shape (BINS,); bin i holds values from (i - BINS / 2) * width up to the next.
    zeros: how many values were exactly zero; they are in `counts` too.
    """

    def __init__(self) -> None:
        self.lowest, self.highest = np.float32(np.inf), np.float32(-np.inf)
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.zeros = 0
        self._exponent = SMALLEST_EXPONENT

    @property
    def width(self) -> float:
        """The width of a bin."""
        return 2.0 ** self._exponent

    @property
    def edges(self) -> np.ndarray:
        """The edges of the bins, float64, shape (BINS + 1,)."""
        return np.arange(-BINS // 2, BINS // 2 + 1) * self.width

    def update(self, values: np.ndarray) -> None:
        """Count `values`, float32 of any shape, finite."""
        self.lowest = min(self.lowest, values.min())
        self.highest = max(self.highest, values.max())
        self._widen(float(max(abs(self.lowest), abs(self.highest))))
        index = np.floor(values.ravel() * np.float32(1 / self.width)).astype(np.intp)
        self.counts += np.bincount(index + BINS // 2, minlength=BINS)
        self.zeros += values.size - np.count_nonzero(values)

    def _widen(self, largest: float) -> None:
        """Double the width of bins until `largest` falls into one on either side of zero."""
        if not largest:  # zeros alone ask for no width
            return
        needed = int(np.frexp(largest)[1]) - (BINS // 2).bit_length() + 1
        if needed > self._exponent:
            bins = np.arange(-BINS // 2, BINS // 2) >> min(needed - self._exponent, 63)
            merged = np.zeros_like(self.counts)
            np.add.at(merged, bins + BINS // 2, self.counts)
            self.counts, self._exponent = merged, needed
