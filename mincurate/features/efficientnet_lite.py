"""EfficientNet-Lite0: its layers, without the classifier.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
table 1; the Lite variants leave out squeeze-and-excitation, and bound activations by 6. A small
module of ours: timm's would bring torchvision, 190 MB of memory and 1.5 s of every start.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
"""Kernel, stride of the first block, expansion, channels, blocks."""
STEM, HEAD = 32, 1280
"""Channels of the first and of the last convolution."""
EXACT_PROJECTIONS = (2, 3, 4, 5)
"""Stages whose first projection, which all their blocks add to, computes in float32."""
EXACT_DEPTHWISE = 3
"""Stage whose first depthwise convolution, which halves the resolution, computes in float32."""


class Conv(nn.Conv2d):
    """A convolution padded as TensorFlow does: the odd pixel goes to the right and the bottom.

    Args:
        exact: compute in float32 under autocast, too.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        exact: bool = False,
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)
        self.exact = exact

    def forward(self, x: Tensor) -> Tensor:
        """``(N, outputs, h, w)``, h and w divided by the stride and rounded up."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        if stride > 1:
            high, wide = (max(kernel - (side - 1) % stride - 1, 0) for side in x.shape[2:])
            x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        if not self.exact:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Block(nn.Module):
    """Expand, filter each channel, project; where shape stays the same, the input is added."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, stage: int
    ) -> None:
        super().__init__()
        wide, first = inputs * expansion, inputs != outputs
        self.expand = Conv(inputs, wide) if expansion > 1 else None
        exact = first and stage == EXACT_DEPTHWISE
        self.depthwise = Conv(wide, wide, kernel, stride, groups=wide, exact=exact)
        self.project = Conv(wide, outputs, exact=first and stage in EXACT_PROJECTIONS)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """``(N, outputs, h, w)`` of ``(N, inputs, H, W)``."""
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """Images to the last feature map; batch norms are multiplied into the convolutions.

    Under autocast the first layers compute in float32, and so do a few later ones
    (`EXACT_PROJECTIONS`, `EXACT_DEPTHWISE`): most of what bfloat16 changes comes from them, and
    they cost little.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, STEM, 3, 2)
        blocks: list[Block] = []
        inputs = STEM
        for stage, (kernel, stride, expansion, outputs, count) in enumerate(STAGES):
            for i in range(count):
                own_stride = 1 if i else stride
                blocks.append(Block(inputs, outputs, kernel, own_stride, expansion, stage))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = Conv(inputs, HEAD)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 1280, h, w)``, h and w a 32nd, of images ``(N, 3, H, W)`` in [-1, 1].

        Normalised by ImageNet's mean and deviation they would lose 9 points of accuracy.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = self.blocks[0](F.relu6(self.stem(x.float()), inplace=True))
        for block in self.blocks[1:]:
            x = block(x)
        return F.relu6(self.head(x), inplace=True)
