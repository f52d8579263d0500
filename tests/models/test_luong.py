"""Luong's models: the paper's equations written out, PyTorch's LSTM with the same weights, the encoder's order."""

import math

import pytest
import torch
from torch import nn

from heedful.attention import observe
from heedful.models import Luong, LuongSettings
from tests.models.variants import LUONG, SOURCE, TARGET, read_settings, small


def _score(model, h, memory, position):
    score = model.attention.score
    match model.settings.score:
        case "dot":
            return h @ memory
        case "general":
            return h @ score.weight @ memory
        case "concat":
            return score.v @ torch.tanh(score.weight @ torch.cat((h, memory)))
        case "location":
            return score.weight[position] @ h


def _align(model, h, memories, t):
    """a_t(s) of all s, by section 3.2."""
    settings, length = model.settings, len(memories)
    p, places = None, range(length)
    if settings.attention == "local-m":
        p = t
    elif settings.attention == "local-p":
        p = length * torch.sigmoid(model.predict.v @ torch.tanh(model.predict.weight @ h))
    if p is not None:
        places = [s for s in places if abs(s - p) <= settings.window]
    weights = torch.zeros(length, dtype=torch.double)
    if places:
        scores = torch.stack([_score(model, h, memories[s], s) for s in places])
        weights[places] = scores.softmax(0)
    if settings.attention == "local-p":
        sigma = settings.window / 2
        for s in range(length):
            weights[s] *= torch.exp(-((s - p) ** 2) / (2 * sigma**2))
    return weights


def _lstm(cell, x, h, c):
    i, f, g, o = (cell.input(x) + cell.recurrent @ h).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@pytest.mark.parametrize("feeding", [True, False])
@pytest.mark.parametrize("score", ["dot", "general", "concat", "location"])
@pytest.mark.parametrize("attention", ["global", "local-m", "local-p"])
@torch.no_grad()
def test_the_decoder_is_what_the_paper_says(attention, score, feeding):
    settings = LuongSettings(**LUONG, attention=attention, score=score, input_feeding=feeding, dropout=0.0)
    model = Luong(settings, 11, 11).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    with observe(model) as seen:
        logits = model(SOURCE, TARGET)
    found = seen.joined("attention").weights()
    row, length = 2, 4
    memory = model.encode(SOURCE[row : row + 1, :length])
    states = [(h[0], c[0]) for h, c in memory.final]
    fed = torch.zeros(8, dtype=torch.double)
    for t, y in enumerate(model.target_words(TARGET[row])):
        first = model.decoder[0]
        h, c = states[0]
        entered = first.input(y) + (model.feed(fed) if feeding else 0)
        i, f, g, o = (entered + first.recurrent @ h).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        states[0] = torch.sigmoid(o) * torch.tanh(c), c
        states[1] = _lstm(model.decoder[1], states[0][0], *states[1])
        h = states[1][0]
        weights = _align(model, h, memory.states[0], t)
        fed = torch.tanh(model.combine(torch.cat((weights @ memory.states[0], h))))
        torch.testing.assert_close(found[row, 0, t, :length], weights, rtol=0, atol=1e-12)
        torch.testing.assert_close(logits[row, t], model.output(fed), rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_source_is_read_from_its_end_and_its_states_stand_in_its_order():
    model = small("luong: no attention")
    theirs = nn.LSTM(8, 8, 2).double()
    for number, (cell,) in enumerate(model.encoder):
        for name, value in (
            ("weight_ih", cell.input.weight),
            ("weight_hh", cell.recurrent),
            ("bias_ih", cell.input.bias),
            ("bias_hh", torch.zeros(32)),
        ):
            getattr(theirs, f"{name}_l{number}").copy_(value)
    memory = model.encode(SOURCE)
    for row, length in enumerate((SOURCE != 0).sum(1).tolist()):
        top, (h, c) = theirs(model.source_words(SOURCE[row, :length].flip(0)))
        torch.testing.assert_close(memory.states[row, :length], top.flip(0), rtol=0, atol=1e-12)
        for layer, (our_h, our_c) in enumerate(memory.final):
            torch.testing.assert_close(our_h[row], h[layer], rtol=0, atol=1e-12)
            torch.testing.assert_close(our_c[row], c[layer], rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_bidirectional_encoder_is_pytorch_s():
    model = small("luong: bidirectional")
    theirs = nn.LSTM(8, 4, 2, bidirectional=True).double()
    for number, cells in enumerate(model.encoder):
        for cell, end in zip(cells, ("", "_reverse"), strict=True):
            getattr(theirs, f"weight_ih_l{number}{end}").copy_(cell.input.weight)
            getattr(theirs, f"weight_hh_l{number}{end}").copy_(cell.recurrent)
            getattr(theirs, f"bias_ih_l{number}{end}").copy_(cell.input.bias)
            getattr(theirs, f"bias_hh_l{number}{end}").zero_()
    memory = model.encode(SOURCE)
    for row, length in enumerate((SOURCE != 0).sum(1).tolist()):
        top, (h, _) = theirs(model.source_words(SOURCE[row, :length]))
        torch.testing.assert_close(memory.states[row, :length], top, rtol=0, atol=1e-12)
        torch.testing.assert_close(memory.final[1][0][row], h[2:].flatten(), rtol=0, atol=1e-12)


def test_without_feeding_all_steps_attend_at_once():
    for variant, calls in (("luong: global, general, unfed", 1), ("luong: global, dot, fed", 4)):
        model = small(variant)
        with torch.no_grad(), observe(model) as seen:
            model(SOURCE, TARGET)
        assert len(seen.calls("attention")) == calls


def test_the_paper_s_model_has_the_parameters_of_its_matrices():
    with torch.device("meta"):
        model = Luong(LuongSettings(), 50_000, 50_000)
    n, words = 1000, 50_000
    lstm = 4 * n * (2 * n + 1)
    attention = n * n + (n * n + n) + 2 * n * n
    expected = 2 * words * n + 8 * lstm + 4 * n * n + attention + words * n
    assert sum(p.numel() for p in model.parameters()) == expected == 222_033_000


@torch.no_grad()
def test_it_begins_as_the_paper_does():
    torch.manual_seed(0)
    model = Luong(LuongSettings(d_embedding=30, d_hidden=30, layers=1), 50, 50)
    for name, parameter in model.named_parameters():
        assert float(parameter.abs().max()) <= 0.1, name
        spread = 0.1 / math.sqrt(3)
        assert float(parameter.square().mean().sqrt()) == pytest.approx(spread, rel=0.4), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tied": "target", "d_embedding": 8}, r"d_hidden \(1000\) must be d_embedding \(8\)"),
        ({"encoder": "bidirectional", "d_hidden": 7}, "even d_hidden, got 7"),
        ({"attention": "local"}, "'global', 'local-m', 'local-p' or 'none'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        read_settings({"architecture": "luong", **settings})
    with pytest.raises(ValueError, match="one vocabulary, got 5 source and 7 target tokens"):
        Luong(LuongSettings(tied="all"), 5, 7)
