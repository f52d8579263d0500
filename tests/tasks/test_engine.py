"""A translator asks the fastest engine that is exact, and says where the one asked for cannot be had."""

import numpy as np
import pytest
import torch

from heedful import observe
from heedful.decoding import SearchSettings
from heedful.decoding.shortlist import Shortlist
from heedful.errors import HeedfulError
from heedful.inference import LeanTransformer, library
from heedful.tasks.engine import Engine
from heedful.tasks.translator import Translator
from heedful.text.special import END
from tests.inference.test_lean import transformer
from tests.tasks.small_model import ENGLISH, GERMAN

lean = pytest.mark.skipif(library.refusal() is not None, reason=str(library.refusal()))


@lean
def test_auto_takes_the_lean_layout_on_a_thread_a_core_and_keeps_it():
    model, engine = transformer(), Engine()
    found, workers = engine.of(model)
    assert isinstance(found, LeanTransformer)
    assert workers == torch.get_num_threads()
    assert engine.of(model)[0] is found


@lean
def test_a_changed_weight_is_laid_out_anew():
    model, engine = transformer(), Engine()
    before = engine.of(model)[0]
    with torch.no_grad():
        dict(model.named_parameters())["decoder.layers.0.feed_forward.inner.weight"][0, 0] += 1
    after = engine.of(model)[0]
    assert after is not before
    assert engine.of(model)[0] is after


@lean
def test_who_looks_at_attention_gets_the_model_itself():
    model = transformer()
    with observe(model):
        assert Engine().of(model) == (model, 1)
        with pytest.raises(
            HeedfulError, match="lean engine cannot be had here: the attention is being observed"
        ):
            Engine("lean").of(model)
    assert Engine().of(model, watched=True) == (model, 1)


def test_what_cannot_be_laid_out_is_asked_plainly_unless_something_else_was_asked_for():
    model = transformer().double()
    assert Engine().of(model) == (model, 1)
    with pytest.raises(
        HeedfulError, match=r"The lean engine cannot be had here: its weights are torch\.float64"
    ):
        Engine("lean").of(model)
    with pytest.raises(HeedfulError, match="Precision int8 cannot be had here"):
        Engine("auto", "int8").of(model)
    with pytest.raises(HeedfulError, match="plain engine does not compute in int8"):
        Engine("plain", "int8")


def test_without_a_compiler_the_plain_engine_answers(monkeypatch):
    monkeypatch.setenv("HEEDFUL_COMPILE", "0")
    model = transformer()
    assert Engine().of(model) == (model, 1)
    with pytest.raises(HeedfulError, match="HEEDFUL_COMPILE is 0"):
        Engine("lean").of(model)


@lean
def test_a_translator_gives_the_same_texts_by_either_engine_on_any_number_of_threads(translator, threads):
    """The model of the tests, many batches, and a long text in pieces."""
    texts = [*ENGLISH * 3, " ".join(ENGLISH)]
    model, sides = translator.model, (translator.source_tokenizer, translator.target_tokenizer)
    by_engine = [
        Translator(model, *sides, search=SearchSettings(beam=3), engine=Engine(kind)).answers(
            texts, batch_tokens=40
        )
        for kind in ("plain", "lean")
    ]
    for plain, lean in zip(*by_engine, strict=True):
        assert lean.text == plain.text
        assert lean.candidates[0].score == pytest.approx(plain.candidates[0].score, abs=1e-4)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@lean
def test_what_goes_wrong_on_a_thread_is_told(translator, monkeypatch):
    def fails(self, tokens, state, count, banned):
        raise HeedfulError("on purpose")

    monkeypatch.setattr(LeanTransformer, "best", fails)
    with pytest.raises(HeedfulError, match="on purpose"):
        translator.translate(ENGLISH * 5, batch_tokens=20)


@lean
def test_a_shortlist_narrows_what_is_said_by_either_engine(translator):
    source, target = translator.source_tokenizer, translator.target_tokenizer
    allowed = sorted({id for text in GERMAN[:2] for id in target.encode(text)})
    shortlist = Shortlist(allowed, np.full((len(source), 1), END), len(target))
    said = []
    for kind in ("plain", "lean"):
        narrow = Translator(translator.model, source, target, engine=Engine(kind), shortlist=shortlist)
        answers = narrow.answers(ENGLISH, prefixes=["", "", GERMAN[4], "", ""])
        said.append([answer.candidates[0].text for answer in answers])
        allowed_pieces = set(target.pieces([*allowed, *target.encode(GERMAN[4])]))
        assert all(set(answer.candidates[0].pieces) <= allowed_pieces for answer in answers)
    assert said[0] == said[1]
    assert said[0][2].startswith(GERMAN[4])
