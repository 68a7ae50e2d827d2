"""When to stop, and which epoch was best."""

from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Stop when `patience` epochs in a row bring no gain of more than `min_delta`.

    The best epoch is the most accurate one, gains below `min_delta` included; among equals, as a
    small validation split has them, the one with the lowest loss.
    """

    patience: int
    min_delta: float
    reference: float = float("-inf")
    bad_epochs: int = 0
    best_epoch: int = 0
    best_accuracy: float = float("-inf")
    best_loss: float = float("inf")

    def update(self, epoch: int, accuracy: float, loss: float) -> bool:
        """Take the validation results of `epoch` (from 1); True when it is the best so far."""
        if accuracy > self.reference + self.min_delta:
            self.reference, self.bad_epochs = accuracy, 0
        else:
            self.bad_epochs += 1
        if (accuracy, -loss) > (self.best_accuracy, -self.best_loss):
            self.best_epoch, self.best_accuracy, self.best_loss = epoch, accuracy, loss
            return True
        return False

    @property
    def should_stop(self) -> bool:
        return self.bad_epochs >= self.patience
