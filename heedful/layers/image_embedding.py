"""The convolutional embedding of small grey images that the few-shot literature shares.

    four times:  3 x 3 convolution, batch normalisation, ReLU, 2 x 2 max-pooling;   then an affine map

Vinyals et al. 2016, section 4.1.1 (without the affine map), and Mishra et al. 2018, appendix A. An image of 28 x 28 is
halved to 14, 7, 3 and 1.

In training the images of a batch are normalised by their common mean and variance; in evaluation by the running means
of these, so that an image's embedding never depends on what else is in the batch.
"""

import torch
from torch import Tensor, nn

SIDE = 28
"""Height and width of an image, in pixels."""


class ImageEmbedding(nn.Module):
    """Grey images (images, 28, 28) -> (images, width)."""

    def __init__(self, filters: int, width: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for channels in (1, filters, filters, filters):
            # The mean takes a bias of the convolution away again.
            blocks += [
                nn.Conv2d(channels, filters, 3, padding=1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(filters, width)

    def forward(self, images: Tensor) -> Tensor:
        """Images (images, 28, 28) with ink 1 on paper 0 -> (images, width)."""
        # On a CPU normalisation and pooling are faster with the channels innermost; convolutions keep the order that
        # they are given. The weights stay as they are, as an optimizer's state must lie in memory as they do.
        x = images.unsqueeze(1).to(memory_format=torch.channels_last)
        return self.output(self.blocks(x).flatten(1))
