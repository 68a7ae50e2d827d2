"""EfficientNet-Lite0's published ImageNet weights in an EfficientNet-B0, as a state dict.

    python -m benchmarks.lite0_in_b0 models/b0_start.pt

Both have the same convolutions. B0 adds squeeze-excitation, which starts here as a factor of one,
and SiLU in place of ReLU6, which training has to get used to. What comes out has the spread of
weights that a published checkpoint has in every layer, where B0's own can't be had.
"""

from pathlib import Path

import timm
import torch

from stages.config.command_line import command_line
from stages.config.stage import run_stage
from stages.model.checkpoint import save_torch
from stages.model.weights import PACKAGED, packaged_state

LITE0, B0 = "tf_efficientnet_lite0", "tf_efficientnet_b0"
GATE, PROJECTION = "se.conv_expand", ("conv_pwl.weight", "blocks.0.0.conv_pw.weight")
# Of the gate's logits, which start at this value for every channel and picture.
GATE_BIAS = 2.0


def b0_state() -> dict[str, torch.Tensor]:
    """A state dict of timm's `tf_efficientnet_b0`, equal to Lite0 where SiLU is made ReLU6.

    Raises:
        UserError: the package with the weights is not installed.
    """
    lite = packaged_state(PACKAGED[LITE0], timm.create_model(LITE0))
    torch.manual_seed(0)
    state = timm.create_model(B0).state_dict() | lite
    for name, tensor in state.items():
        if name.endswith(f"{GATE}.weight"):
            state[name] = torch.zeros_like(tensor)
        elif name.endswith(f"{GATE}.bias"):
            state[name] = torch.full_like(tensor, GATE_BIAS)
        elif name.endswith(PROJECTION):
            state[name] = tensor / torch.sigmoid(torch.tensor(GATE_BIAS))
    return state


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("target", type=Path, help="the file to write")
    save_torch(parser.parse_args().target, b0_state())


if __name__ == "__main__":
    run_stage(main)
