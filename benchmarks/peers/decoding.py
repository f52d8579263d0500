"""The sides of a comparison of decoders, each in a process of its own that waits until it is told to translate.

One process a side, because the libraries bring an OpenMP each: threads of one that still spin after its work would take
the processor from the next. Every process has the allocator's settings of `heedful.machine.prepare`, and from its start
OMP_NUM_THREADS as its side has threads within a batch.

    side                threads, of N                                  decodes
    plain               N within a batch                               heedful.decoding.search, the model in PyTorch
    lean float32, int8  N batches at once, each on one thread          the same search, heedful.inference
    CTranslate2         N batches at once (inter x intra = N x 1), or  Translator.translate_batch, asynchronous
                        N within a batch (1 x N)
    Hugging Face        N within a batch                               MarianMTModel.generate, PyTorch's SDPA

A side is given lists of token ids and gives lists of token ids. Its clock runs from the lists (for CTranslate2: from
strings, which are what it takes) to the best answers, with all that is in between: padding, batches, the search.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from heedful import decoding
from heedful.decoding import SearchSettings
from heedful.machine import prepare
from heedful.models import TransformerSettings
from heedful.tasks import load_parts
from heedful.text.special import PAD

Batch = list[list[int]]
"""Sentences to be translated at once: source ids ending in END, not padded. As an answer: ids without END."""

Engine = Literal["plain", "lean", "ctranslate2", "hugging face"]
Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


@dataclass(frozen=True)
class Side:
    """A decoder, its precision and its threads."""

    engine: Engine
    precision: Precision
    at_once: int
    """Batches that are translated at the same time."""

    within: int
    """Threads that share a batch."""

    @property
    def name(self) -> str:
        title = {"plain": "heedful plain", "lean": "heedful lean", "ctranslate2": "CTranslate2"}
        return f"{title.get(self.engine, 'Hugging Face')} {self.precision}, {self.at_once} x {self.within}"

    @property
    def clock(self) -> Callable[[], float]:
        # One thread: the processor's time, which other work on the machine disturbs less than the clock on the wall.
        return time.process_time if self.at_once * self.within == 1 else time.perf_counter


@dataclass(frozen=True)
class Search:
    """What is searched for."""

    beam: int
    steps: int | None = None
    """The answer has exactly so many tokens, none of which before the last may be END; None: as many as it wants."""

    alpha: float = 1.0
    """A score is divided by the answer's length to this power."""

    stopping: Literal["count", "bound"] = "count"
    """When heedful ends a beam search. CTranslate2 ends it by "count" only: when `beam` hypotheses have ended."""

    shortlist: bool = False
    """Only the target tokens that a shortlist has: of each sentence for heedful, of a batch for CTranslate2."""


@dataclass(frozen=True)
class Models:
    """Where the same model lies for every side."""

    heedful: Path
    """A model folder of heedful."""

    ctranslate2: Path


def lean_is_there() -> bool:
    try:
        from heedful.inference import LeanTransformer  # noqa: F401
    except ImportError:
        return False
    return True


def sides(threads: int, engines: Sequence[Engine]) -> list[Side]:
    """All sides of these engines on this number of threads; CTranslate2 in every sensible division of them."""
    found = [Side("plain", "float32", 1, threads)]
    if lean_is_there():
        found += [Side("lean", precision, threads, 1) for precision in PRECISIONS]
    for precision in PRECISIONS:
        found.append(Side("ctranslate2", precision, threads, 1))
        if threads > 1:
            found.append(Side("ctranslate2", precision, 1, threads))
    found.append(Side("hugging face", "float32", 1, threads))
    return [side for side in found if side.engine in engines]


class Worker:
    """A side in its process."""

    def __init__(self, side: Side, models: Models) -> None:
        self.side = side
        self._own, theirs = multiprocessing.Pipe()
        # Spawned: a forked process would have this one's libraries and threads.
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(side, models, theirs), daemon=True)
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(side.within)
        self._process.start()
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
        theirs.close()

    def translate(self, batches: list[Batch], search: Search) -> tuple[list[Batch], float]:
        """Give the answers and the seconds that they took."""
        self._own.send((batches, search))
        try:
            return self._own.recv()
        except EOFError:
            self._process.join()
            raise SystemExit(f"{self.side.name} has ended, with status {self._process.exitcode}") from None

    def close(self) -> None:
        self._own.send(None)
        self._process.join()


def _serve(side: Side, models: Models, connection: Connection) -> None:
    """The life of a side: translate what comes, until nothing comes any more."""
    prepare()
    decoder = {"ctranslate2": _CTranslate2, "hugging face": _HuggingFace}.get(side.engine, _Heedful)(
        side, models
    )
    while (order := connection.recv()) is not None:
        connection.send(decoder(*order))


class _Heedful:
    """`heedful.decoding.search`, with the model in PyTorch or laid out for the lean library."""

    def __init__(self, side: Side, models: Models) -> None:
        torch.set_num_threads(side.within)
        self.clock = side.clock
        self.parts = load_parts(models.heedful)
        self.model: Any = self.parts.model
        if side.engine == "lean":
            from heedful.inference import LeanTransformer

            self.model = LeanTransformer(self.model, precision=side.precision)
        self.pool = ThreadPoolExecutor(side.at_once) if side.at_once > 1 else None

    def __call__(self, batches: list[Batch], search: Search) -> tuple[list[Batch], float]:
        limit = {}
        if search.steps is not None:
            limit = {
                "minimum_length": search.steps,
                "maximum_length_factor": 0.0,
                "maximum_length_add": search.steps,
            }
        settings = SearchSettings(
            beam=search.beam,
            length_penalty="average",
            alpha=search.alpha,
            stopping=search.stopping,
            **limit,
        )

        lists = self.parts.shortlist() if search.shortlist else None

        def translate(batch: Batch) -> Batch:
            among = None if lists is None else [lists.tokens(torch.tensor(line)) for line in batch]
            answers = decoding.search(self.model, _padded(batch), settings, among=among)
            return [list(best.tokens) for best, *_ in answers]

        begun = self.clock()
        found = list((self.pool.map if self.pool else map)(translate, batches))
        return found, self.clock() - begun


class _CTranslate2:
    """CTranslate2, whose queue hands batches to its workers."""

    def __init__(self, side: Side, models: Models) -> None:
        import ctranslate2

        self.clock = side.clock
        self.translator = ctranslate2.Translator(
            str(models.ctranslate2),
            compute_type=side.precision,
            inter_threads=side.at_once,
            intra_threads=side.within,
        )
        from peers.conversion import names

        self.names = names(load_parts(models.heedful).config.target_vocabulary)
        self.ids = {name: number for number, name in enumerate(self.names)}

    def __call__(self, batches: list[Batch], search: Search) -> tuple[list[Batch], float]:
        limit = {}
        if search.steps is not None:
            limit = {"min_decoding_length": search.steps, "max_decoding_length": search.steps}
        named = [[[self.names[token] for token in line] for line in batch] for batch in batches]
        begun = self.clock()
        waiting = [
            self.translator.translate_batch(
                batch,
                beam_size=search.beam,
                length_penalty=search.alpha,
                disable_unk=True,
                use_vmap=search.shortlist,
                asynchronous=True,
                **limit,
            )
            for batch in named
        ]
        found = [[answer.result().hypotheses[0] for answer in batch] for batch in waiting]
        seconds = self.clock() - begun
        return [[[self.ids[name] for name in line] for line in batch] for batch in found], seconds


class _HuggingFace:
    """`generate` of a MarianMTModel of the same dimensions; its weights are random (see conversion.py)."""

    def __init__(self, side: Side, models: Models) -> None:
        import torch

        from peers.conversion import marian

        torch.set_num_threads(side.within)
        self.clock = side.clock
        torch.manual_seed(0)
        config = load_parts(models.heedful).config
        if not isinstance(config.model, TransformerSettings):
            raise SystemExit(f"{models.heedful} is not a Transformer with encoder and decoder")
        self.model = marian(config.model, config.target_vocabulary)

    def __call__(self, batches: list[Batch], search: Search) -> tuple[list[Batch], float]:
        if search.steps is None:
            raise ValueError("a model with random weights ends nowhere: give a number of steps")
        options = {
            "num_beams": search.beam,
            "do_sample": False,
            "min_new_tokens": search.steps,
            "max_new_tokens": search.steps,
        }
        found: list[Batch] = []
        begun = self.clock()
        with torch.inference_mode():
            for batch in batches:
                source = _padded(batch)
                answers: Tensor = self.model.generate(
                    source, attention_mask=(source != PAD).long(), **options
                )
                found.append(answers[:, 1:].tolist())
        return found, self.clock() - begun


def _padded(batch: Batch) -> Tensor:
    """The ids as a LongTensor (sentences, longest), padded with PAD on the right."""
    longest = max(map(len, batch))
    return torch.tensor([line + [PAD] * (longest - len(line)) for line in batch])
