"""The base of tasks that learn from plain text: its parts, their tokenizer, and the streams of tokens made of them."""

import json
from abc import ABC
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from heedful.data.documents import Piece, TextSettings, check_documents, documents_table, read_pieces
from heedful.data.named_or_own import named_or_own
from heedful.data.named_texts import NamedText, named_text
from heedful.data.token_stream import TokenStream
from heedful.durable import write_text
from heedful.settings import Settings
from heedful.tasks.face import Listener, Task
from heedful.text import Tokenizer
from heedful.text.special import UNKNOWN

_SPREAD = 20  # documents that a validation from all over has at least


class TextData(Settings):
    """Which text is learnt from, and in which windows."""

    name: NamedText | None = Field(default=None, description="a named text; or give train")
    train: TextSettings | None = Field(default=None, description="text to train on")
    validation: TextSettings | None = Field(
        default=None, description="text to choose the best model by; unset: a part of train"
    )
    # As nanoGPT cuts its texts, where there are few.
    held_out: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description=(
            "the share of train that is the validation, if none is given: of many documents some from all over, of few "
            "the last tokens"
        ),
    )
    tests: dict[str, TextSettings] = Field(default={}, description="texts for the last evaluation, by name")
    window: int = Field(default=256, ge=2, description="tokens that are read together: the longest context")
    batch: int = Field(default=32, ge=1, description="windows of a batch")
    document_mask: bool = Field(default=True, description="no token attends to another document than its own")

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        named_or_own(self, "data.train.text")
        return self


class TextTask(Task, ABC):
    """A run that learns from text; its settings are `BegunSettings` whose `data` is a `TextData`.

    After `prepare`, `tokenizer` is what reads the text, and `streams` are the tokens of each part by its name.
    """

    unit = "window"
    tokenizer: Tokenizer
    streams: dict[str, TokenStream]

    def __init__(self, settings: Any, folder: Path, listener: Listener) -> None:
        super().__init__(settings, folder, listener)
        data = settings.data
        named = {} if data.name is None else named_text(data.name)
        found = {"train": data.train, "validation": data.validation, **named, **data.tests}
        self.texts = {name: text for name, text in found.items() if text is not None}

    def prepare(self) -> None:
        """Check the text, learn the tokenizer, and write the tokens of each part: once for a run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        report, vocabulary = self.folder / "check.json", self.folder / "tokenizer.json"
        fresh = not report.exists()
        if fresh:
            sections = check_documents(self.texts)
            self.listener.say(documents_table(sections))
            found = [section.to_dict() for section in sections]
            for stale in self.folder.glob("*.npy"):  # of a preparation that did not come to its end
                stale.unlink()
            texts = (piece.text for piece in read_pieces(self.texts["train"]))
            self.settings.tokenizer_of(texts).save(vocabulary)
        else:
            found = json.loads(report.read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.load(vocabulary)
        self.streams = {name: self._stream(name) for name in self.texts if name != "train"}
        if "validation" in self.texts:
            self.streams["train"] = self._stream("train")
        else:
            documents = next(section["documents"] for section in found if section["part"] == "train")
            self.streams |= self._held_out(documents)
        if fresh:
            self._tell_unknown()
            # Last, because its presence says that all of this is done.
            write_text(report, json.dumps(found, ensure_ascii=False, indent=1))

    def facts(self) -> dict[str, Any]:
        """What the text of the training is, for the model card."""
        amount = self.streams["train"].amount
        return {
            "data": self.settings.data.name or list(map(str, self.texts["train"].text)),
            "tokens": len(self.streams["train"]),
            "documents": amount.documents,
            "characters": amount.characters,
            **self.settings.facts(),
        }

    def _tell_unknown(self) -> None:
        """Say how much of the text the vocabulary lacks: that of `init` may be of another language, say."""
        train = self.streams["train"]
        if unknown := train.count(UNKNOWN):
            self.listener.say(
                f"Of {len(train):,} tokens to learn from {unknown:,} ({unknown / len(train):.2%}) are not in the "
                "vocabulary: the model cannot tell them from one another."
            )

    def _stream(self, name: str, of: Callable[[Iterable[Piece]], Iterable[Piece]] = iter) -> TokenStream:
        path = self.folder / f"{name}.npy"
        if TokenStream.exists(path):
            return TokenStream.open(path)
        text = self.texts.get(name, self.texts["train"])
        return TokenStream.write(path, of(read_pieces(text)), self.tokenizer)

    def _held_out(self, documents: int) -> dict[str, TokenStream]:
        """Train and validation of one text: where it has many documents every n-th, for files differ in kind."""
        share = self.settings.data.held_out
        every = round(1 / share)
        if every < 2 or documents < _SPREAD * every:
            kept, held = self._stream("train").split(share, self.tokenizer)
            return {"train": kept, "validation": held}
        return {
            "train": self._stream("train", lambda pieces: _documents(pieces, every, held=False)),
            "validation": self._stream("validation", lambda pieces: _documents(pieces, every, held=True)),
        }


def _documents(pieces: Iterable[Piece], every: int, held: bool) -> Iterator[Piece]:
    """Give the pieces of every n-th document, or of all others."""
    number = -1
    for piece in pieces:
        number += piece.first
        if (number % every == every - 1) == held:
            yield piece
