"""Random crops and mirror images, a whole batch at a time, on the small pictures before resize."""

import torch
from torch.nn import functional


def augment(pictures: torch.Tensor, *, crop_padding: int, horizontal_flip: bool,
            generator: torch.Generator) -> torch.Tensor:
    """Shift each picture by up to `crop_padding` pixels and mirror half of them.

    What a shift uncovers is filled by reflection.

    Args:
        pictures: uint8, shape (B, H, W, 3).
        crop_padding: in pixels of the stored picture.

    Returns:
        uint8, shape (B, H, W, 3).
    """
    count, height, width, _ = pictures.shape
    if horizontal_flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        pictures = torch.where(mirrored.view(-1, 1, 1, 1), pictures.flip(2), pictures)
    if crop_padding:
        padded = functional.pad(pictures.permute(0, 3, 1, 2).float(), [crop_padding] * 4,
                                mode="reflect").to(torch.uint8).permute(0, 2, 3, 1)
        top, left = torch.randint(2 * crop_padding + 1, (2, count, 1), generator=generator)
        rows = (top + torch.arange(height)).view(count, height, 1)
        columns = (left + torch.arange(width)).view(count, 1, width)
        pictures = padded[torch.arange(count).view(-1, 1, 1), rows, columns]
    return pictures
