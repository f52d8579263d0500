"""The definition that every search is tested against: all answers there are, each with its score."""

import itertools

import torch
from torch import Tensor

from heedful.decoding import Hypothesis, SearchSettings
from heedful.models.face import SequenceToSequence
from heedful.text.special import END, START


def lp(length: int, settings: SearchSettings) -> float:
    if settings.length_penalty == "gnmt":
        return ((5 + length) / 6) ** settings.alpha
    return length**settings.alpha if settings.length_penalty == "average" else 1.0


@torch.no_grad()
def every_answer(
    model: SequenceToSequence, source: Tensor, words: list[int], longest: int, settings: SearchSettings
) -> list[Hypothesis]:
    """All finished answers of at most `longest` tokens with END to one source (source_length,), best first."""
    answers: list[Hypothesis] = []
    for length in range(longest):
        sentences = list(itertools.product(words, repeat=length))
        inputs = torch.tensor([(START, *sentence) for sentence in sentences])
        outputs = torch.tensor([(*sentence, END) for sentence in sentences])
        logits = model(source.expand(len(sentences), -1), inputs)
        terms = logits.log_softmax(-1).gather(2, outputs.unsqueeze(2)).squeeze(2)
        for sentence, row in zip(sentences, terms.tolist(), strict=True):
            total = sum(row)
            answers.append(Hypothesis(sentence, total, total / lp(length + 1, settings), tuple(row), True))
    return sorted(answers, key=lambda answer: -answer.score)


def plain_beam(
    model: SequenceToSequence, source: Tensor, words: list[int], longest: int, settings: SearchSettings
) -> list[Hypothesis]:
    """Beam search of one source (source_length,) in plain loops, without any early stop; finished answers only."""
    finished: list[Hypothesis] = []
    live: list[tuple[tuple[int, ...], tuple[float, ...]]] = [((), ())]
    for length in range(1, longest + 1):
        continued: list[tuple[tuple[int, ...], tuple[float, ...]]] = []
        for tokens, terms in live:
            row = following(model, source, tokens)
            continued += [((*tokens, token), (*terms, row[token])) for token in sorted([END, *words])]
        continued = sorted(continued, key=lambda each: -sum(each[1]))[: 2 * settings.beam]
        for rank, (tokens, terms) in enumerate(continued):
            if tokens[-1] == END and (rank < settings.beam or length == longest):
                finished.append(
                    Hypothesis(tokens[:-1], sum(terms), sum(terms) / lp(length, settings), terms, True)
                )
        live = [each for each in continued if each[0][-1] != END][: settings.beam]
        if settings.stopping == "count" and len(finished) >= settings.beam:
            break
    return sorted(finished, key=lambda answer: -answer.score)


@torch.no_grad()
def following(model: SequenceToSequence, source: Tensor, tokens: tuple[int, ...]) -> list[float]:
    """Log-probabilities of each token after `tokens`."""
    logits = model(source.unsqueeze(0), torch.tensor([[START, *tokens]]))
    return logits[0, -1].log_softmax(-1).tolist()
