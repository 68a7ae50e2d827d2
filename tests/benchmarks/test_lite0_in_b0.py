"""Lite0's weights in a B0: the same function where nothing but the architecture's name differs."""

import numpy as np
import timm
import torch
from synthetic import LITE0, logits_of, model_params, random_batch

from benchmarks.lite0_in_b0 import B0, b0_state
from stages.model.activation import swap_activations
from stages.model.build import build_model
from stages.model.checkpoint import save_torch
from stages.model.weights import PACKAGED, packaged_state


def test_with_relu6_it_is_lite0_and_with_silu_it_is_not():
    own, lite = timm.create_model(B0), timm.create_model(LITE0)
    own.load_state_dict(b0_state())
    lite.load_state_dict(packaged_state(PACKAGED[LITE0], lite))
    batch = random_batch(2, 64)
    expected, with_silu = logits_of(lite.eval(), batch), logits_of(own.eval(), batch)
    swap_activations(own, "relu6")
    atol = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(logits_of(own, batch), expected, atol=atol)
    assert np.abs(with_silu - expected).max() > 100 * atol


def test_file_is_one_that_training_starts_from(tmp_path):
    path = tmp_path / "start.pt"
    save_torch(path, b0_state())
    model = build_model(model_params(B0, weights=str(path)), 3)
    assert torch.equal(model.conv_head.weight, b0_state()["conv_head.weight"])
    assert model.get_classifier().weight.count_nonzero() == 0
