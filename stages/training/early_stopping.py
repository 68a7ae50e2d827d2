"""When to stop, and which epoch was best."""

from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Stop when `patience` epochs in a row bring no gain of more than `min_delta`.

    best_epoch is the first epoch of the best value, gains below `min_delta` included, so that
    the checkpoint is never worse than a later one that was seen.
    """

    patience: int
    min_delta: float
    best: float = float("-inf")
    best_epoch: int = 0
    reference: float = float("-inf")
    bad_epochs: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Take the value of `epoch` (from 1; more is better); True when it is the best so far."""
        if value > self.reference + self.min_delta:
            self.reference, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1
        if value > self.best:
            self.best, self.best_epoch = value, epoch
            return True
        return False

    @property
    def should_stop(self) -> bool:
        return self.bad_epochs >= self.patience
