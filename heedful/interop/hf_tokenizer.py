"""Tokenizers of `transformers` (BERT's WordPiece and GPT-2's byte-level BPE) as heedful's, and heedful's as theirs.

    read = hf_tokenizer.read(folder, "bert", 30_522)
    read.tokenizer.encode(text)                 # the same pieces; read.rows says which entry of theirs each is
    hf_tokenizer.write(tokenizer, folder)       # tokenizer.json, which AutoTokenizer loads

heedful's special tokens have the first ids. Every other entry keeps its id, but for those whose places these take: they
go to where the special tokens were, or to the end. BERT's pieces differ in spelling only: ▁ stands before those that
begin a word, not ## before those that go on with one. GPT-2 knows one special token, the end of a text, which begins
the next one as well: it becomes two entries, and those for padding and the unknown are ones that it does not have.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from heedful import durable
from heedful.errors import ModelFolderError, TokenizerError
from heedful.interop.hf_tokenizer_json import tokenizer_json
from heedful.text import Tokenizer, TokenizerSettings
from heedful.text.special import END, UNKNOWN
from heedful.text.vocabulary import Vocabulary
from heedful.text.words import SPACE, mark

TOKENIZER, ABOUT = "tokenizer.json", "tokenizer_config.json"
Family = Literal["bert", "gpt2"]

# What each of our special tokens, by its id, is called there, and what it is where the folder does not say.
_ROLES: dict[Family, tuple[tuple[str, str | None], ...]] = {
    "bert": (
        ("pad_token", "[PAD]"),
        ("cls_token", "[CLS]"),
        ("sep_token", "[SEP]"),
        ("unk_token", "[UNK]"),
        ("mask_token", "[MASK]"),
    ),
    "gpt2": (
        ("pad_token", None),
        ("bos_token", "<|endoftext|>"),
        ("eos_token", "<|endoftext|>"),
        ("unk_token", None),
    ),
}
_GOES_ON = "##"


@dataclass(frozen=True)
class Read:
    """A tokenizer that was read.

    rows: for each of its entries the id that it has there; None for one that they do not have
    silent: entries that are never said: those that they do not have, or that are one with another
    """

    tokenizer: Tokenizer
    rows: tuple[int | None, ...]
    silent: tuple[int, ...]


def read(folder: str | Path, family: Family, entries: int) -> Read:
    """Read the tokenizer of a folder, whose model has so many entries; those that have no name are never met in text.

    Raises ModelFolderError for what is missing or damaged, and naming the feature that heedful's tokenizer has not.
    """
    folder = Path(folder).expanduser()
    about = _json(folder / "special_tokens_map.json", {}) | _json(folder / ABOUT, {})
    content = _content(folder, family, about)
    where = str(folder / TOKENIZER)
    normalization = (_check_bert if family == "bert" else _check_gpt2)(content, where)
    model = content["model"]
    names = _names(content, where)
    ids = {name: place for place, name in enumerate(names)}
    special = [_special(about, ids, *role, where) for role in _ROLES[family]]
    if family == "gpt2" and special[UNKNOWN] in special[:UNKNOWN]:
        special[UNKNOWN] = None  # every text can be spelt, and GPT-2 has one token for all
    told = {each.get("content") for each in content.get("added_tokens") or []}
    if others := sorted(told - {names[each] for each in special if each is not None}):
        raise ModelFolderError(
            f"{where} adds the token {others[0]!r} to its vocabulary; heedful's tokenizer has no tokens beside "
            "those for padding, start, end, unknown and mask."
        )
    if len(names) > entries:
        raise ModelFolderError(f"{where} has {len(names)} entries, but the model only {entries}.")
    names += [f"<unused{place}>" for place in range(len(names), entries)]
    rows = arranged(special, entries)
    settings = TokenizerSettings(
        kind="wordpiece" if family == "bert" else "byte-bpe",
        vocabulary_size=max(len(rows), 512),  # at most
        normalization=normalization,
        mask=family == "bert",
    )
    spelling = _spelt_as_ours if family == "bert" else str
    pieces = [
        *settings.special_tokens,
        *(spelling(names[row]) for row in rows[len(special) :] if row is not None),
    ]
    merges = [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in model.get("merges", [])]
    ours = Tokenizer(settings, Vocabulary(tuple(pieces), tuple((left, right) for left, right in merges)))
    try:
        ours = Tokenizer.from_json(ours.to_json())  # all of it is checked there
    except TokenizerError as error:
        raise ModelFolderError(f"{where} cannot be heedful's: {error}.") from error
    silent = tuple(
        place for place, row in enumerate(rows) if row is None or (place != END and row == rows[END])
    )
    return Read(ours, tuple(rows), silent)


def arranged(special: Sequence[int | None], entries: int) -> list[int | None]:
    """Which entry of theirs stands where, when the special ones (None: they have none) come first.

    >>> arranged([0, 6, 6, None], 7)
    [0, 6, 6, None, 4, 5, 1, 2, 3]
    """
    taken = {each for each in special if each is not None}
    moved = [place for place in range(len(special)) if place not in taken and place < entries]
    rows = list(special)
    for place in range(len(special), entries):
        if place not in taken:
            rows.append(place)
        elif moved:
            rows.append(moved.pop(0))
    return [*rows, *moved]


def write(
    tokenizer: Tokenizer, folder: str | Path, *, ends: bool, begins: bool, without: Sequence[int] = ()
) -> None:
    """Write tokenizer.json and tokenizer_config.json beside a model, for AutoTokenizer.

    ends, begins: whether END stands after a text, and START before it
    without: special tokens that are left away; the ids of all other entries move up

    Raises ModelFolderError for a tokenizer that does what theirs cannot, and for a folder that cannot be written.
    """
    folder = Path(folder).expanduser()
    kept = {name for place, name in enumerate(tokenizer.settings.special_tokens) if place not in without}
    start = "<s>" if "<s>" in kept else "</s>"
    about: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": start,
        "eos_token": "</s>",
        "clean_up_tokenization_spaces": "bert" in str(tokenizer.settings.normalization),
    }
    about |= {f"{role}_token": f"<{role}>" for role in ("pad", "unk", "mask") if f"<{role}>" in kept}
    if ends:
        inputs = ["input_ids", "token_type_ids", "attention_mask"]
        about |= {"cls_token": start, "sep_token": "</s>", "model_input_names": inputs}
    try:
        durable.write_text(folder / TOKENIZER, tokenizer_json(tokenizer, without, start, begins, ends))
        durable.write_text(folder / ABOUT, json.dumps(about, indent=2) + "\n")
    except OSError as error:
        raise ModelFolderError(f"{folder} cannot be written: {error}.") from error


def _spelt_as_ours(name: str) -> str:
    """A piece of WordPiece with the space that it begins a word with, in place of ## where it does not."""
    if name.startswith(_GOES_ON) and name != _GOES_ON:
        return mark(name.removeprefix(_GOES_ON)).removeprefix(SPACE)
    return mark(name)


def _content(folder: Path, family: Family, about: Mapping[str, Any]) -> dict[str, Any]:
    """What tokenizer.json says, or would say where there are only the files of the first tokenizers."""
    if (folder / TOKENIZER).exists():
        return _json(folder / TOKENIZER)
    try:
        if family == "bert":
            # Not splitlines, which would cut at U+2028 and other entries of a vocabulary too.
            lines = (folder / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
            lower = about.get("do_lower_case", True)
            return {
                "normalizer": {
                    "type": "BertNormalizer",
                    "lowercase": lower,
                    "strip_accents": about.get("strip_accents"),
                    "handle_chinese_chars": about.get("tokenize_chinese_chars", True),
                },
                "pre_tokenizer": {"type": "BertPreTokenizer"},
                "model": {"type": "WordPiece", "vocab": {name: place for place, name in enumerate(lines)}},
            }
        merges = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        return {
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": about.get("add_prefix_space", False)},
            "model": {
                "type": "BPE",
                "vocab": _json(folder / "vocab.json"),
                "merges": [line for line in merges if line and not line.startswith("#version")],
            },
        }
    except OSError as error:
        raise ModelFolderError(f"{folder} has no tokenizer: {TOKENIZER} is missing.") from error


def _check_bert(content: Mapping[str, Any], where: str) -> tuple[Literal["bert", "bert-uncased"]]:
    model, normalizer = content["model"], content.get("normalizer") or {}
    uncased = normalizer.get("lowercase", True)
    _check("model.type", model.get("type"), ("WordPiece",), where)
    _check(
        "model.continuing_subword_prefix",
        model.get("continuing_subword_prefix", _GOES_ON),
        (_GOES_ON,),
        where,
    )
    _check("model.max_input_chars_per_word", model.get("max_input_chars_per_word", 100), (100,), where)
    _check("normalizer.type", normalizer.get("type"), ("BertNormalizer",), where)
    for name in ("clean_text", "handle_chinese_chars"):
        _check(f"normalizer.{name}", normalizer.get(name, True), (True,), where)
    _check("normalizer.strip_accents", normalizer.get("strip_accents"), (None, uncased), where)
    _check(
        "pre_tokenizer.type", (content.get("pre_tokenizer") or {}).get("type"), ("BertPreTokenizer",), where
    )
    return ("bert-uncased",) if uncased else ("bert",)


def _check_gpt2(content: Mapping[str, Any], where: str) -> tuple[()]:
    model, cutter = content["model"], content.get("pre_tokenizer") or {}
    _check("model.type", model.get("type"), ("BPE",), where)
    for name in (
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
        "ignore_merges",
    ):
        _check(f"model.{name}", model.get(name), (None, "", False), where)
    _check("normalizer", content.get("normalizer"), (None,), where)
    _check("pre_tokenizer.type", cutter.get("type"), ("ByteLevel",), where)
    _check("pre_tokenizer.add_prefix_space", cutter.get("add_prefix_space", False), (False,), where)
    _check("pre_tokenizer.use_regex", cutter.get("use_regex", True), (True,), where)
    return ()


def _check(name: str, found: Any, known: tuple[Any, ...], where: str) -> None:
    if found not in known:
        raise ModelFolderError(
            f"{where}: {name} is {found!r}; heedful's tokenizer knows {' or '.join(map(repr, known))}."
        )


def _names(content: Mapping[str, Any], where: str) -> list[str]:
    """The entries by id, added ones included."""
    ids = dict(content["model"].get("vocab") or {})
    ids |= {each["content"]: each["id"] for each in content.get("added_tokens") or []}
    names = sorted(ids, key=ids.__getitem__)
    if [ids[name] for name in names] != list(range(len(names))):
        raise ModelFolderError(f"{where} has ids that are missing or double.")
    return names


def _special(
    about: Mapping[str, Any], ids: Mapping[str, int], role: str, usual: str | None, where: str
) -> int | None:
    name = about.get(role) or usual
    if isinstance(name, dict):
        name = name.get("content")
    if name is None:
        return None
    if name not in ids:
        raise ModelFolderError(f"{where} has no entry {name!r}, its {role}, which heedful's tokenizer needs.")
    return ids[name]


def _json(path: Path, otherwise: dict[str, Any] | None = None) -> dict[str, Any]:
    if otherwise is not None and not path.exists():
        return otherwise
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path} is missing or damaged: {error}.") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} is not that of a tokenizer.")
    return content
