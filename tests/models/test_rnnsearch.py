"""RNNsearch: the paper's equations written out, its parameters and its first weights."""

import math

import pytest
import torch
from torch import nn

from heedful.attention import observe
from heedful.models import RNNsearch, RNNsearchSettings
from tests.models.variants import RNNSEARCH, SOURCE, TARGET, read_settings, small


def _gru(cell, x, h, *context):
    """Appendix A.1.1 and A.2.2: the printed GRU; `context` is what c_i adds to the three blocks."""
    entered = cell.input(x) + sum(context)
    u_z, u_r, u = cell.recurrent.chunk(3)
    into_z, into_r, into = entered.chunk(3, -1)
    z, r = torch.sigmoid(into_z + h @ u_z.t()), torch.sigmoid(into_r + h @ u_r.t())
    return (1 - z) * h + z * torch.tanh(into + (r * h) @ u.t())


def _written_out(model, source, target, after=False):
    """The logits of one sentence without padding, word by word."""
    words, n = model.source_words.table(source), model.settings.d_hidden
    forwards, backwards = [], []
    h = torch.zeros(n, dtype=torch.double)
    for x in words:
        h = _gru(model.forwards, x, h)
        forwards.append(h)
    h = torch.zeros(n, dtype=torch.double)
    for x in reversed(words):
        h = _gru(model.backwards, x, h)
        backwards.insert(0, h)
    annotations = [torch.cat(pair) for pair in zip(forwards, backwards, strict=True)]
    score = model.attention.score
    s = torch.tanh(model.begin(backwards[0]))
    logits, weights = [], []
    for y in model.target_words.table(target):
        e = [
            score.v @ torch.tanh(score.query_weight @ s + score.key_weight @ h + score.bias)
            for h in annotations
        ]
        alpha = torch.stack(e).softmax(0)
        c = sum(a * h for a, h in zip(alpha, annotations, strict=True))
        before, s = s, _gru(model.cell, y, s, model.context(c))
        t = model.readout(torch.cat((s if after else before, y, c)))
        logits.append(model.output(torch.stack([max(t[k], t[k + 1]) for k in range(0, len(t), 2)])))
        weights.append(alpha)
    return torch.stack(logits), torch.stack(weights)


@pytest.mark.parametrize("readout_state", ["before", "after"])
@torch.no_grad()
def test_it_is_what_the_paper_says(readout_state):
    settings = RNNsearchSettings(**RNNSEARCH, readout_state=readout_state)
    model = RNNsearch(settings, 11, 11).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    with observe(model) as seen:
        logits = model(SOURCE, TARGET)
    record = seen.joined("attention")
    assert record.shape == (3, 1, 4, 5)
    for row, length in enumerate((SOURCE != 0).sum(1).tolist()):
        expected, weights = _written_out(model, SOURCE[row, :length], TARGET[row], readout_state == "after")
        torch.testing.assert_close(logits[row], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(record.weights()[row, 0, :, :length], weights, rtol=0, atol=1e-12)


@torch.no_grad()
def test_without_attention_the_last_state_is_all_that_is_known():
    model = small("rnnsearch: no attention")
    (states,) = model.forwards(model.source_words(SOURCE.t()))
    c = torch.stack([states[4, 0], states[1, 1], states[3, 2]])
    s = torch.tanh(model.begin(c))
    for y in TARGET.t():
        x = model.target_words(y)
        before, s = s, _gru(model.cell, x, s, model.context(c))
        made = model.readout(torch.cat((before, x, c), 1))
    last = model.output(made.unflatten(1, (-1, 2)).amax(2))
    torch.testing.assert_close(model(SOURCE, TARGET)[:, -1], last, rtol=0, atol=1e-12)
    assert model.source_attention() == []
    assert small("rnnsearch: the paper's").source_attention() == ["attention"]


def test_the_paper_s_model_has_the_parameters_of_its_matrices():
    with torch.device("meta"):
        model = RNNsearch(RNNsearchSettings(), 30_000, 30_000)
    n, m, words, units, maxout = 1000, 620, 30_000, 1000, 500
    gru = 3 * (n * m + n * n + n)
    encoder = words * m + 2 * gru
    attention = units * n + units * 2 * n + 2 * units
    decoder = words * m + gru + 3 * n * 2 * n + n * n + n
    readout = 2 * maxout * (n + m + 2 * n + 1) + words * maxout + words
    assert sum(p.numel() for p in model.parameters()) == encoder + attention + decoder + readout == 80_443_000


@torch.no_grad()
def test_it_begins_as_the_paper_does():
    torch.manual_seed(0)
    model = RNNsearch(RNNsearchSettings(d_embedding=90, d_hidden=80, d_attention=70, d_readout=60), 500, 500)
    for cell in (model.forwards, model.backwards, model.cell):
        for u in cell.recurrent.chunk(3):
            torch.testing.assert_close(u @ u.t(), torch.eye(80), rtol=0, atol=1e-5)
    score = model.attention.score
    for weight, std in (
        (score.query_weight, 0.001),
        (score.key_weight, 0.001),
        (model.context.weight, 0.01),
        (model.forwards.input.weight, 0.01),
        (model.source_words.table.weight, 0.01),
        (model.output.weight, 0.01),
    ):
        # The deviation of n numbers is known to about 1 / sqrt(2 n).
        assert float(weight.std()) == pytest.approx(std, rel=5 / math.sqrt(2 * weight.numel()))
    for zero in (score.v, score.bias, model.cell.input.bias, model.begin.bias, model.output.bias):
        assert not zero.any()


def test_it_learns_with_a_context_for_each_word():
    """Copying three symbols: after some steps the model knows, and looks where it should."""
    torch.manual_seed(0)
    settings = RNNsearchSettings(
        d_embedding=16, d_hidden=16, d_attention=16, d_readout=16, cell="gru-reset-after", start="glorot"
    )
    model = RNNsearch(settings, 10, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(120):
        source = torch.cat((torch.randint(4, 10, (32, 3)), torch.full((32, 1), 2)), 1)
        target = torch.cat((torch.full((32, 1), 1), source[:, :-1]), 1)
        loss = nn.functional.cross_entropy(model(source, target).flatten(0, 1), source.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tied": "target"}, r"d_readout \(500\) must be d_embedding \(620\)"),
        ({"attention": "none", "decoder": "conditional"}, "second cell for attention"),
        ({"cell": "rnn"}, "'gru', 'gru-reset-after' or 'lstm'"),
        ({"d_model": 512}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        read_settings({"architecture": "rnnsearch", **settings})
    with pytest.raises(ValueError, match="one vocabulary, got 5 source and 7 target tokens"):
        RNNsearch(RNNsearchSettings(d_readout=620, tied="all"), 5, 7)
