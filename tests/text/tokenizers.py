"""Tokenizers of every kind, trained on a few lines, and the lines of Multi30k."""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.settings import Kind

KINDS: tuple[Kind, ...] = ("bpe", "byte-bpe", "unigram", "characters", "wordpiece", "words", "symbols")
SPELLING_BYTES: tuple[Kind, ...] = ("bpe", "unigram", "characters")

TEXTS = [
    "Ein Pferd springt über einen Zaun.",
    "Das Pferd, ein Schimmel, springt; die Pferde springen.",
    "A man rides a horse. The man's horse doesn't jump!",
    "L'homme monte à cheval, n'est-ce pas ?",
    "2019年3月3日 星期日",
    "الأحد، ٣ مارس ٢٠١٩",
    "रविवार, ३ मार्च २०१९",
    "воскресенье, 3 марта 2019 г.",
    "<s> is no start, </s> no end, <pad>, <unk> and <0x41> are text",
    "tab\there, line\nthere,  two spaces, ▁ and ␛ and ␛_ as themselves ",
] * 3


@cache
def trained(kind: Kind, **settings: Any) -> Tokenizer:
    return Tokenizer.train(TEXTS, TokenizerSettings(kind=kind, **{"vocabulary_size": 500, **settings}))


def lines(mirror: Path, name: str) -> list[str]:
    with gzip.open(mirror / "multi30k" / f"{name}.gz", "rt", encoding="utf-8") as file:
        return file.read().splitlines()
