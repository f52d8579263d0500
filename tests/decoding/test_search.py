"""What holds for every kind of search: the face, the batch, the settings."""

import pytest
import torch
from pydantic import ValidationError

from heedful.decoding import Hypothesis, SearchSettings, search
from heedful.errors import DataError
from heedful.models.face import SequenceToSequence
from heedful.models.transformer import Transformer, TransformerSettings
from heedful.text.special import END, START
from tests.decoding.small_models import Recurrent, Table, sources


def transformer() -> SequenceToSequence:
    settings = TransformerSettings(d_model=16, d_ff=32, heads=2, encoder_layers=1, decoder_layers=2)
    model = Transformer(settings, 20, 20).double().eval()
    with torch.no_grad():
        model.output.weight *= 1.5
    return model


MODELS = {
    "table": lambda: Table(20, maximum_length=40),
    "recurrent": lambda: Recurrent(20),
    "transformer": transformer,
}
METHODS = {
    "greedy": {"beam": 1},
    "beam": {"beam": 4, "n_best": 3},
    "sample": {"method": "sample", "n_best": 3},
    "constrained": {"beam": 3, "no_repeat_ngram": 2, "repetition_penalty": 1.2, "minimum_length": 3},
}
models = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@models
def test_steps_equal_forward(build):
    model, source = build(), sources(3, 20)
    target = torch.randint(3, 20, (3, 7))
    target[:, 0] = START
    with torch.no_grad():
        at_once = model(source, target)
        state = model.start(model.encode(source))
        for position in range(7):
            logits, state = model.step(target[:, position], state)
            torch.testing.assert_close(logits, at_once[:, position], rtol=0, atol=1e-10)


def assert_same_answers(given: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [(each.tokens, each.finished) for each in given] == [
        (each.tokens, each.finished) for each in expected
    ]
    assert [each.score for each in given] == pytest.approx([each.score for each in expected], rel=1e-10)


@models
@methods
def test_neither_neighbours_nor_order_matter(build, method):
    model, batch = build(), sources(7, 20)
    settings = SearchSettings.model_validate({**method, "maximum_length_add": 15})
    prefixes = [[], [5], [], [6, 7], [], [], [8, 8, 8]]
    whole = search(model, batch, settings, prefixes=prefixes)
    order = [3, 6, 0, 1, 5, 2, 4]
    turned = search(model, batch[order], settings, prefixes=[prefixes[row] for row in order], numbers=order)
    for row, answers in zip(order, turned, strict=True):
        assert_same_answers(answers, whole[row])
    for row in range(7):
        length = int((batch[row] != 0).sum())
        alone = batch[row : row + 1, :length]  # without padding
        (answers,) = search(model, alone, settings, prefixes=prefixes[row : row + 1], numbers=[row])
        assert_same_answers(answers, whole[row])


@pytest.mark.parametrize("seed", range(5))
def test_greedy_search_takes_the_most_probable_token_each_time(seed):
    model, batch = Recurrent(12, seed=seed), sources(4, 12, seed=seed)
    for source, (answer,) in zip(batch, search(model, batch, SearchSettings(beam=1)), strict=True):
        said = [START]
        while said[-1] != END and len(said) <= min(int((source != 0).sum()) + 50, 60):
            logits = model(source.unsqueeze(0), torch.tensor([said]))[0, -1]
            logits[[0, 1, 3]] = -torch.inf
            said.append(int(logits.argmax()))
        assert list(answer.tokens) == [token for token in said[1:] if token != END]
        assert answer.finished == (said[-1] == END)


def test_nothing_of_the_search_remembers_gradients_or_changes_the_model():
    model, batch = Recurrent(12), sources(3, 12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    search(model, batch)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_half_precision_logits_are_searched_in_float32():
    model, batch = Table(9, maximum_length=8), sources(3, 9)
    exact = search(model, batch, SearchSettings(n_best=2))
    rounded = search(model.to(torch.bfloat16), batch, SearchSettings(n_best=2))
    for one, other in zip(exact, rounded, strict=True):
        assert one[0].log_probability == pytest.approx(other[0].log_probability, abs=0.1)
        # Sums of bfloat16 numbers would be bfloat16 numbers, with 8 bits.
        assert torch.tensor(other[0].log_probability).bfloat16().item() != other[0].log_probability


def test_no_sentences_have_no_answers():
    assert search(Table(6), torch.zeros(0, 4, dtype=torch.long)) == []


def test_lengths_beyond_the_model_are_refused_by_name():
    model = Table(6, maximum_length=4)
    source = torch.tensor([[4, 2, 0, 0, 0], [4, 4, 4, 4, 2]])
    with pytest.raises(DataError, match=r"row 1 of the batch: the source has 5 tokens .* at most 4"):
        search(model, source)
    with pytest.raises(DataError, match="row 0 of the batch: the prefix has 4 tokens"):
        search(model, source[:1], prefixes=[[4, 4, 4, 4]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": torch.zeros(3, dtype=torch.long)}, "must be a LongTensor"),
        ({"source": torch.zeros(3, 2)}, "must be a LongTensor"),
        ({"prefixes": [[4]]}, "1 prefixes were given for 2 sentences"),
        ({"numbers": [1, 2, 3]}, "3 numbers were given for 2 sentences"),
        ({"among": [torch.tensor([END, 4])]}, "1 lists of tokens were given for 2 sentences"),
        ({"prefixes": [[], [4, END]]}, r"prefix 1, \(4, 2\), must not contain"),
    ],
)
def test_calls_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        search(Table(6), **{"source": sources(2, 6), **arguments})


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        search(Table(6).train(), sources(2, 6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam": 2, "n_best": 3}, "n_best=3 answers cannot come from beam=2"),
        ({"top_k": 5}, "are for sampling"),
        ({"top_p": 0.9}, "are for sampling"),
        ({"temperature": 0.7}, "are for sampling"),
        ({"maximum_length_factor": 0, "maximum_length_add": 0}, "no room for an answer"),
        ({"banned_tokens": [END]}, "use minimum_length"),
        ({"banned_tokens": [-1]}, "not negative"),
        ({"banned_sequences": [[]]}, "banned_sequences"),
        ({"banned_sequences": [[END]]}, "banned_sequences"),
        ({"banned_sequences": [[4, -1]]}, "banned_sequences"),
        ({"method": "beam_search"}, "'beam' or 'sample'"),
        ({"beams": 4}, "beams"),
        ({"alpha": -1}, "greater than or equal to 0"),
        ({"temperature": 0, "method": "sample"}, "greater than 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SearchSettings.model_validate(settings)


def test_settings_survive_json():
    settings = SearchSettings(beam=5, banned_sequences=((4, 5),), length_penalty="average")
    assert SearchSettings.model_validate_json(settings.model_dump_json()) == settings
