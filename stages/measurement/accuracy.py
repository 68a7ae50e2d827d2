"""Accuracy with its uncertainty, alone and of one model against another."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest, norm

BINS = 15  # of confidence, from 0 to 1, in the calibration error
CONFIDENCE = 0.95  # of the upper bound of a drop


def accuracy_interval(correct: np.ndarray) -> dict[str, float]:
    """Accuracy (a fraction) and its Wilson 95 % interval. `correct` is bool, shape (n,)."""
    count, total = int(correct.sum()), len(correct)
    interval = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return {"accuracy": count / total, "accuracy_ci95_low": interval.low,
            "accuracy_ci95_high": interval.high}


def accuracy_by_class(labels: np.ndarray, predicted: np.ndarray, classes: list[str]
                      ) -> dict[str, float]:
    """Share of each class's pictures that are recognized."""
    return {name: float((predicted[labels == index] == index).mean())
            for index, name in enumerate(classes)}


def calibration_error(correct: np.ndarray, confidence: np.ndarray) -> float:
    """Expected calibration error, a fraction: how far confidence is from accuracy on average.

    `correct` is bool and `confidence` the probability of the predicted class, both shape (n,).
    Source: C. Guo et al., On Calibration of Modern Neural Networks, 2017; bins of equal width.
    """
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    gaps = np.bincount(np.digitize(confidence, edges, right=True), weights=confidence - correct,
                       minlength=BINS)
    return float(np.abs(gaps).sum() / len(correct))


@dataclass(frozen=True)
class Comparison:
    """A model against a reference on the same n pictures.

    lost: pictures that only the reference has right; gained: that only the model has right.
    flipped: pictures whose predicted class differs.
    """

    n: int
    lost: int
    gained: int
    flipped: int

    @property
    def drop_pp(self) -> float:
        """Drop in accuracy, in percentage points; negative for a gain."""
        return 100 * (self.lost - self.gained) / self.n

    @property
    def mcnemar_p(self) -> float:
        """Chance of a difference at least this large if both were equally accurate, two-sided.

        Source: Q. McNemar, Note on the sampling error of the difference between correlated
        proportions or percentages, 1947; exact, by the binomial distribution.
        """
        differing = self.lost + self.gained
        return float(binomtest(self.lost, differing).pvalue) if differing else 1.0

    def drop_upper_pp(self, confidence: float = CONFIDENCE) -> float:
        """One-sided upper bound of the drop, in percentage points.

        Source: A. Agresti and Y. Min, Simple improved confidence intervals for comparing matched
        proportions, 2005: half an observation is added to each cell of the paired table, so that
        no flips in few pictures are not taken for certainty.
        """
        total = self.n + 2
        difference = self.lost - self.gained
        spread = np.sqrt(self.lost + self.gained + 1 - difference**2 / total)
        return float(100 * (difference + norm.ppf(confidence) * spread) / total)

    def drop(self) -> dict[str, float]:
        """The drop and its upper bound at 95 %, in percentage points, as metrics have them."""
        return {"drop_pp": self.drop_pp, "drop_upper_pp": self.drop_upper_pp()}

    def accuracy_drop(self) -> dict[str, float]:
        """The drop with its 95 % interval, in percentage points, as tables have them."""
        low, high = self.drop_interval_pp()
        return {"accuracy_drop_pp": self.drop_pp, "accuracy_drop_pp_ci95_low": low,
                "accuracy_drop_pp_ci95_high": high}

    def drop_interval_pp(self) -> tuple[float, float]:
        """Two-sided 95 % interval of the drop, in percentage points; each end as the bound above.
        """
        gain = replace(self, lost=self.gained, gained=self.lost)
        return -gain.drop_upper_pp(0.975), self.drop_upper_pp(0.975)


def pictures_needed(max_drop_pp: float) -> float:
    """The least number of pictures on which a drop can be shown to be within `max_drop_pp` points.

    That of `Comparison.drop_upper_pp` without a flip; infinite for a bound of zero.
    """
    return max(1, np.ceil(100 * norm.ppf(CONFIDENCE) / max_drop_pp) - 2) if max_drop_pp else np.inf


def pictures_told(max_drop_pp: float) -> str:
    """How many pictures that takes, as the end of a sentence."""
    needed = pictures_needed(max_drop_pp)
    return f"which takes {needed:.0f}" if np.isfinite(needed) else "which no number of them can"


def compare(labels: np.ndarray, reference: np.ndarray, predicted: np.ndarray) -> Comparison:
    """Compare predicted classes with a reference's; all int, shape (n,)."""
    right, reference_right = predicted == labels, reference == labels
    return Comparison(n=len(labels), lost=int((reference_right & ~right).sum()),
                      gained=int((right & ~reference_right).sum()),
                      flipped=int((predicted != reference).sum()))
