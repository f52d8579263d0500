"""The lean layout gives the numbers of the model it was made of."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from heedful.decoding import SearchSettings, search
from heedful.errors import HeedfulError
from heedful.inference import LeanTransformer, library, refusal
from heedful.models import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.models.transformer import Transformer, TransformerSettings
from heedful.text.special import END, PAD, START, UNKNOWN
from tests.decoding.small_models import sources

VOCABULARY = 203
VARIANTS = {
    "the paper's": {},
    "pre-norm": {"norm": "pre"},
    "learned positions, biases, GELU": {"positions": "learned", "attention_bias": True, "activation": "gelu"},
    "rotary, SwiGLU, RMSNorm, grouped": {
        "positions": "rotary",
        "activation": "swiglu",
        "norm_kind": "rms",
        "norm": "pre",
        "kv_heads": 2,
    },
    "relative, nothing tied": {"positions": "relative", "tied": "none"},
    "concatenated sinusoids, one head of odd size": {
        "positions": "sinusoidal-concatenated",
        "heads": 1,
        "d_model": 36,
        "d_ff": 51,
        "tied": "target",
    },
    "heads of 64": {"d_head": 64, "heads": 2},
    "ALiBi": {"positions": "alibi"},
    "no positions": {"positions": "none"},
}

pytestmark = pytest.mark.skipif(library.refusal() is not None, reason=str(library.refusal()))
variants = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def transformer(seed: int = 0, **changes: object) -> Transformer:
    """A small Transformer whose norms, biases and relative positions are no ones and zeros."""
    torch.manual_seed(seed)
    settings = {
        "d_model": 64,
        "d_ff": 96,
        "heads": 4,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "maximum_length": 48,
    }
    model = Transformer(TransformerSettings.model_validate(settings | changes), VOCABULARY, VOCABULARY).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1.0, 0.3)
    for stack in (model.encoder, model.decoder):
        if stack.relative is not None:
            nn.init.normal_(stack.relative.weight)
    return model


def follow(model: Transformer, lean: LeanTransformer, steps: int = 10) -> list[tuple[Tensor, Tensor]]:
    """Logits of both, step by step, of hypotheses that are repeated, reordered and dropped on the way."""
    random = torch.Generator().manual_seed(1)
    source = sources(5, VOCABULARY, longest=19)
    both: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        plain, other = model.start(model.encode(source)), lean.start(lean.encode(source))
        rows = 5
        for step in range(steps):
            tokens = torch.randint(4, VOCABULARY, (rows,), generator=random)
            expected, plain = model.step(tokens, plain)
            given, other = lean.step(tokens, other)
            both.append((given, expected))
            if step in (1, 4, 6):
                chosen = torch.randint(0, rows, (9 - step,), generator=random)
                plain, other, rows = plain.select(chosen), other.select(chosen), len(chosen)
    return both


@variants
def test_every_step_has_the_logits_of_the_model(variant):
    model = transformer(**variant)
    for given, expected in follow(model, LeanTransformer(model)):
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=2e-5)


@variants
def test_whole_numbers_of_eight_bits_come_close(variant):
    model = transformer(**variant)
    for given, expected in follow(model, LeanTransformer(model, "int8")):
        assert (given - expected).std() < 0.06 * expected.std()


@pytest.mark.parametrize(
    "settings", [{"beam": 1}, {"beam": 4, "n_best": 4}, {"beam": 3, "minimum_length": 9}]
)
@pytest.mark.parametrize("seed", range(4))
def test_a_search_gives_the_same_hypotheses(settings, seed):
    model = transformer(seed, norm="pre")
    with torch.no_grad():
        model.output.weight *= 3
    batch, chosen = sources(6, VOCABULARY, longest=15, seed=seed), SearchSettings.model_validate(settings)
    for given, expected in zip(
        search(LeanTransformer(model), batch, chosen), search(model, batch, chosen), strict=True
    ):
        assert [(each.tokens, each.finished) for each in given] == [
            (each.tokens, each.finished) for each in expected
        ]
        for one, other in zip(given, expected, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.token_log_probabilities == pytest.approx(other.token_log_probabilities, abs=1e-4)


@pytest.mark.parametrize(
    "constraint",
    [{"no_repeat_ngram": 2}, {"repetition_penalty": 1.3}, {"method": "sample", "top_k": 8}],
    ids=str,
)
def test_constraints_that_need_all_logits_hold_as_well(constraint):
    model, batch = transformer(), sources(4, VOCABULARY, longest=9)
    settings = SearchSettings.model_validate({"maximum_length_add": 9, **constraint})
    prefixes = [[], [7, 8], [9], []]
    plain = search(model, batch, settings, prefixes=prefixes)
    lean = search(LeanTransformer(model), batch, settings, prefixes=prefixes)
    assert [[each.tokens for each in row] for row in lean] == [[each.tokens for each in row] for row in plain]


def test_of_equal_logits_the_lower_tokens_come_first_and_banned_ones_never():
    model = transformer()
    with torch.no_grad():
        model.output.weight.zero_()
    lean = LeanTransformer(model)
    state = lean.start(lean.encode(sources(3, VOCABULARY)))
    choices, _ = lean.best(torch.full((3,), START), state, 6, (0, 1, 4, 6))
    assert choices.token.tolist() == [[2, 3, 5, 7, 8, 9]] * 3
    assert choices.value == pytest.approx(-torch.tensor(VOCABULARY).log().item(), abs=1e-5)


def test_where_too_few_can_be_chosen_nothing_fills_the_rest():
    lean = LeanTransformer(transformer())
    state = lean.start(lean.encode(sources(2, VOCABULARY)))
    choices, _ = lean.best(torch.full((2,), START), state, 5, range(3, VOCABULARY))
    assert (choices.value[:, :3] > -torch.inf).all()
    assert (choices.value[:, 3:] == -torch.inf).all()


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_among_few_tokens_the_probabilities_are_those_among_them(precision, beam):
    model, batch = transformer(), sources(4, VOCABULARY, longest=9)
    among = [torch.tensor([END, UNKNOWN, *range(20 + row, 120, 3 + row)]) for row in range(4)]
    settings = SearchSettings(beam=beam, n_best=beam, maximum_length_add=9, minimum_length=4)
    with torch.no_grad():
        model.output.weight *= 3
    plain = search(model, batch, settings, among=among)
    found = search(LeanTransformer(model, precision), batch, settings, among=among)
    for tokens, given, expected in zip(among, found, plain, strict=True):
        assert set(given[0].tokens) <= set(tokens.tolist())
        if precision == "float32":
            assert [each.tokens for each in given] == [each.tokens for each in expected]
        assert given[0].log_probability == pytest.approx(
            expected[0].log_probability, abs=1e-4 if precision == "float32" else 0.5
        )


@pytest.mark.parametrize("beam", [1, 3])
def test_a_sentence_with_nothing_but_an_end_to_say_ends_before_its_minimum_length(beam):
    lean, batch = LeanTransformer(transformer()), sources(2, VOCABULARY, longest=9)
    short, few = torch.tensor([END, UNKNOWN]), torch.tensor([END, UNKNOWN, 30, 40])
    settings = SearchSettings(beam=beam, minimum_length=4, maximum_length_add=9)
    (one,), (other,) = search(lean, batch, settings, among=[short, few])
    assert (one.tokens, one.finished) == ((), True)
    assert len(other.token_log_probabilities) >= 4
    silent = settings.model_copy(update={"banned_tokens": tuple(range(4, VOCABULARY))})
    for (answer,) in search(lean, batch, silent):
        assert (answer.tokens, answer.finished) == ((), True)


def test_what_a_sentence_gets_does_not_depend_on_its_neighbours_to_the_last_bit():
    lean, batch = LeanTransformer(transformer(norm="pre")), sources(40, VOCABULARY, longest=15)
    for settings in (SearchSettings(beam=4, n_best=2), SearchSettings(beam=1)):
        whole = search(lean, batch, settings)
        for row in range(0, 40, 7):
            length = int((batch[row] != PAD).sum())
            assert search(lean, batch[row : row + 1, :length], settings) == whole[row : row + 1]


def test_threads_share_one_model():
    lean = LeanTransformer(transformer())
    batches = [sources(9, VOCABULARY, longest=12, seed=seed) for seed in range(8)]
    alone = [search(lean, batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda batch: search(lean, batch), batches)) == alone


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("beam", [1, 4])
def test_a_model_that_gives_no_finite_numbers_is_told_of(damage, precision, beam):
    model = transformer()
    with torch.no_grad():
        dict(model.named_parameters())["decoder.layers.1.feed_forward.inner.weight"][3, 5] = damage
    with pytest.raises(HeedfulError, match="not finite"):
        search(LeanTransformer(model, precision), sources(2, VOCABULARY), SearchSettings(beam=beam))


def test_nothing_beyond_the_tables_is_read():
    lean = LeanTransformer(transformer(maximum_length=4))
    with pytest.raises(ValueError, match="outside the vocabulary of 203"):
        lean.encode(torch.tensor([[VOCABULARY, END]]))
    with pytest.raises(ValueError, match="reads at most 4 tokens"):
        lean.encode(torch.full((1, 5), 5))
    state = lean.start(lean.encode(torch.tensor([[5, END]])))
    with pytest.raises(ValueError, match="outside the vocabulary of 203"):
        lean.step(torch.tensor([-1]), state)
    for _ in range(4):
        _, state = lean.step(torch.tensor([START]), state)
    with pytest.raises(ValueError, match="at most 4 tokens"):
        lean.step(torch.tensor([START]), state)


@torch.no_grad()
def test_a_sentence_without_tokens_and_ids_of_32_bits_are_read_as_the_model_reads_them():
    model = transformer()
    source = torch.tensor([[PAD, PAD], [5, END]], dtype=torch.int32)
    lean, tokens = LeanTransformer(model), torch.full((2,), START, dtype=torch.int32)
    expected, _ = model.step(tokens, model.start(model.encode(source)))
    given, _ = lean.step(tokens, lean.start(lean.encode(source)))
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=2e-5)


def test_what_cannot_be_laid_out_is_refused_by_name(monkeypatch):
    settings = DecoderOnlySettings(d_model=16, d_ff=32, heads=2, layers=1)
    assert "not for DecoderOnlyTransformer" in str(refusal(DecoderOnlyTransformer(settings, 20, 20)))
    with pytest.raises(ValueError, match=r"torch\.float64, not torch\.float32"):
        LeanTransformer(transformer().double())
    monkeypatch.setenv("HEEDFUL_COMPILE", "0")
    with pytest.raises(ValueError, match="HEEDFUL_COMPILE is 0"):
        LeanTransformer(transformer())
