"""From uint8 pictures to the tensor a model takes, the same for training and every measurement."""

from collections.abc import Sequence

import torch
from torch.nn import functional

UINT8_MAX = 255.0


def preprocess(pictures: torch.Tensor, image_size: int, mean: Sequence[float],
               std: Sequence[float]) -> torch.Tensor:
    """Resize and normalize a batch of pictures, on the device that they are on.

    Args:
        pictures: uint8, shape (B, H, W, 3).
        mean, std: by channel, on the scale from 0 to 1.

    Returns:
        float32, shape (B, 3, image_size, image_size), channels last in memory.
    """
    batch = pictures.permute(0, 3, 1, 2).float()
    if batch.shape[-2:] != (image_size, image_size):
        batch = functional.interpolate(batch, size=(image_size, image_size), mode="bilinear",
                                       align_corners=False, antialias=True)
    scale = torch.tensor(std, device=batch.device).mul_(UINT8_MAX).view(1, 3, 1, 1)
    shift = torch.tensor(mean, device=batch.device).mul_(UINT8_MAX).view(1, 3, 1, 1)
    return ((batch - shift) / scale).contiguous(memory_format=torch.channels_last)
