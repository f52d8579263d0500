"""Looking into models that read one text: language models, masked language models, and those that give vectors.

Rows and columns of a map are the same tokens, those that are read. A language model's row t is of the position that
reads token t and predicts the one after it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from heedful.attention import observe
from heedful.errors import DataError
from heedful.models.decoder_only import DecoderOnlySettings
from heedful.tasks.embedding import Embedder
from heedful.tasks.language_modelling_folder import LanguageModel
from heedful.tasks.masked_language_modelling_folder import HOLE, MaskFiller
from heedful.text.special import END, MASK, MASK_TOKEN, START
from heedful.text.tokenizer import Tokenizer
from heedful.viewing.letters import isolated, visible
from heedful.viewing.looks import tokens
from heedful.viewing.looks.examples import sentence
from heedful.viewing.looks.maps import Place, maps_of, steps_of
from heedful.viewing.looks.opened import Ask, Opened, evaluating, run_of
from heedful.viewing.scene import Axis, Group, Scene, Token

# Positions that know no end; but relative ones have a bias for each pair of tokens.
_ENDLESS = ("rotary", "alibi", "none")
_LONGEST_OF_PAIRS = 4096
_SHOWN = 5


class OpenLanguageModel(Opened):
    """A language model, open to be looked into."""

    title, task, writes = "Language model", "language-modelling", False

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.network = model, model.model
        self.asks = (Ask("text", "Text", example=sentence(model.tokenizer.language)),)

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        model, network, text = self.model, self.network, texts["text"]
        ids = model.encode(text)
        longest = longest_text(network.settings)
        check_tokens(ids, longest, "The text")
        read = torch.tensor([ids], device=model.device)
        with torch.no_grad(), evaluating(network), observe(network) as seen:
            last = network.output(network.text_features(read)[0, -1]).float().softmax(-1)
        likeliest = last.topk(min(_SHOWN, len(last)))
        names = [tokens.shown(model.tokenizer, token) for token in likeliest.indices.tolist()]
        maps = maps_of(network, seen, alone("decoder"))
        following = [*ids[1:], int(likeliest.indices[0])]
        return Scene(
            model=self.title,
            texts=texts,
            axes={"text": Axis("text", "Text", tuple(tokens.of_text(model.tokenizer, ids, text)))},
            maps=maps,
            steps=steps_of(maps),
            run=run_of(network, lambda rows: network.output(network.text_features(read)[0, rows])),
            inputs={"text": network.embedding},
            outputs=("text", following),
            answer=listed("Next", names, likeliest.values.tolist()),
            facts={
                "taken": [tokens.shown(model.tokenizer, token) for token in following],
                "next": list(zip(names, likeliest.values.tolist(), strict=True)),
                "window": model.window,
            },
        )


class OpenMaskFiller(Opened):
    """A masked language model, open to be looked into."""

    title, task = "Masked language model", "masked-language-modelling"

    def __init__(self, model: MaskFiller) -> None:
        self.model, self.network = model, model.model
        second = (Ask("second", "Second text", optional=True),) if self.network.settings.segments else ()
        example = "A man [MASK] a horse." if model.tokenizer.language in (None, "en") else ""
        self.asks = (Ask("text", f"Text, with {HOLE} for what is to be guessed", example=example), *second)

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        model, network = self.model, self.network
        first, second = texts["text"], texts.get("second", "")
        parts = [model.encode(each) for each in (first, second) if each.strip()]
        ids = [START, *(token for part in parts for token in (*part, END))]
        check_tokens(ids, network.maximum_length, "The text")
        segments = [0] * (len(parts[0]) + 2) + [1] * (len(ids) - len(parts[0]) - 2)
        read, kinds = (torch.tensor([each], device=model.device) for each in (ids, segments))
        with torch.no_grad(), evaluating(network), observe(network) as seen:
            vectors = network(read, kinds if len(parts) > 1 else None)[0]
            holes = [place for place, token in enumerate(ids) if token == MASK]
            guesses = network.logits(vectors[holes]).float().softmax(-1)
        guesses[:, : len(model.tokenizer.settings.special_tokens)] = 0
        given = guesses.max(-1) if holes else None
        taken = list(ids)
        for place, token in zip(holes, [] if given is None else given.indices.tolist(), strict=True):
            taken[place] = token
        maps = maps_of(network, seen, alone("encoder"))
        words = [tokens.shown(model.tokenizer, taken[place]) for place in holes]
        return Scene(
            model=self.title,
            texts=texts,
            axes={"text": Axis("text", "Text", tuple(of_parts(model.tokenizer, parts, (first, second))))},
            maps=maps,
            steps=steps_of(maps),
            run=run_of(
                network,
                lambda rows: network.logits(network(read, kinds if len(parts) > 1 else None)[0, rows]),
            ),
            inputs={"text": network.embedding},
            outputs=("text", taken),
            answer="" if given is None else listed("In the holes", words, given.values.tolist()),
            facts={"taken": [tokens.shown(model.tokenizer, token) for token in taken], "holes": holes},
        )


class OpenEmbedder(Opened):
    """A model that gives vectors of texts, open to be looked into: what reads, without a head."""

    title, task = "Vectors of texts", "contrastive"

    def __init__(self, model: Embedder) -> None:
        self.model, self.reader = model, model.reader
        self.network = self.reader.model
        self.asks = (Ask("text", "Text", example=sentence(self.reader.tokenizer.language)),)

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        reader, text = self.reader, texts["text"]
        ids = reader.tokenizer.encode(text)
        check_tokens(ids, reader.longest, "The text")
        around = reader.around(ids)
        with torch.no_grad(), evaluating(self.network), observe(self.network) as seen:
            reader.run(torch.tensor([around], device=reader.device))
        maps = maps_of(self.network, seen, alone("decoder" if reader.causal else "encoder"))
        return Scene(
            model=self.title,
            texts=texts,
            axes={"text": Axis("text", "Text", tuple(tokens.of_text(reader.tokenizer, around, text)))},
            maps=maps,
            steps=steps_of(maps),
            facts={"pooling": self.model.pooling, "width": self.model.width},
        )


def longest_text(settings: DecoderOnlySettings) -> int | None:
    """Give how many tokens a stack can read at once; None where there is no end."""
    if settings.positions in _ENDLESS:
        return None
    return _LONGEST_OF_PAIRS if settings.positions == "relative" else 2 * settings.maximum_length


def check_tokens(ids: Sequence[int], longest: int | None, what: str) -> None:
    """Raise DataError for more tokens than a model reads at once, and for none."""
    if not ids:
        raise DataError(f"{what} has no token: there is nothing to look at.")
    if longest is not None and len(ids) > longest:
        raise DataError(
            f"{what} has {len(ids):,} tokens, and this model reads {longest:,} at once: shorten it."
        )


def of_parts(tokenizer: Tokenizer, parts: Sequence[Sequence[int]], texts: Sequence[str]) -> list[Token]:
    """Give the tokens of `<s>` text `</s>` text `</s>`: words of the second are counted on."""
    found = [tokens.special(tokenizer, START)]
    for part, text in zip(parts, texts, strict=False):
        own = tokens.of_text(tokenizer, part, text.replace(HOLE, MASK_TOKEN))
        found += tokens.later(own, tokens.count_words(found))
        found.append(tokens.special(tokenizer, END))
    return found


def listed(what: str, names: Sequence[str], chances: Sequence[float]) -> str:
    """Say what was guessed: `Next: the 12 %, a 9 %`."""
    each = (f"{isolated(visible(name))} {chance:.0%}" for name, chance in zip(names, chances, strict=True))
    return f"{what}: {', '.join(each)}"


def alone(group: Group) -> Callable[[str], Place]:
    """Say of every module that it is of this group, and attends from the text to itself."""
    return lambda _: (group, "text", "text")
