"""Recurrent models in a model folder: saved, loaded and asked like any other."""

import pytest

import heedful
from heedful.decoding import SearchSettings
from heedful.models import LuongSettings, RNNsearchSettings
from heedful.tasks import Translator, save
from tests.tasks.small_model import ENGLISH, random_model

SEARCH = SearchSettings(beam=3, maximum_length_add=4)
RNNSEARCH = RNNsearchSettings(
    d_embedding=8, d_hidden=8, d_attention=8, d_readout=8, maximum_length=48, start="glorot"
)
LUONG = LuongSettings(d_embedding=8, d_hidden=8, layers=2, maximum_length=48, start="glorot")


@pytest.mark.parametrize(
    "settings",
    [
        RNNSEARCH.model_copy(update={"tied": "all", "layer_norm": True}),
        RNNSEARCH.model_copy(update={"attention": "none"}),
        LUONG,
        LUONG.model_copy(update={"tied": "target"}),
    ],
    ids=["rnnsearch, tied", "no attention", "luong", "luong, tied target"],
)
def test_a_saved_model_answers_as_before(settings, tokenizer, tmp_path):
    model, german = random_model(settings, len(tokenizer), len(tokenizer)), tokenizer.for_language("de")
    before = Translator(model, tokenizer, german, languages=("en", "de"))
    after = heedful.load(save(tmp_path / "en-de", model, settings, tokenizer, german))
    for one, other in zip(
        before.answers(ENGLISH, search=SEARCH), after.answers(ENGLISH, search=SEARCH), strict=True
    ):
        assert one.candidates == other.candidates
