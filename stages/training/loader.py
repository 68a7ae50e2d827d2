"""Batches of uint8 pictures from the array file, in an order fixed by seed and epoch."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from stages.data.dataset import Dataset as PreparedDataset

Batch = tuple[torch.Tensor, torch.Tensor]


class SplitDataset(Dataset):
    """A split of the prepared data set, fetched a batch at a time from the mapped file."""

    def __init__(self, dataset: PreparedDataset, split: str) -> None:
        self.images = dataset.images
        self.labels = dataset.labels
        self.positions = dataset.splits[split]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitems__(self, indices: list[int]) -> Batch:
        positions = self.positions[np.asarray(indices)]
        return torch.from_numpy(self.images[positions]), torch.from_numpy(self.labels[positions])


def make_loader(dataset: PreparedDataset, split: str, batch_size: int,
                generator: torch.Generator | None = None) -> DataLoader:
    """Batches of (uint8 (B, H, W, 3), int64 (B,)); shuffled by `generator` when it is given."""
    pictures = SplitDataset(dataset, split)
    sampler = RandomSampler(pictures, generator=generator) if generator else None
    return DataLoader(pictures, batch_size=batch_size, sampler=sampler,
                      drop_last=generator is not None, collate_fn=_as_fetched)


def _as_fetched(batch: Batch) -> Batch:
    return batch
