"""Beginning with the encoder of another model: settings, tokenizer and weights are taken over."""

import pytest
import torch
from pydantic import Field, ValidationError
from torch import nn

from heedful.errors import ModelFolderError
from heedful.models import DecoderOnlySettings, DecoderOnlyTransformer, EncoderOnlySettings
from heedful.models.classifier import Classifier, HeadSettings
from heedful.models.encoder_only import EncoderOnlyTransformer
from heedful.tasks.fine_tuning import FineTuningSettings
from heedful.tasks.model_folder import ModelConfig, writing
from heedful.tasks.pretrained import read_pretrained
from heedful.text import Tokenizer, TokenizerSettings
from tests.models.tagger import Tagger

SHAPE = {"d_model": 8, "d_ff": 16, "heads": 2, "layers": 2, "maximum_length": 12, "positions": "learned"}
TOKENIZER = Tokenizer.train(["the cat sat", "the dog sat"], TokenizerSettings(kind="words"))


class OtherConfig(ModelConfig):
    """Of whatever task: what is begun with is found by its names."""

    files = ("tokenizer.json",)
    task: str = Field(default="guessing")


class Around(nn.Module):
    """A model that has its stack as a part."""

    def __init__(self, stack: nn.Module) -> None:
        super().__init__()
        self.head, self.reader = nn.Linear(2, 2), stack


class Settings(FineTuningSettings):
    task: str = "tagging"
    data: None = None
    metrics: tuple[str, ...] = ()


def write(folder, model, settings):
    with writing(folder, OtherConfig(model=settings), model) as new:
        TOKENIZER.save(new / "tokenizer.json")
    return folder


@pytest.fixture(params=["encoder-only", "decoder-only", "a part of another"])
def pretrained(request, tmp_path):
    if request.param == "decoder-only":
        settings = DecoderOnlySettings(**SHAPE)
        stack = DecoderOnlyTransformer(settings, len(TOKENIZER), len(TOKENIZER))
    else:
        settings = EncoderOnlySettings(**SHAPE, norm="pre")
        stack = EncoderOnlyTransformer(settings, len(TOKENIZER))
    model = Around(stack) if request.param == "a part of another" else stack
    return write(tmp_path / "model", model, settings), stack


def test_settings_tokenizer_and_weights_are_those_of_init(pretrained):
    folder, stack = pretrained
    settings = Settings.model_validate({"init": folder, "model": {"d_model": 512, "dropout": 0.4}})
    assert settings.model == stack.settings.model_copy(update={"dropout": 0.4})
    assert settings.tokenizer == TOKENIZER.settings
    assert read_pretrained(folder).tokenizer.fingerprint() == TOKENIZER.fingerprint()
    model = Tagger(settings.encoder(len(TOKENIZER)))
    settings.begin(model)
    begun = model.encoder.stack.state_dict()
    assert begun
    for name, tensor in begun.items():
        assert torch.equal(tensor, stack.state_dict()[name]), name
    # And once more, as a run's recipe is read again.
    again = Settings.model_validate(settings.model_dump())
    assert again == settings


def test_a_pooler_is_taken_over_by_a_classifier_with_one_of_that_shape(tmp_path):
    settings = EncoderOnlySettings(**SHAPE, next_sentence=True)
    folder = write(tmp_path / "bert", bert := EncoderOnlyTransformer(settings, len(TOKENIZER)), settings)
    begun = Settings(init=folder)
    for pooling, hidden, same in (
        ("first", 8, True),
        ("first", 16, False),
        ("mean", 8, False),
        ("first", None, False),
    ):
        encoder = begun.encoder(len(TOKENIZER)).eval()
        model = Classifier(encoder, 2, HeadSettings(pooling=pooling, hidden=hidden)).eval()
        begun.begin(model)
        own = model.hidden
        assert (own is not None and torch.equal(own.weight, bert.pooler.weight)) == same
        if same:
            tokens = torch.tensor([[1, 5, 4, 2]])
            assert torch.equal(own.bias, bert.pooler.bias)
            assert torch.equal(model.features(tokens, None), bert.eval().pooled(bert(tokens)))


def test_without_a_pooler_the_layer_begins_as_it_was_drawn(pretrained):
    folder, _ = pretrained
    model = Classifier(
        Settings(init=folder).encoder(len(TOKENIZER)), 2, HeadSettings(pooling="first", hidden=8)
    )
    before = model.hidden.weight.clone()
    Settings(init=folder).begin(model)
    assert torch.equal(model.hidden.weight, before)


def test_word_dropout_knows_which_tokens_are_special():
    settings = Settings(tokenizer=TokenizerSettings(kind="words", mask=True))
    assert settings.encoder(30).special == 5
    assert Settings().encoder(30).special == 4


def test_a_model_fine_tuned_before_can_be_begun_with(pretrained, tmp_path):
    folder, _ = pretrained
    model = Tagger(Settings(init=folder).encoder(len(TOKENIZER)))
    second = write(tmp_path / "tagger", model, model.encoder.settings)
    other = Tagger(Settings(init=second).encoder(len(TOKENIZER)))
    Settings(init=second, freeze=2).begin(other)
    for (name, one), two in zip(model.encoder.named_parameters(), other.encoder.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert [name for name, parameter in other.named_parameters() if parameter.requires_grad] == [
        "output.weight",
        "output.bias",
    ]


def test_without_init_nothing_is_taken_over_or_frozen():
    settings = Settings.model_validate({"model": {"layers": 1}})
    assert settings.model == EncoderOnlySettings(layers=1)
    assert Settings.model_validate({"model": {"architecture": "decoder-only"}}).model == DecoderOnlySettings()
    with pytest.raises(ValidationError, match=r"only makes sense with init"):
        Settings(freeze=1)


def test_more_layers_than_there_are_cannot_be_frozen(pretrained):
    with pytest.raises(ValidationError, match=r"freeze is 3, but the model of init has 2 layers"):
        Settings(init=pretrained[0], freeze=3)


def test_what_cannot_be_begun_with_says_why(pretrained, tmp_path):
    folder, stack = pretrained
    with pytest.raises(
        ModelFolderError, match=r"There is no model folder .*modle; the nearest name beside it is model"
    ):
        Settings(init=tmp_path / "modle")
    settings = Settings(init=folder)
    larger = write(tmp_path / "larger", stack, stack.settings.model_copy(update={"layers": 3}))
    with pytest.raises(ModelFolderError, match=r"has no en|has no de"):
        Settings(init=larger).begin(Tagger(Settings(init=larger).encoder(len(TOKENIZER))))
    with pytest.raises(ModelFolderError, match=r"embedding.table.weight has shape"):
        settings.begin(Tagger(settings.encoder(len(TOKENIZER) + 1)))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(
        ModelFolderError, match=r"cannot be begun with: it holds .* for guessing, and fine-tuning needs"
    ):
        Settings(init=folder)
