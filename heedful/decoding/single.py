"""Greedy search and sampling: every hypothesis goes its own way, one token at a time."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from heedful.decoding.constraints import Constraints
from heedful.decoding.hypothesis import Hypothesis, hypotheses
from heedful.decoding.penalties import coverage_penalty, length_penalty
from heedful.decoding.sampling import draw, truncate, uniforms
from heedful.decoding.settings import SearchSettings
from heedful.models.face import SequenceToSequence, State
from heedful.text.special import END, PAD, START


def single_search(
    model: SequenceToSequence,
    source: Tensor,
    settings: SearchSettings,
    constraints: Constraints,
    limits: Tensor,
    attention: Callable[[], Tensor] | None,
    numbers: Sequence[int],
) -> list[list[Hypothesis]]:
    """Give n_best hypotheses for each row of `source` (batch, source_length), in no particular order.

    Greedy search takes the most probable token (among equals the lowest id), sampling draws one. `limits`
    (batch,) are the longest lengths; a hypothesis that reaches it without END is unfinished. `numbers` are
    those of the sentences.
    """
    samples = settings.n_best
    found: list[list[Hypothesis]] = [[] for _ in source]
    state: State = model.start(model.encode(source))
    # One row for each hypothesis that has not ended, in all tensors below:
    sentences = torch.arange(len(source), device=source.device).repeat_interleave(samples)
    if samples > 1:
        state = state.select(sentences)
    uniform = torch.empty(len(sentences), int(limits.max()), device=source.device)
    if settings.method == "sample":
        uniform = uniforms(settings.seed, numbers, samples, uniform.shape[1]).to(uniform)
    tokens = torch.full((len(sentences), 1), START, device=source.device)
    terms = torch.zeros(len(sentences), 0, device=source.device)
    total = torch.zeros(len(sentences), device=source.device)
    coverage = torch.zeros(len(sentences), source.shape[1], device=source.device)

    while len(sentences):
        length = tokens.shape[1]
        logits, state = model.step(tokens[:, -1], state)
        own, allowed = constraints(logits, tokens[:, 1:], sentences)
        if attention is not None:
            coverage = coverage + attention()
        if settings.method == "sample":
            probabilities, ids = truncate(allowed, settings.temperature, settings.top_k, settings.top_p)
            said = ids.gather(1, draw(probabilities, uniform[:, length - 1]).unsqueeze(1))
        else:
            said = allowed.argmax(1, keepdim=True)
        total = total + allowed.gather(1, said).squeeze(1)
        terms = torch.cat([terms, own.gather(1, said)], 1)
        tokens = torch.cat([tokens, said], 1)

        ended = said.squeeze(1) == END
        leaving = ended | (limits[sentences] == length)
        if not bool(leaving.any()):
            continue
        out = leaving.nonzero().squeeze(1)
        score = total[out] / length_penalty(total.new_tensor(length), settings.length_penalty, settings.alpha)
        if attention is not None:
            mask = (source != PAD)[sentences[out]]
            score = score + coverage_penalty(coverage[out], mask, settings.coverage_penalty)
        new = hypotheses(tokens[out], terms[out], score, ended[out].tolist())
        for sentence, hypothesis in zip(sentences[out].tolist(), new, strict=True):
            found[sentence].append(hypothesis)

        going = (~leaving).nonzero().squeeze(1)
        sentences, uniform = sentences[going], uniform[going]
        tokens, terms, total, coverage = tokens[going], terms[going], total[going], coverage[going]
        if len(going):
            state = state.select(going)
    return found
