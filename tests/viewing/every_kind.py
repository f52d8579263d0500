"""A small model of every kind, with random weights: what `heedful.load` would give."""

from functools import cache

import numpy as np
import torch
from torch import nn

from heedful.data.babi import Fact, Question
from heedful.data.environments import BanditSettings
from heedful.decoding import SearchSettings
from heedful.models import DecoderOnlySettings, DecoderOnlyTransformer, build
from heedful.models.classifier import Classifier, HeadSettings
from heedful.models.encoder import Encoder
from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer
from heedful.models.memn2n import MemN2NSettings
from heedful.models.snail import FewShotSnail, FewShotSnailSettings, PolicySnailSettings
from heedful.models.span_reader import SpanReader
from heedful.models.tagger import Tagger
from heedful.tasks import (
    Translator,
    answering_folder,
    bandits_folder,
    classification_folder,
    recall_folder,
    tagging_folder,
)
from heedful.tasks.embedding import Embedder
from heedful.tasks.engine import Engine
from heedful.tasks.few_shot_folder import Namer
from heedful.tasks.language_modelling_folder import LanguageModel
from heedful.tasks.masked_language_modelling_folder import MaskFiller
from heedful.tasks.readers import of_encoder
from heedful.tasks.recalling import Vocabulary
from heedful.tasks.recalling import build as build_memory
from heedful.text import Tokenizer, TokenizerSettings
from tests.models.variants import read_settings
from tests.tasks.small_model import ENGLISH, GERMAN

SIZES = {"d_model": 16, "d_ff": 24, "heads": 2}
ARCHITECTURES = {
    "transformer": {**SIZES, "encoder_layers": 2, "decoder_layers": 3},
    "decoder-only": {**SIZES, "layers": 2},
    "rnnsearch": {"d_embedding": 8, "d_hidden": 8, "d_attention": 8, "d_readout": 8, "start": "glorot"},
    "luong": {"d_embedding": 8, "d_hidden": 8, "layers": 1, "start": "glorot"},
    "luong, unfed": {"d_embedding": 8, "d_hidden": 8, "layers": 1, "start": "glorot", "input_feeding": False},
    "convs2s": {
        "d_model": 8,
        "encoder_blocks": [{"layers": 2, "width": 8, "kernel": 3}],
        "decoder_blocks": [{"layers": 2, "width": 8, "kernel": 3}],
    },
    "bytenet": {"d_model": 8, "sets": 1, "dilations": [1, 2]},
    "no attention": {"d_embedding": 8, "d_hidden": 8, "d_attention": 8, "d_readout": 8, "attention": "none"},
}
_NAMED = {"no attention": "rnnsearch"}


@cache
def tokenizer() -> Tokenizer:
    settings = TokenizerSettings(vocabulary_size=360, min_frequency=1, mask=True)
    return Tokenizer.train({"en": ENGLISH, "de": GERMAN}, settings)


def stirred(model: nn.Module, seed: int = 0) -> nn.Module:
    """A model with an opinion: larger weights than a new one has."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
    return model.eval()


def translator(name: str = "transformer", seed: int = 0) -> Translator:
    architecture = _NAMED.get(name, name.split(",")[0])
    settings = read_settings({"architecture": architecture, "maximum_length": 48, **ARCHITECTURES[name]})
    model = stirred(build(settings, len(tokenizer()), len(tokenizer())), seed)
    search = SearchSettings(beam=2, maximum_length_factor=0.0, maximum_length_add=6)
    # Plain: a faster engine would be compiled first.
    return Translator(
        model,
        tokenizer(),
        tokenizer().for_language("de"),
        languages=("en", "de"),
        search=search,
        engine=Engine("plain"),
    )


def language_model(**choices) -> LanguageModel:
    settings = DecoderOnlySettings(**{**SIZES, "layers": 2, "maximum_length": 64, **choices})
    model = stirred(DecoderOnlyTransformer(settings, len(tokenizer()), len(tokenizer())))
    return LanguageModel(model, tokenizer(), 32, True)


def _encoder_settings(**choices) -> EncoderOnlySettings:
    return EncoderOnlySettings(**{**SIZES, "layers": 2, "maximum_length": 64, **choices})


def mask_filler(segments: int = 2) -> MaskFiller:
    return MaskFiller(
        stirred(EncoderOnlyTransformer(_encoder_settings(segments=segments), len(tokenizer()))), tokenizer()
    )


def _encoder(**choices) -> Encoder:
    return Encoder(_encoder_settings(**choices), len(tokenizer()))


def embedder() -> Embedder:
    return Embedder(of_encoder(stirred(_encoder()), tokenizer()))


def classifier(pairs: bool = False) -> classification_folder.TextClassifier:
    config = classification_folder.ClassificationConfig(
        model=_encoder_settings(segments=2),
        head=HeadSettings(pooling="attention"),
        labels=("bad", "good", "so"),
        pairs=pairs,
        window=32,
        overlap=4,
    )
    model = stirred(Classifier(_encoder(segments=2), 3, config.head))
    return classification_folder.TextClassifier(model, config, tokenizer())


def tagger() -> tagging_folder.SentenceTagger:
    return tagging_folder.SentenceTagger(
        stirred(Tagger(_encoder(), ("O", "B-place", "I-place"), word_features=True)), tokenizer()
    )


def answerer() -> answering_folder.Answerer:
    windows = answering_folder.Windows(length=72, stride=16, question=16, answer=8)
    model = stirred(SpanReader(_encoder(maximum_length=80), exact_match=True, likeness=True))
    return answering_folder.Answerer(model, tokenizer(), windows, None)


FACTS = ("Mary moved to the bathroom.", "John went to the hallway.", "Mary travelled to the office.")


def memory() -> recall_folder.Answerer:
    questions = [Question(tuple(map(Fact, FACTS)), "Where is Mary?", "office")]
    vocabulary = Vocabulary.of(questions)
    model = build_memory(MemN2NSettings(d_model=8, hops=2, memories=3, linear_start=0), len(vocabulary))
    return recall_folder.Answerer(stirred(model), vocabulary)


def agent() -> bandits_folder.Agent:
    world = BanditSettings(arms=3, pulls=8)
    return bandits_folder.Agent(stirred(bandits_folder.make(PolicySnailSettings(), world)), world)


def namer() -> Namer:
    blocks = [{"kind": "attention", "d_key": 4, "d_value": 4}, {"kind": "convolution", "filters": 4}]
    settings = FewShotSnailSettings(filters=4, d_embedding=8, blocks=blocks)
    return Namer(stirred(FewShotSnail(settings, 3, 2)), "dark")


def drawing(seed: int) -> bytes:
    """An image file, 28 by 28, of some strokes."""
    ink = (np.random.default_rng(seed).random((28, 28)) < 0.1) * 255
    return b"P5 28 28 255\n" + (255 - ink).astype(np.uint8).tobytes()
