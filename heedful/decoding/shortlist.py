"""A vocabulary shortlist: the target tokens that a source sentence can lead to.

The output layer multiplies one row of its matrix for each entry of the target vocabulary, although a sentence of
15 tokens leads to some hundred of them. A shortlist holds for each source token its most probable translations, and
a few target tokens that every sentence may need. Its translation is made of the union V' of these; the model's
probabilities are those over V' (Jean et al. 2015, "On using very large target vocabulary for neural machine
translation", section 3.2; L'Hostis et al. 2016, "Vocabulary selection strategies for neural machine translation"):

    P(y | Y<t, X)  =  exp(logit(y)) / sum over y' in V' of exp(logit(y'))        for y in V', else 0

Marian calls it `--shortlist`, CTranslate2 `vmap`.

    shortlist = Shortlist.load("model/shortlist.safetensors")
    tokens = shortlist.tokens(source)                     ->  tensor([2, 3, 17, 20, ...]), sorted
    logits = hidden @ output.weight[tokens].T             ->  the best of a row is tokens[logits.argmax(-1)]

It is an approximation: a translation that needs a token outside V' cannot be found. Marian and CTranslate2 give a
batch the union of its sentences' lists, half of a small vocabulary at 64 sentences; heedful's search gives each
sentence its own, so that a translation does not depend on its neighbours.

What it does not do: learn which translations are probable (heedful.tasks.shortlisting), or search.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from heedful.durable import replacing
from heedful.errors import ModelFolderError
from heedful.text.special import END, PAD, UNKNOWN

FORMAT = 1
_ENTRY = "heedful shortlist"  # of the file's metadata
FREQUENT = 100
"""Target tokens that every list has, unless told otherwise; see benchmarks/RESULTS.md for the coverage."""
TRANSLATIONS = 50
"""Translations of each source token, unless told otherwise."""


class Shortlist:
    """Which target tokens a source can lead to.

    frequent: (k,) target ids that are always allowed; END and UNKNOWN are put among them
    lists: (source_vocabulary, n) target ids, the translations of each source token; rows of unequal lengths are
        filled up with any id that is in `frequent`, such as END
    target_vocabulary: entries of the target tokenizer
    tokenizers: fingerprints of the tokenizers whose ids these are, by file name

    Raises ValueError for ids outside the vocabulary.
    """

    def __init__(
        self,
        frequent: Sequence[int] | np.ndarray,
        lists: np.ndarray,
        target_vocabulary: int,
        tokenizers: Mapping[str, str] | None = None,
    ) -> None:
        lists = np.asarray(lists)
        if lists.ndim != 2:
            raise ValueError(f"lists must be (source_vocabulary, n), not of shape {lists.shape}")
        always = np.union1d(np.asarray(frequent, dtype=np.int64), [END, UNKNOWN])
        for name, ids in (("frequent", always), ("lists", lists)):
            if ids.size and not 0 <= ids.min() <= ids.max() < target_vocabulary:
                raise ValueError(f"{name} has an id outside the target vocabulary of {target_vocabulary}")
        self.target_vocabulary = target_vocabulary
        self.tokenizers = dict(tokenizers or {})
        # In numpy's own type of an index: it would convert any other at each use.
        self._lists = np.ascontiguousarray(lists, dtype=np.intp)
        self._always = np.zeros(target_vocabulary, dtype=bool)
        self._always[always] = True

    @property
    def frequent(self) -> Tensor:
        """The ids that are always allowed, ascending: (k,)."""
        return torch.from_numpy(np.flatnonzero(self._always))

    @property
    def source_vocabulary(self) -> int:
        """Entries of the source tokenizer."""
        return len(self._lists)

    @property
    def translations(self) -> int:
        """How many translations a source token has at most."""
        return self._lists.shape[1]

    def __repr__(self) -> str:
        return (
            f"Shortlist({len(self.frequent)} frequent tokens, {self.translations} translations each of "
            f"{self.source_vocabulary:,} source tokens)"
        )

    def tokens(self, source: Tensor, also: Sequence[int] = ()) -> Tensor:
        """Give the tokens that a batch may use: (tokens,), ascending, on the device of `source`.

        source: (batch, source_length) ids, END and PAD among them
        also: more ids to allow, such as those of the prefixes that translations must begin with
        """
        present = np.zeros(self.source_vocabulary, dtype=bool)
        present[source.cpu().numpy()] = True
        present[PAD] = False
        allowed = self._always.copy()
        allowed[self._lists.take(np.flatnonzero(present), axis=0)] = True
        if len(also):
            allowed[list(also)] = True
        return torch.from_numpy(np.flatnonzero(allowed)).to(source.device)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, in place of one that is there. Raises ModelFolderError."""
        path = Path(path)
        tensors = {
            "frequent": self.frequent.numpy().astype(np.int32),
            "lists": self._lists.astype(np.int32),
        }
        described = {
            "format": FORMAT,
            "target_vocabulary": self.target_vocabulary,
            "tokenizers": self.tokenizers,
        }
        # One entry, because safetensors writes several in an order that differs from time to time.
        metadata = {_ENTRY: json.dumps(described, sort_keys=True)}
        try:
            with replacing(path) as writing:
                save_file(tensors, writing, metadata=metadata)
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ModelFolderError(f"{path} cannot be written: {reason}.") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; runs no code.

        Raises ModelFolderError for a file that is missing, damaged or something else.
        """
        path = Path(path)
        try:
            with safe_open(path, framework="numpy") as file:
                described = json.loads((file.metadata() or {}).get(_ENTRY, "{}"))
                if described.get("format") != FORMAT:
                    raise ModelFolderError(
                        f"{path} is not a shortlist that this version reads (its format is "
                        f"{described.get('format')!r}, expected {FORMAT}); learn it again with `heedful shortlist`."
                    )
                frequent, lists = file.get_tensor("frequent"), file.get_tensor("lists")
            if {frequent.dtype, lists.dtype} != {np.dtype(np.int32)} or frequent.ndim != 1:
                raise ValueError("'frequent' and 'lists' must hold 32-bit integers")
            size, tokenizers = int(described["target_vocabulary"]), dict(described["tokenizers"])
            if not 0 < size < 2**31:  # before memory is asked for
                raise ValueError(f"a target vocabulary of {size}")
            return cls(frequent, lists, size, tokenizers)
        except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelFolderError(
                f"{path} is damaged or cut short ({error}); learn it again with `heedful shortlist`."
            ) from error
