"""Makes `edge_network.pt` beside this file: a network in TorchScript that finds edges, to be run by network.yaml.

python configs/edge_network.py        needs PyTorch: pip install 'blockflow[torch]'
"""

import warnings
from pathlib import Path

import torch

__all__ = ["Edges"]


class Edges(torch.nn.Module):
    """The length of the gradient, by half the difference of a voxel's neighbours along each axis."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.zeros(3, 1, 3, 3, 3)
        for axis in range(3):
            for place, weight in ((0, -0.5), (2, 0.5)):
                at = [1, 1, 1]
                at[axis] = place
                weights[(axis, 0, *at)] = weight
        self.differences = torch.nn.Conv3d(1, 3, 3, padding=1, bias=False)
        self.differences.weight = torch.nn.Parameter(weights)

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        """From `(batch, 1, z, y, x)` to the same shape."""
        return torch.linalg.vector_norm(self.differences(grey), dim=1, keepdim=True)


if __name__ == "__main__":
    with warnings.catch_warnings():
        # PyTorch's newer formats fix the shape, or need its compiler; TorchScript takes tiles of any shape
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        torch.jit.script(Edges().eval()).save(str(Path(__file__).with_suffix(".pt")))
