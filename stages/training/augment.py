"""Random crops, mirror images and cutout, a whole batch at a time, on the small pictures before
resize."""

import torch
from torch.nn import functional

GRAY = 127


def augment(pictures: torch.Tensor, *, crop_padding: int, horizontal_flip: bool, cutout: int,
            generator: torch.Generator, share: tuple[int, int] = (0, 1)) -> torch.Tensor:
    """Shift each picture by up to `crop_padding` pixels, mirror half of them, gray out a square.

    What a shift uncovers is filled by reflection. The square's centre lies anywhere in the
    picture, so that it may reach over the edge.
    Source: T. DeVries and G. Taylor, Improved Regularization with Cutout, 2017.

    Args:
        pictures: uint8, shape (B, H, W, 3).
        crop_padding: in pixels of the stored picture.
        cutout: side of the square, in pixels of the stored picture; 0 leaves it out.
        share: (index, number) of the equal parts of a batch that processes share: what is drawn for
            a picture does not depend on how many they are.

    Returns:
        uint8, shape (B, H, W, 3).
    """
    count, height, width, _ = pictures.shape
    index, parts = share
    batch, own = count * parts, slice(count * index, count * (index + 1))
    if horizontal_flip:
        mirrored = torch.rand(batch, generator=generator)[own] < 0.5
        pictures = torch.where(mirrored.view(-1, 1, 1, 1), pictures.flip(2), pictures)
    if crop_padding:
        padded = functional.pad(pictures.permute(0, 3, 1, 2).float(), [crop_padding] * 4,
                                mode="reflect").to(torch.uint8).permute(0, 2, 3, 1)
        top, left = torch.randint(2 * crop_padding + 1, (2, batch, 1), generator=generator)[:, own]
        rows = (top + torch.arange(height)).view(count, height, 1)
        columns = (left + torch.arange(width)).view(count, 1, width)
        pictures = padded[torch.arange(count).view(-1, 1, 1), rows, columns]
    if cutout:
        inside = []
        for side in (height, width):
            first = torch.randint(side, (batch, 1), generator=generator)[own] - cutout // 2
            position = torch.arange(side)
            inside.append((position >= first) & (position < first + cutout))
        square = inside[0].view(count, height, 1, 1) & inside[1].view(count, 1, width, 1)
        pictures = pictures.masked_fill(square, GRAY)
    return pictures
