"""The features of the published FID and sFID: Inception-v3 of 2015-12-05.

FID (Heusel et al., NeurIPS 2017) takes the last pooling layer, 2048 numbers. sFID (Nash et al.,
ICML 2021) takes the first 7 channels of ``mixed_6/conv``, 17 x 17 positions: torch-fidelity's
``Mixed_6d.branch1x1``. Images are enlarged to 299 px as TensorFlow 1 did.
"""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.evaluation.metrics import Vectors, spatial_vectors
from mincurate.features import backbone

NAME = "Inception-v3 (2015-12-05), pool3"
SPATIAL_NAME = "Inception-v3 (2015-12-05), mixed_6/conv"
FILES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
"""The weights as torch-fidelity and torchmetrics download them, and as pytorch-fid does."""


def cached_weights() -> Path | None:
    """The weights in torch's cache, where another tool has downloaded them."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def installed() -> bool:
    """Whether torch-fidelity is here, which has the network."""
    return find_spec("torch_fidelity") is not None


class Inception:
    """The network with weights from a file.

    Attributes:
        weights_hash: identifies the weights.
    """

    def __init__(self, weights: Path, device: str) -> None:
        """Load the weights.

        Raises:
            UserError: torch-fidelity is missing, or the file does not hold these weights.
        """
        if not installed():
            raise UserError("Inception features need torch-fidelity: pip install 'mincurate[fid]'.")
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        state = backbone.read_weights(weights)
        buffer = io.BytesIO()  # the library unpickles its file; this one holds tensors alone
        torch.save(state, buffer)
        buffer.seek(0)
        try:
            self._net = FeatureExtractorInceptionV3("inception", ["2048"], buffer).to(device)
        except RuntimeError:
            raise UserError(
                f"{weights} does not hold the Inception weights of FID; take {FILES[0]} of "
                "torch-fidelity."
            ) from None
        self.weights_hash = hashing.hash_tensors(state)
        self._device = device
        self._maps: list[Tensor] = []
        self._net.Mixed_6d.branch1x1.register_forward_hook(self._keep_maps)

    def _keep_maps(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        self._maps = [output]

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[Vectors, Vectors]:
        """Features for FID, ``(N, 2048)``, and for sFID, ``(N, 2023)``.

        Args:
            pixels: ``(N, 3, H, W)`` uint8.
        """
        images = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
        (pooled,) = self._net(images)
        maps = self._maps.pop()
        return pooled.cpu().numpy(), spatial_vectors(maps.float().cpu().numpy())
