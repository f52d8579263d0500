"""A tokenizer learned from a page of text and a model with random weights, together and in a folder."""

from pathlib import Path

import pytest

from heedful.decoding import SearchSettings
from heedful.models import SequenceToSequence
from heedful.tasks import Translator, save
from heedful.text import Tokenizer, TokenizerSettings
from tests.tasks.small_model import ENGLISH, GERMAN, SETTINGS, random_model


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    settings = TokenizerSettings(vocabulary_size=360, min_frequency=1)
    return Tokenizer.train({"en": ENGLISH, "de": GERMAN}, settings)


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> SequenceToSequence:
    return random_model(SETTINGS, len(tokenizer), len(tokenizer))


@pytest.fixture(scope="session")
def translator(model: SequenceToSequence, tokenizer: Tokenizer) -> Translator:
    search = SearchSettings(beam=3, maximum_length_add=4)
    return Translator(model, tokenizer, tokenizer.for_language("de"), languages=("en", "de"), search=search)


@pytest.fixture
def folder(tmp_path: Path, model: SequenceToSequence, tokenizer: Tokenizer) -> Path:
    return save(tmp_path / "en-de", model, SETTINGS, tokenizer, tokenizer.for_language("de"))
