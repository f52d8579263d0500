"""The model folder of a tagger, and the model that tags.

    tokenizer.json         what the encoder reads

Beside what every model folder has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from heedful.data.conll import Tagged
from heedful.data.rows import like_lengths
from heedful.machine import resolve_device
from heedful.models.encoder import Encoder, EncoderSettings
from heedful.models.tagger import Tagger
from heedful.tasks.model_folder import TOKENIZER, ModelConfig, opened, read_model, read_tokenizer, write
from heedful.tasks.tagged_words import batch, encode
from heedful.tasks.tagging import TaggerHead
from heedful.text.places import Pieces, tokens
from heedful.text.tags import spans
from heedful.text.tokenizer import Tokenizer

_WINDOWS = 32  # windows that are read at once
_LINES = 32  # lines that are answered together


class TaggingConfig(ModelConfig):
    """What config.json holds of a tagger."""

    files = (TOKENIZER,)
    use = """    heedful predict PATH < sentences.txt

gives a line of token/tag for every line, and with --json the spans, their places in the line in characters. In Python:

    import heedful
    model = heedful.load("PATH")
    model.predict("Pretty bad storm at the Empire State Building.").spans
    model.tag([["Pretty", "bad", "storm", "."]])          # of tokens
"""

    task: Literal["tagging"] = Field(default="tagging", description="what the model does")
    model: EncoderSettings = Field(description="architecture and dimensions of the encoder")
    head: TaggerHead = Field(description="what stands on the encoder")
    vocabulary: int = Field(ge=5, description="entries of the tokenizer")
    labels: tuple[str, ...] = Field(min_length=2, description="the tags, in the order of the output's rows")

    def title(self) -> str:
        """What the model is for, for its card."""
        return "tags of the tokens of sentences"

    def facts(self) -> dict[str, Any]:
        """The types, and the size of the vocabulary."""
        types = ", ".join(label[2:] for label in self.labels if label.startswith("B-"))
        return {"types": types, "vocabulary": self.vocabulary}


@dataclass(frozen=True)
class Found:
    """A span in a text: characters `start` to before `end`, and how sure the model is of it, 0 to 1.

    score: the probability of the least sure of its tags, each by itself
    """

    type: str
    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class TaggedText:
    """A text with its tokens, their tags, and the spans that these make."""

    text: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    spans: tuple[Found, ...]

    def __str__(self) -> str:
        return self.line

    @property
    def line(self) -> str:
        """The tokens with their tags: token/tag, spaces between."""
        return " ".join(f"{token}/{tag}" for token, tag in zip(self.tokens, self.tags, strict=True))

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold."""
        return asdict(self)


class SentenceTagger:
    """A tagger with its tokenizer, ready to tag."""

    def __init__(self, model: Tagger, tokenizer: Tokenizer, device: str = "cpu") -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device
        self.pieces = Pieces(tokenizer)

    def predict(self, text: str) -> TaggedText:
        """Tag a text. It is cut into tokens by `heedful.text.places.tokens`."""
        return self._answers([text])[0]

    def stream(self, lines: Iterable[str]) -> Iterator[TaggedText]:
        """Tag a sentence a line; an empty line has no tokens."""
        waiting = iter(lines)
        while some := list(islice(waiting, _LINES)):
            yield from self._answers(some)

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Give the IOB2 tags of tokenised sentences."""
        return tag_all(self.model, self.pieces, [Tagged(tuple(each), ()) for each in sentences])

    def _answers(self, texts: Sequence[str]) -> list[TaggedText]:
        cut = [tokens(text) for text in texts]
        sentences = [
            Tagged(tuple(text[first:end] for first, end in places), ())
            for text, places in zip(texts, cut, strict=True)
        ]
        scores = emissions(self.model, self.pieces, sentences)
        answers: list[TaggedText] = []
        for text, places, sentence, score in zip(texts, cut, sentences, scores, strict=True):
            labels = self.model.crf.viterbi(score[None], score.new_ones((1, len(score)), dtype=torch.bool))[0]
            tags = [self.model.labels[label] for label in labels]
            sure = score.softmax(-1)[torch.arange(len(labels)), labels].tolist() if labels else []
            found = [
                Found(
                    span.type,
                    text[places[span.first][0] : places[span.end - 1][1]],
                    places[span.first][0],
                    places[span.end - 1][1],
                    min(sure[span.first : span.end]),
                )
                for span in spans(tags)
            ]
            answers.append(TaggedText(text, sentence.tokens, tuple(tags), tuple(found)))
        return answers


@torch.inference_mode()
def emissions(model: Tagger, pieces: Pieces, sentences: Sequence[Tagged]) -> list[Tensor]:
    """Give the scores of the labels of each sentence's words, (words, labels) each, whatever its length."""
    rows = encode(sentences, pieces, model.encoder.maximum_length, word_features=model.wide is not None)
    device = str(model.output.weight.device)
    found: dict[int, Tensor] = {}
    for chosen in like_lengths([len(row.tokens) for row in rows], _WINDOWS):
        these = batch([rows[at] for at in chosen], sentences).to(device)
        for at, scores in zip(chosen.tolist(), model(*these.inputs).float().cpu(), strict=True):
            found[at] = scores[: len(rows[at].firsts)]
    parts: list[list[Tensor]] = [[torch.empty(0, len(model.labels))] for _ in sentences]
    for at, row in enumerate(rows):
        parts[row.sentence].append(found[at])
    return [torch.cat(each) for each in parts]


def tag_all(model: Tagger, pieces: Pieces, sentences: Sequence[Tagged]) -> list[list[str]]:
    """Give the tags of each sentence, the likeliest sequence that IOB2 allows."""
    tagged: list[list[str]] = []
    for score in emissions(model, pieces, sentences):
        on = score.to(model.output.weight.device)
        everywhere = torch.ones(1, len(score), dtype=torch.bool, device=on.device)
        tagged.append([model.labels[label] for label in model.crf.viterbi(on[None], everywhere)[0]])
    return tagged


def save(
    folder: str | Path,
    model: Tagger,
    tokenizer: Tokenizer,
    head: TaggerHead,
    trained: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder, in place of one that is there; give its path. Raises ModelFolderError."""
    config = TaggingConfig(
        model=model.encoder.settings,
        head=head,
        vocabulary=len(tokenizer),
        labels=model.labels,
        trained=dict(trained or {}),
    )
    return write(folder, config, model, tokenizer)


def load(path: str | Path, device: str = "auto") -> SentenceTagger:
    """Read a model folder, or that of a run folder.

    device: "cpu", "cuda", "cuda:1", ...; "auto" is the GPU where there is one

    Raises ModelFolderError for everything that is missing, damaged, of another format, or does not belong together.
    """
    folder, config = opened(path, TaggingConfig)
    tokenizer = read_tokenizer(folder, config.vocabulary)
    model = read_model(
        folder,
        lambda: config.head.tagger(Encoder(config.model, config.vocabulary), config.labels),
    )
    return SentenceTagger(model, tokenizer, resolve_device(device))
