"""The least model that is an encoder with a head."""

from torch import nn

from heedful.models.encoder import Encoder, HeadedEncoder


class Tagger(HeadedEncoder):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.output = nn.Linear(encoder.width, 3)
