"""How sure a measured percentile or ratio is."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, quantile_test, t

from stages.config.errors import UserError

CONFIDENCE = 0.95
RESAMPLES, AT_ONCE = 10_000, 100  # a few at once, so that many runs need little memory

# Timed runs of one thing in seconds: a list for each pass, which has sessions of its own.
Passes = Sequence[Sequence[float]]


def minimum_runs(percentile: int) -> int:
    """The fewest runs whose smallest and largest enclose `percentile` on both sides at 95 %.

    With fewer, one end of its interval would have to lie outside of all that was seen.
    """
    rarer = max(percentile, 100 - percentile) / 100
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(rarer))


def require_runs(percentiles: Sequence[int], runs: int) -> None:
    """Raises UserError for a percentile that `runs` runs can't bound."""
    for percentile in percentiles:
        if runs < minimum_runs(percentile):
            raise UserError(f"benchmark.latency_runs: got {runs}, percentile {percentile} with its "
                            f"interval needs {minimum_runs(percentile)}; raise it, or leave "
                            f"{percentile} out of benchmark.percentiles")


def percentile_interval(values: np.ndarray, percentile: int) -> tuple[float, float, float]:
    """The percentile of `values`, shape (n,), and both ends of its 95 % interval.

    Makes no assumption on how times are spread, but that runs do not depend on each other: the
    interval ends at two of `values`, chosen by the binomial number of runs below the percentile.
    Source: W. J. Conover, Practical Nonparametric Statistics.
    """
    ends = quantile_test(values, p=percentile / 100).confidence_interval(CONFIDENCE)
    return float(np.percentile(values, percentile)), float(ends.low), float(ends.high)


def ratio_interval(reference: Passes, times: Passes) -> tuple[float, float, float]:
    """How many times as fast `times` are as `reference`, and both ends of a 95 % interval.

    Runs are paired: those of one number were timed in one round, so that a slow moment hits both.
    The ratio is the median over pairs. The interval resamples passes, and then pairs within each,
    so that it also spans what differs from one loading of the models to the next. Passes are few,
    and their resamples spread less than they do; so it ends further out (`tail_of_few`).
    Source: B. Efron, Bootstrap methods, 1979; two levels after T. Kalibera and R. Jones, Rigorous
    benchmarking in reasonable time, 2013.
    """
    ratios = [np.divide(theirs, ours) for theirs, ours in zip(reference, times, strict=True)
              if len(ours)]
    random = np.random.default_rng(0)
    lengths = np.array([len(of_pass) for of_pass in ratios])
    longest = lengths.max()
    padded = np.array([np.pad(of_pass, (0, longest - len(of_pass))) for of_pass in ratios])
    passes = random.integers(len(ratios), size=(RESAMPLES, len(ratios), 1))
    medians = []
    for some in np.split(passes, RESAMPLES // AT_ONCE):
        pairs = (random.random((AT_ONCE, len(ratios), longest)) * lengths[some]).astype(int)
        resampled = np.where(np.arange(longest) < lengths[some], padded[some, pairs], np.nan)
        medians.append(np.nanmedian(resampled.reshape(AT_ONCE, -1), axis=1))
    tail = tail_of_few(len(ratios))
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(np.median(np.concatenate(ratios))), float(low), float(high)


def tail_of_few(passes: int) -> float:
    """The share of resamples to leave out at each end, for a 95 % interval from so many passes.

    Source: T. Hesterberg, What teachers should know about the bootstrap, 2015: the expanded
    percentile interval, as wide as Student's t and the unbiased variance make it. Of one pass
    nothing is known of what differs between passes, and the share is that of many.
    """
    tail = (1 - CONFIDENCE) / 2
    if passes == 1:
        return tail
    return float(norm.cdf(math.sqrt(passes / (passes - 1)) * t.ppf(tail, passes - 1)))
