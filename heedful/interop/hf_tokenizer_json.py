"""heedful's tokenizers as the `tokenizers` library keeps them: all that they do to a text, as its own named steps.

    normalizer       the normalisation; and, but for byte-bpe, spaces as ▁ with one before the text, ▁ itself escaped
    pre_tokenizer    the words of `heedful.text.words`, or GPT-2's
    model            bpe, byte-bpe, wordpiece, unigram, words: the same entries and merges
    decoder          the way back

One that reads as BERT does becomes BERT's again, with ## before pieces inside a word.
"""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Library
from tokenizers.normalizers import Normalizer

from heedful.errors import ModelFolderError
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.normalization import Normalization
from heedful.text.special import SPECIAL_TOKENS, UNKNOWN
from heedful.text.words import SPACE, unmark

_ESCAPE = "␛"
_STAND_IN = "\ufdd1"  # a character that no text has (Unicode 23.7)


def tokenizer_json(tokenizer: Tokenizer, without: Sequence[int], start: str, begins: bool, ends: bool) -> str:
    """Give the content of tokenizer.json; see `hf_tokenizer.write`. Raises ModelFolderError for `moses`."""
    settings = tokenizer.settings
    library = _of_bert(tokenizer) if _is_bert(settings) else _of_ours(tokenizer)
    library = _without(library, without)
    for place, name in enumerate(settings.special_tokens):
        if place not in without:
            # The spaces around a mask are its own: what it hides has one before it.
            around = name == "<mask>"
            library.add_special_tokens([AddedToken(name, lstrip=around, rstrip=around, normalized=False)])
    if begins or ends:
        end = [" </s>", " $B:1 </s>:1"] if ends else ["", " $B:1"]
        single = f"{start} $A{end[0]}" if begins else f"$A{end[0]}"
        used = {start, "</s>"} if ends else {start}
        library.post_processor = processors.TemplateProcessing(
            single=single,
            pair=single + end[1],
            special_tokens=[(name, library.token_to_id(name)) for name in sorted(used)],
        )
    return library.to_str(pretty=False)


def _is_bert(settings: TokenizerSettings) -> bool:
    return settings.kind == "wordpiece" and settings.normalization in (("bert",), ("bert-uncased",))


def _of_bert(tokenizer: Tokenizer) -> Library:
    uncased = tokenizer.settings.normalization == ("bert-uncased",)
    special = len(tokenizer.settings.special_tokens)
    names = [
        piece
        if place < special
        else unmark(piece)
        if piece.startswith(SPACE)
        else f"##{unmark(SPACE + piece)}"
        for place, piece in enumerate(tokenizer.vocabulary.pieces)
    ]
    ids = {name: place for place, name in enumerate(names)}
    library = Library(models.WordPiece(ids, unk_token=SPECIAL_TOKENS[UNKNOWN], max_input_chars_per_word=100))
    library.normalizer = normalizers.BertNormalizer(strip_accents=uncased, lowercase=uncased)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    return library


def _of_ours(tokenizer: Tokenizer) -> Library:
    library = Library(tokenizer.model)
    library.pre_tokenizer = tokenizer.splitter
    steps = [_step(name) for name in tokenizer.settings.normalization]
    if tokenizer.settings.kind == "byte-bpe":
        library.decoder = decoders.ByteLevel()
    else:
        steps += [
            normalizers.Replace(_ESCAPE, _ESCAPE * 2),
            normalizers.Replace(SPACE, f"{_ESCAPE}_"),
            normalizers.Replace(" ", SPACE),
            normalizers.Prepend(SPACE),
        ]
        library.decoder = decoders.Sequence(
            [
                *(decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(SPACE, 1, 0)),
                decoders.Replace(SPACE, " "),
                decoders.Replace(_ESCAPE * 2, _STAND_IN),
                decoders.Replace(f"{_ESCAPE}_", SPACE),
                decoders.Replace(_STAND_IN, _ESCAPE),
            ]
        )
    if steps:
        library.normalizer = normalizers.Sequence(steps)
    return library


def _step(name: Normalization) -> Normalizer:
    match name:
        case "nfc":
            return normalizers.NFC()
        case "nfkc":
            return normalizers.NFKC()
        case "nfd":
            return normalizers.NFD()
        case "lowercase":
            # The library lowers letter by letter, so that a sigma at the end of a word needs a step of its own.
            final = normalizers.Replace(Regex(r"(?<=\p{L})Σ(?!\p{L})"), "ς")
            return normalizers.Sequence([final, normalizers.Lowercase()])
        case _:
            raise ModelFolderError(
                f"{name} normalisation of this tokenizer has no counterpart in tokenizers of transformers."
            )


def _without(library: Library, left_away: Sequence[int]) -> Library:
    """The same without some entries; the ids of those after them move up."""
    if not left_away:
        return library
    content: dict[str, Any] = json.loads(library.to_str())
    vocabulary = content["model"]["vocab"]
    kept = sorted((place, name) for name, place in vocabulary.items() if place not in left_away)
    content["model"]["vocab"] = {name: place for place, (_, name) in enumerate(kept)}
    content["model"]["unk_token"] = None
    return Library.from_str(json.dumps(content))
