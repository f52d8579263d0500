"""A reader: where in a text an answer begins and ends, or that there is none (Devlin et al. 2019, 4.2, 4.3).

    starts, ends = model(tokens, segments, matches, begins, closes, likeness)        # (batch, length) each

    p(i begins) = softmax over i of S.T_i,   p(j ends) = softmax over j of E.T_j
    score(i, j) = S.T_i + E.T_j, i <= j;     score(no answer) = S.T_1 + E.T_1

T_i is the vector of token i, the first token is START; S and E are the rows of `output`. An answer begins with a
word's first piece and ends with a word's last one: others score -inf, so that an answer is always made of whole words.

With `exact_match` the words of the text that the question has too are marked by a vector of their own, added to what
the encoder reads (Chen et al. 2017, section 3.2): to compare words is hard to learn from some thousand questions. With
`likeness` two more vectors are added, times numbers: how rare such a word is, and how like the question the sentence is
that a word stands in. That a rare word is in both is what tells most of where an answer is, and whether there is one;
how rare a word is, too few questions do not tell.
"""

import torch
from torch import Tensor, nn

from heedful.layers import Dropout
from heedful.models.encoder import Encoder, HeadedEncoder
from heedful.text.hashing import BUCKETS


class SpanReader(HeadedEncoder):
    """An encoder that finds spans.

    dropout: on the vectors that are scored
    exact_match: whether words that the question has too are marked; for an encoder-only stack
    likeness: whether the model is told how rare these are, and how like the question each sentence; for such a stack
    """

    rarities: Tensor
    """How rare words are, by the numbers of `heedful.text.hashing`: not learnt, but told; (BUCKETS,)."""

    def __init__(
        self, encoder: Encoder, dropout: float = 0.0, exact_match: bool = False, likeness: bool = False
    ) -> None:
        super().__init__(encoder)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(encoder.width, 2)
        nn.init.normal_(self.output.weight, std=0.02)  # BERT's
        nn.init.zeros_(self.output.bias)
        self.match = nn.Parameter(torch.empty(encoder.width)) if exact_match else None
        self.likeness = nn.Parameter(torch.empty(2, encoder.width)) if likeness else None
        for told in (self.match, self.likeness):
            if told is not None:
                nn.init.normal_(told, std=encoder.width**-0.5)  # as segments begin
        if likeness:
            self.register_buffer("rarities", torch.ones(BUCKETS))

    def forward(
        self,
        tokens: Tensor,
        segments: Tensor,
        matches: Tensor,
        begins: Tensor,
        closes: Tensor,
        likeness: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score every token as the start and as the end.

        tokens (batch, length): START, the question, END, the text, END; segments (batch, length): 0, from the text on 1
        matches: bool (batch, length), tokens of the text in words that the question has too
        begins, closes: bool (batch, length), where an answer may begin and where it may end; START among both
        likeness: (batch, length, 2), for a model with likeness: how rare the token's word is, if it is in the question
            too, else 0, and how like the question its sentence is; of START the greatest of both
        """
        features = None if self.match is None else matches.unsqueeze(-1) * self.match
        if self.likeness is not None:
            if likeness is None:
                raise ValueError("A reader with likeness needs the likeness of question and text.")
            like = likeness @ self.likeness
            features = like if features is None else features + like
        scores = self.output(self.dropout(self.encoder(tokens, segments, features))).float()
        return (
            scores[..., 0].masked_fill(~begins, -torch.inf),
            scores[..., 1].masked_fill(~closes, -torch.inf),
        )


def best_spans(starts: Tensor, ends: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give the best span of each row, its first and its last place and its score, (batch,) each; START's is no span.

    starts, ends: (batch, length), -inf where no span may begin or end; longest: places of a span at most
    Where no span is possible the score is -inf.
    """
    length = starts.shape[1]
    places = torch.arange(length, device=starts.device)
    ahead = places - places.unsqueeze(1)  # [begin, end]
    possible = (ahead >= 0) & (ahead < longest)
    possible[0] = False
    # (batch, begin, end)
    scores = (starts.unsqueeze(2) + ends.unsqueeze(1)).masked_fill(~possible, -torch.inf)
    score, place = scores.flatten(1).max(1)
    return place // length, place % length, score
