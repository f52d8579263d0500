"""A tagger: an encoder, and a label for every word, read off its first piece (Devlin et al. 2019, section 5.3).

    emissions = model(tokens, firsts, features)  # (batch, words, labels)
    tags = model.decode(emissions, firsts)       # the likeliest allowed labels of each sentence

The labels are IOB2 tags. Each word is scored by itself, and the likeliest sequence that IOB2 allows is taken; or, with
`crf`, whole sequences are scored (Lample et al. 2016, section 2). With `word_features` a label's score is the sum of
two: what the encoder makes of a word, and what its spelling and its neighbours say by themselves, as in a conditional
random field over hand-made features. The first knows what words mean, the second learns rare names by heart, and from
some thousand sentences both are needed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from heedful.layers import Dropout
from heedful.layers.crf import ConditionalRandomField
from heedful.layers.hashed_features import HashedFeatures
from heedful.models.encoder import Encoder, HeadedEncoder
from heedful.text.hashing import BUCKETS
from heedful.text.tags import follows


class Tagger(HeadedEncoder):
    """An encoder that tags words.

    labels: the tags, in the order of their numbers
    crf: learn which tag stands beside which; else only what IOB2 allows is known
    dropout: on the vectors that are tagged
    word_features: whether the features of heedful.text.word_features are scored too; feature_dropout: on these
    """

    def __init__(
        self,
        encoder: Encoder,
        labels: Sequence[str],
        crf: bool = False,
        dropout: float = 0.0,
        word_features: bool = False,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__(encoder)
        self.labels = tuple(labels)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(encoder.width, len(self.labels))
        nn.init.normal_(self.output.weight, std=0.02)  # BERT's
        nn.init.zeros_(self.output.bias)
        self.wide = HashedFeatures(BUCKETS, len(self.labels), feature_dropout) if word_features else None
        allowed = [[follows(tag, before) for tag in self.labels] for before in self.labels]
        first = [follows(tag, None) for tag in self.labels]
        self.crf = ConditionalRandomField(torch.tensor(allowed), torch.tensor(first), learned=crf)

    def vectors(self, tokens: Tensor, firsts: Tensor) -> Tensor:
        """Read sentences.

        tokens: (batch, length); firsts: (batch, words), the place of each word's first piece, below 0 beyond the last

        Gives (batch, words, d_model); what stands beyond the last word means nothing.
        """
        vectors = self.encoder(tokens)
        places = firsts.clamp(min=0).unsqueeze(2).expand(-1, -1, vectors.shape[2])
        return self.dropout(vectors.gather(1, places))

    def forward(self, tokens: Tensor, firsts: Tensor, features: Tensor | None = None) -> Tensor:
        """As `vectors`; gives the score of each label, (batch, words, labels).

        features: (batch, words, COUNT), those of heedful.text.word_features; for a model with word features only
        """
        scores = self.output(self.vectors(tokens, firsts))
        if self.wide is None:
            return scores
        if features is None:
            raise ValueError("A tagger with word features needs the features of the words.")
        return scores + self.wide(features)

    def decode(self, emissions: Tensor, firsts: Tensor) -> list[list[str]]:
        """The likeliest tags of each sentence: emissions (batch, words, labels); firsts below 0 are no words."""
        return [[self.labels[label] for label in row] for row in self.crf.viterbi(emissions, firsts >= 0)]
