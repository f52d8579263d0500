"""The lean layout of a language model gives the numbers of the model it was made of."""

import pytest
import torch
from torch import nn

from heedful import observe
from heedful.decoding import SearchSettings
from heedful.errors import HeedfulError
from heedful.inference import LeanText, library, text_refusal
from heedful.models.decoder_only import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.tasks.continuing import continuations
from heedful.tasks.engine import Engine
from tests.inference.test_lean import transformer

VOCABULARY = 203
VARIANTS = {
    "the defaults": {},
    "GPT-2": {
        "positions": "learned",
        "attention_bias": True,
        "activation": "gelu-tanh",
        "scale_embeddings": False,
        "output_bias": True,
    },
    "post-norm, GELU, untied": {"norm": "post", "activation": "gelu", "tied": "none"},
    "rotary, SwiGLU, RMSNorm, grouped": {
        "positions": "rotary",
        "activation": "swiglu",
        "norm_kind": "rms",
        "kv_heads": 2,
    },
    "relative, to both sides": {"positions": "relative", "activation": "relu"},
    "relative, to what is before": {"positions": "relative", "source_attention": "causal"},
    "one head of odd size": {"heads": 1, "d_model": 36, "d_ff": 51, "positions": "sinusoidal-concatenated"},
    "heads of 64": {"d_head": 64, "heads": 2},
    "ALiBi": {"positions": "alibi"},
    "no positions": {"positions": "none"},
}

pytestmark = pytest.mark.skipif(library.refusal() is not None, reason=str(library.refusal()))
variants = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def language_model(seed: int = 0, vocabulary: int = VOCABULARY, **changes: object) -> DecoderOnlyTransformer:
    """A small model whose norms, biases and relative positions are no ones and zeros."""
    torch.manual_seed(seed)
    settings = {"d_model": 64, "d_ff": 96, "heads": 4, "layers": 3, "maximum_length": 48}
    settings = DecoderOnlySettings.model_validate(settings | changes)
    model = DecoderOnlyTransformer(settings, vocabulary, vocabulary).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0, 0.3)
    if model.decoder.relative is not None:
        nn.init.normal_(model.decoder.relative.weight)
    return model


@torch.no_grad()
def follow(model: DecoderOnlyTransformer, lean: LeanText) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Logits of both: of a prompt, and as texts go on, some repeated, some dropped, old tokens forgotten."""
    tokens = torch.randint(4, VOCABULARY, (3, 37))
    logits, plain = model.read_text(tokens)
    other = lean.read_text(tokens)
    both = [(lean.logits(other), logits)]
    relative = model.settings.positions in ("rotary", "alibi", "relative", "none")
    rows = 3
    for step in range(90 if relative else 59):
        if step in (1, 4):
            chosen = torch.tensor([1, 0, 1, 2, 2]) if step == 1 else torch.tensor([4, 1, 3])
            plain, other, rows = plain.select(chosen), other.select(chosen), len(chosen)
        if relative and step >= 30:
            plain, other = plain.last(60), other.last(60)
        new = torch.randint(4, VOCABULARY, (rows, 2 if step == 7 else 1))
        logits, plain = model.read_text(new, plain)
        other = lean.read_text(new, other)
        if step < 12 or step % 13 == 0:
            both.append((lean.logits(other), logits))
        if not relative and other.length == 96:
            break
    return both


@variants
def test_prompts_and_steps_have_the_logits_of_the_model(variant):
    model = language_model(**variant)
    for given, expected in follow(model, LeanText(model)):
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("variant", ["GPT-2", "rotary, SwiGLU, RMSNorm, grouped"])
def test_whole_numbers_of_eight_bits_come_close(variant):
    model = language_model(**VARIANTS[variant])
    for given, expected in follow(model, LeanText(model, "int8")):
        assert (given - expected).std() < 0.08 * expected.std()


@pytest.mark.parametrize("vocabulary", [VOCABULARY, 1300])  # lean.cpp looks at 512 outputs at once
def test_the_best_are_those_of_all_logits(vocabulary):
    model = language_model(vocabulary=vocabulary)
    lean = LeanText(model)
    state = lean.read_text(torch.randint(4, VOCABULARY, (4, 9)))
    expected = lean.logits(state).log_softmax(-1)
    expected[:, [0, 1, 7]] = -torch.inf
    value, token = lean.best(state, 30, (0, 1, 7))
    likeliest = expected.topk(30)
    torch.testing.assert_close(value, likeliest.values, rtol=0, atol=1e-5)
    assert torch.equal(token, likeliest.indices)


def test_what_a_text_gets_does_not_depend_on_the_others_to_the_last_bit():
    lean = LeanText(language_model(positions="rotary"))
    tokens = torch.randint(4, VOCABULARY, (9, 21))
    together = lean.logits(lean.read_text(tokens[:, 20:], lean.read_text(tokens[:, :20])))
    for row in (0, 4, 8):
        alone = lean.read_text(tokens[row : row + 1, 20:], lean.read_text(tokens[row : row + 1, :20]))
        assert torch.equal(lean.logits(alone)[0], together[row])


def test_nothing_beyond_the_tables_is_read():
    lean = LeanText(language_model(maximum_length=4))
    with pytest.raises(ValueError, match="outside the vocabulary of 203"):
        lean.read_text(torch.tensor([[VOCABULARY]]))
    with pytest.raises(ValueError, match="no tokens to read"):
        lean.read_text(torch.zeros(1, 0, dtype=torch.long))
    state = lean.read_text(torch.full((1, 8), 5))
    with pytest.raises(ValueError, match="at most 8 tokens"):
        lean.read_text(torch.tensor([[5]]), state)
    relative = LeanText(language_model(maximum_length=4, positions="alibi"))
    state = relative.read_text(torch.full((1, 8), 5))
    with pytest.raises(ValueError, match="at most 8 tokens"):
        relative.read_text(torch.tensor([[5]]), state)
    relative.read_text(torch.tensor([[5]]), state.last(7))


def test_what_cannot_be_laid_out_is_refused_by_name():
    assert "not for Transformer" in str(text_refusal(transformer()))
    with pytest.raises(ValueError, match=r"torch\.float64, not torch\.float32"):
        LeanText(language_model().double())


RELATIVE = {"positions": "rotary", "kv_heads": 2, "activation": "swiglu"}


@pytest.mark.parametrize("variant", [VARIANTS["GPT-2"], RELATIVE], ids=["absolute", "relative"])
@pytest.mark.parametrize(
    "choices",
    [
        {"top_k": 1},
        {"top_k": 20, "temperature": 0.8},
        {"top_k": 50, "top_p": 0.8, "minimum_length": 9},
        {"top_p": 0.9},
        {},
        {"top_k": 20, "no_repeat_ngram": 2, "repetition_penalty": 1.2},
    ],
    ids=str,
)
def test_the_same_texts_are_written_from_the_same_seeds(variant, choices):
    """Beyond the window as well: 16 tokens are seen, 40 written."""
    model = language_model(1, **variant)
    with torch.no_grad():
        model.output.weight *= 2
    settings = SearchSettings(method="sample", seed=3, n_best=3, **choices)
    plain, lean = (
        continuations(each, [1, 7, 9], settings, 40, 16, range(3)) for each in (model, LeanText(model))
    )
    for given, expected in zip(lean, plain, strict=True):
        assert given.tokens == expected.tokens
        assert given.log_probabilities == pytest.approx(expected.log_probabilities, abs=1e-4)


@pytest.mark.parametrize("choices", [{"top_k": 5}, {}])
def test_a_model_that_gives_no_finite_numbers_is_told_of(choices):
    model = language_model()
    with torch.no_grad():
        dict(model.named_parameters())["decoder.layers.1.feed_forward.inner.weight"][3, 5] = torch.nan
    with pytest.raises(HeedfulError, match="not finite"):
        continuations(LeanText(model), [1], SearchSettings(method="sample", **choices), 4, 16)


def test_the_engine_takes_the_lean_layout_where_it_pays():
    model = language_model()
    assert isinstance(Engine().of_texts(model), LeanText)
    assert Engine("plain").of_texts(model) is model
    assert isinstance(Engine("auto", "int8").of_texts(model), LeanText)
    with observe(model):
        assert Engine().of_texts(model) is model
        with pytest.raises(HeedfulError, match="the attention is being observed"):
            Engine("lean").of_texts(model)
