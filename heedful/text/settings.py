"""What a tokenizer is made of: its kind, its size, its normalisation, and how it samples in training."""

from typing import Any, Literal

from pydantic import Field, model_validator

from heedful.settings import Settings
from heedful.text.normalization import Normalization
from heedful.text.special import MASK_TOKEN, SPECIAL_TOKENS

Kind = Literal["bpe", "byte-bpe", "wordpiece", "unigram", "characters", "words", "symbols"]

# Kinds whose model can spell what it does not know as UTF-8 bytes; the others say <unk>.
_SPELLS_BYTES = ("bpe", "unigram", "characters")


class TokenizerSettings(Settings):
    """How text becomes a sequence of integers.

    Raises (through pydantic) on settings that contradict each other, one sentence each.
    """

    kind: Kind = Field(
        default="bpe",
        description="bpe (Sennrich 2016), byte-bpe (of bytes, Radford 2019), wordpiece (longest match first, Wu 2016), "
        "unigram (Kudo 2018), characters, words, or symbols (what stands between spaces, whatever it is: phonemes, "
        "actions)",
    )
    vocabulary_size: int = Field(
        default=10_000,  # joint BPE of Multi30k in the tiny-Transformer papers; large corpora use 32,000 to 37,000
        ge=len(SPECIAL_TOKENS) + 1,
        description="entries at most, special and byte tokens included; less where the text does not yield as many",
    )
    merges: int | None = Field(
        default=None,  # the vocabulary size is the budget that a model's memory depends on
        ge=0,
        description="bpe only: the number of merges, in place of vocabulary_size",
    )
    normalization: tuple[Normalization, ...] = Field(
        default=(),  # none: what comes out is spelt as what went in
        description="applied in the order given: nfc, nfkc, nfd (letters apart from their marks, Korean syllables "
        "into letters), lowercase, moses (punctuation normalisation and tokenisation, undone by the detokeniser on "
        "the way out), bert and bert-uncased (what models of that name read)",
    )
    byte_fallback: bool = Field(
        default=True,  # SentencePiece's byte_fallback; every Unicode string then survives the way there and back
        description="bpe, unigram, characters: spell an unknown character as its UTF-8 bytes (256 entries)",
    )
    split_digits: bool = Field(
        default=False,  # as in SentencePiece
        description="every digit is a word of its own, so that numbers are read digit by digit",
    )
    min_frequency: int = Field(
        default=2,  # subword-nmt
        ge=1,
        description="bpe and wordpiece: a pair, words and symbols: a word, seen less often does not become an entry",
    )
    mask: bool = Field(
        default=False,  # only masked language models use it
        description="a fifth special token, for words that a model shall guess",
    )
    dropout: float = Field(
        default=0.0,  # Provilkov 2020: 0.1, and 0.6 for Chinese and Japanese
        ge=0.0,
        le=1.0,
        description="in training only. bpe: the probability that a merge is dropped at each place (BPE-dropout); "
        "unigram: the probability that a word is segmented by sampling rather than by the best segmentation",
    )
    alpha: float = Field(
        default=0.2,  # SentencePiece names 0.1, 0.2 and 0.5 as typical
        gt=0.0,
        le=100.0,
        description="unigram: segmentations are sampled in proportion to P(x)^alpha; small is more varied",
    )
    joint: bool = Field(
        default=True,  # Vaswani 2017, section 5.1: one vocabulary for source and target
        description="one vocabulary for source and target, or one for each",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_bytes_by_default_where_impossible(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") in ("byte-bpe", "wordpiece", "words", "symbols"):
            return {"byte_fallback": False, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> "TokenizerSettings":
        if self.byte_fallback and self.kind not in _SPELLS_BYTES:
            raise ValueError(
                f"byte_fallback is not possible with kind={self.kind!r}; set it to false or use bpe"
            )
        if self.dropout > 0 and self.kind not in ("bpe", "byte-bpe", "unigram"):
            raise ValueError(
                f"dropout={self.dropout} needs kind 'bpe', 'byte-bpe' or 'unigram': a {self.kind!r} tokenizer has one "
                "segmentation only; set dropout to 0"
            )
        if self.merges is not None and self.kind != "bpe":
            raise ValueError(f"merges is for kind 'bpe'; with kind={self.kind!r} set vocabulary_size")
        if self.split_digits and self.kind == "byte-bpe":
            raise ValueError(
                "split_digits is not for kind 'byte-bpe', whose words are GPT-2's; set it to false"
            )
        if self.kind == "byte-bpe" and self.vocabulary_size < self.reserved + 256:
            raise ValueError(
                f"vocabulary_size={self.vocabulary_size} leaves no room for the 256 bytes of kind 'byte-bpe' beside "
                f"{self.reserved} special tokens; make it larger"
            )
        if len(set(self.normalization)) < len(self.normalization):
            raise ValueError(f"normalization names a step twice: {', '.join(self.normalization)}")
        if self.merges is None and self.vocabulary_size <= self.reserved:
            raise ValueError(
                f"vocabulary_size={self.vocabulary_size} leaves no room beside the {self.reserved} special and byte "
                "tokens; make it larger or set byte_fallback to false"
            )
        return self

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The special tokens of every vocabulary of these settings, its first entries."""
        return (*SPECIAL_TOKENS, MASK_TOKEN) if self.mask else SPECIAL_TOKENS

    @property
    def apart(self) -> bool:
        """Whether normalisation sets all words apart, so that nobody knows where spaces were."""
        return not {"moses", "bert", "bert-uncased"}.isdisjoint(self.normalization)

    @property
    def reserved(self) -> int:
        """Entries that every vocabulary of these settings starts with: special tokens, then bytes."""
        return len(self.special_tokens) + (256 if self.byte_fallback else 0)


class SidesSettings(TokenizerSettings):
    """The tokenizers of both sides: the settings themselves are those of the source, and of the target as well
    unless `target` says otherwise.

    Raises (through pydantic) for a target of its own in a vocabulary that both sides share.
    """

    target: TokenizerSettings | None = Field(
        default=None,  # translation: one language is segmented as the other
        description="settings of the target's tokenizer where they are others, such as characters on one side and "
        "symbols on the other; nothing is taken over from the source's",
    )

    @model_validator(mode="after")
    def _apart(self) -> "SidesSettings":
        if self.joint and self.target is not None:
            raise ValueError(
                "the target has a tokenizer of its own, so there are two vocabularies: set joint to false"
            )
        return self

    @property
    def sides(self) -> tuple[TokenizerSettings, TokenizerSettings]:
        """Of the source and of the target."""
        source = TokenizerSettings(**self.model_dump(exclude={"target"}))
        return source, self.target or source

    @property
    def sampling(self) -> bool:
        """Whether a side is segmented anew in each epoch."""
        return any(side.dropout > 0 for side in self.sides)
