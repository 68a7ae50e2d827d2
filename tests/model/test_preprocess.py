import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import random_pictures
from torchvision.transforms import v2

from stages.model.preprocess import preprocess

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
IDENTITY = [0.0] * 3, [1 / 255] * 3  # leaves the scale of uint8


def with_pillow(picture, side):
    """Each channel resized by Pillow in float."""
    return np.stack([np.asarray(Image.fromarray(picture[..., channel].astype(np.float32)).resize(
        (side, side), Image.Resampling.BILINEAR)) for channel in range(3)])


@pytest.mark.parametrize(("height", "width", "side"), [
    (8, 8, 64), (8, 8, 13), (12, 9, 32), (32, 32, 12), (40, 31, 16), (16, 16, 16)])
def test_resize_is_that_of_pillow(height, width, side):
    pictures = random_pictures(3, height, width)
    batch = preprocess(torch.from_numpy(pictures), side, *IDENTITY).numpy()
    expected = np.stack([with_pillow(picture, side) for picture in pictures])
    np.testing.assert_allclose(batch, expected, atol=2e-3)


def test_normalization_is_that_of_torchvision():
    pictures = torch.from_numpy(random_pictures(4, 16, 16))
    transform = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    expected = transform(pictures.permute(0, 3, 1, 2))
    torch.testing.assert_close(preprocess(pictures, 16, MEAN, STD), expected, atol=1e-5, rtol=0)


def test_black_and_white_by_hand():
    pictures = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    pictures[1] = 255
    batch = preprocess(pictures, 32, MEAN, STD)
    for channel in range(3):
        assert batch[0, channel].numpy() == pytest.approx(-MEAN[channel] / STD[channel])
        assert batch[1, channel].numpy() == pytest.approx((1 - MEAN[channel]) / STD[channel])


@pytest.mark.parametrize("side", [8, 20])
def test_shape_type_and_memory(side):
    pictures = torch.from_numpy(random_pictures(5, 8, 8))
    before = pictures.clone()
    batch = preprocess(pictures, side, MEAN, STD)
    assert batch.shape == (5, 3, side, side)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pictures, before)


def test_a_picture_does_not_depend_on_its_batch():
    pictures = torch.from_numpy(random_pictures(3, 8, 8))
    together = preprocess(pictures, 32, MEAN, STD)
    alone = torch.cat([preprocess(picture[None], 32, MEAN, STD) for picture in pictures])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_stays_on_the_device_of_the_pictures():
    """"meta" stands for an accelerator: a tensor of another device beside it is an error."""
    pictures = torch.zeros(2, 9, 7, 3, dtype=torch.uint8, device="meta")
    batch = preprocess(pictures, 16, MEAN, STD)
    assert (batch.device.type, batch.shape) == ("meta", (2, 3, 16, 16))
