"""Raw text in, raw text out: tokenizers, model and search together.

    translator = load("runs/multi30k-en-de")
    translator.translate(["A man rides a horse."])                  ->  ["Ein Mann reitet ein Pferd."]
    for answer in translator.stream(sys.stdin, search=SearchSettings(n_best=4)): ...

What comes out does not depend on how texts are put into batches, and keeps their order. Nothing is cut silently: a
text longer than the model reads is translated in pieces or refused, and an answer says when it was cut.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor

from heedful import decoding
from heedful.decoding import Hypothesis, SearchSettings
from heedful.decoding.shortlist import Shortlist
from heedful.errors import DataError, HeedfulError
from heedful.inference import Precision
from heedful.machine import resolve_device
from heedful.models.face import SequenceToSequence
from heedful.tasks.alignment import (
    AlignmentSettings,
    AttentionMap,
    Method,
    align_words,
    cross_attention,
    step_attention,
    words_of_tokens,
)
from heedful.tasks.answer import Answer, Candidate
from heedful.tasks.engine import Engine, EngineKind
from heedful.tasks.pieces import Part, check_length, parts_of
from heedful.tasks.several import several
from heedful.tasks.translation_folder import load_parts
from heedful.text.special import END, PAD, SPECIAL_TOKENS
from heedful.text.tokenizer import Tokenizer

BATCH_TOKENS = 4096
# Its products gain nothing from more rows, and its threads want a batch each.
LEAN_BATCH_TOKENS = 1024
WINDOW = 4096  # enough lines for full batches of equal lengths


class Options(TypedDict, total=False):
    """What a translation can be asked; see `Translator.answers`."""

    search: SearchSettings | None
    batch_tokens: int | None
    long: Literal["split", "refuse"]
    alignment: AlignmentSettings | None
    progress: Callable[[int], object] | None


def load(
    path: str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    engine: EngineKind = "auto",
    precision: Precision = "float32",
    shortlist: bool = False,
) -> "Translator":
    """Load a model folder, or the model of a run folder, ready to translate.

    device: "cpu", "cuda", "cuda:1", ...; "auto" is the GPU where there is one
    threads: how many compute on a CPU, in the whole process; left as it is when None
    engine, precision: see `heedful.tasks.engine.Engine`
    shortlist: only the target tokens that the folder's shortlist has for a source, see `heedful shortlist`

    Raises ModelFolderError for a folder that is missing, damaged, or something else, and for a shortlist that it has
    not; HeedfulError for an engine that cannot be had here.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    device = resolve_device(device)
    parts = load_parts(path)
    config = parts.config
    return Translator(
        parts.model.to(device),
        parts.source_tokenizer,
        parts.target_tokenizer,
        languages=(config.source_language, config.target_language),
        search=config.search,
        trained=config.trained,
        engine=Engine(engine, precision),
        shortlist=parts.shortlist() if shortlist else None,
    )


class Translator:
    """A model with its tokenizers.

    languages: codes of source and target, where known
    search: used when nothing else is asked for
    trained: what the model folder tells of the training, scores among it
    engine: what computes the steps of the search; the fastest that is exact when None
    shortlist: which target tokens a source can lead to; all when None
    """

    def __init__(
        self,
        model: SequenceToSequence,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        *,
        languages: tuple[str | None, str | None] = (None, None),
        search: SearchSettings | None = None,
        trained: Mapping[str, Any] | None = None,
        engine: Engine | None = None,
        shortlist: Shortlist | None = None,
    ) -> None:
        self.model = model
        self.engine, self.shortlist = engine or Engine(), shortlist
        self.source_tokenizer, self.target_tokenizer = source_tokenizer, target_tokenizer
        self.languages = languages
        self.search = search or SearchSettings()
        self.trained = dict(trained or {})

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def translate(
        self, texts: Sequence[str], *, prefixes: Sequence[str] | None = None, **options: Unpack[Options]
    ) -> list[str]:
        """Give the best translation of each text; takes what `answers` takes."""
        several(texts, "translate")
        return [answer.text for answer in self.answers(texts, prefixes=prefixes, **options)]

    def stream(
        self,
        lines: Iterable[str],
        *,
        prefixes: Iterable[str] | None = None,
        window: int = WINDOW,
        **options: Unpack[Options],
    ) -> Iterator[Answer]:
        """Give the answer to each of any number of lines, in order, in bounded memory; takes what `answers` takes.

        window: how many lines are read and translated before the first answer to them is given; 1 answers at once
        """
        # A file gives its lines with their ends.
        lines = (line.rstrip("\r\n") for line in lines)
        starts = None if prefixes is None else (prefix.rstrip("\r\n") for prefix in prefixes)
        done = 0
        while texts := list(islice(lines, window)):
            begun = None if starts is None else list(islice(starts, len(texts)))
            yield from self._answers(texts, done, begun, **options)
            done += len(texts)
        if starts is not None and next(starts, None) is not None:
            raise DataError(
                f"There are more prefixes than the {done:,} lines: give one for each, or an empty one."
            )

    def answers(
        self, texts: Sequence[str], *, prefixes: Sequence[str] | None = None, **options: Unpack[Options]
    ) -> list[Answer]:
        """Give the answer to each text: n-best translations with scores.

        prefixes: for each text what its translations must begin with, possibly nothing
        search: the translator's own when None
        batch_tokens: how many source tokens, padding included, are translated at once; a longer text is alone; when
            None as many as suit the engine
        long: what to do with a text longer than the model reads: "split" translates it in pieces (at ends of
            sentences where possible; the translations are joined by spaces), "refuse" raises DataError
        alignment: align words, as the settings say
        progress: called after each batch with the number of texts done since the last call

        A text of nothing but white space has no translation (""). Raises DataError, with the number of the line,
        for a text or prefix that is too long, and for unequal numbers of texts and prefixes.
        """
        return self._answers(texts, 0, prefixes, **options)

    def _answers(
        self,
        texts: Sequence[str],
        before: int,
        prefixes: Sequence[str] | None,
        search: SearchSettings | None = None,
        batch_tokens: int | None = None,
        long: Literal["split", "refuse"] = "split",
        alignment: AlignmentSettings | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> list[Answer]:
        """`answers`, to texts that come after `before` others."""
        tokenizers = self.source_tokenizer, self.target_tokenizer
        parts = parts_of(texts, prefixes, tokenizers, self.model.maximum_length, long=long, before=before)
        if progress is not None:
            progress(len(texts) - sum(part.first for part in parts))  # the empty ones
        with self._ready():
            found = self._search(parts, search or self.search, batch_tokens, progress)
            weights = None
            if alignment is not None:
                weights = self._weights(parts, found, alignment, batch_tokens or BATCH_TOKENS)
        places: list[list[int]] = [[] for _ in texts]
        for place, part in enumerate(parts):
            places[part.text].append(place)
        return [
            self._answer(
                before + index + 1,
                text,
                [parts[place].ids for place in mine],
                [found[place] for place in mine],
                None if weights is None else [weights[place] for place in mine],
            )
            for index, (text, mine) in enumerate(zip(texts, places, strict=True))
        ]

    def score(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        batch_tokens: int = BATCH_TOKENS,
        before: int = 0,
    ) -> list[float]:
        """Give log P(target | source) of each pair of texts.

        before: how many lines went before, for messages

        Raises DataError for unequal numbers of texts, and for one that is longer than the model reads or writes.
        """
        if len(sources) != len(targets):
            raise DataError(
                f"{len(sources):,} sources but {len(targets):,} targets: there must be one for each."
            )
        source_ids = self.source_tokenizer.encode_batch(sources)
        target_ids = self.target_tokenizer.encode_batch(targets)
        maximum = self.model.maximum_length
        for number, pair in enumerate(zip(source_ids, target_ids, strict=True), start=before + 1):
            for side, ids in zip(("source", "target"), pair, strict=True):
                check_length(f"Line {number:,}: the {side}", ids, maximum)
        lengths = [max(map(len, pair)) + 1 for pair in zip(source_ids, target_ids, strict=True)]
        scores = [0.0] * len(sources)
        with self._ready():
            for batch in _batches(lengths, batch_tokens):
                source = self._padded([[*source_ids[place], END] for place in batch])
                target = self._padded([[*target_ids[place], END] for place in batch])
                totals = decoding.score(self.model, source, target).total.tolist()
                for place, total in zip(batch, totals, strict=True):
                    scores[place] = total
        return scores

    def attention(
        self,
        source: str,
        target: str | None = None,
        *,
        layer: int | None = None,
        head: int | None = None,
        method: Method = "plain",
    ) -> AttentionMap:
        """Give what each token of a translation attends to in the source, for pictures.

        target: the translation; the model's own when None
        layer: of the decoder, from 0; the penultimate when None
        head: from 0; the mean of all when None
        method: attention of the position that reads a token (shift), or that predicts it (plain)
        """
        ids = self.source_tokenizer.encode(source)
        check_length("The source", ids, self.model.maximum_length)
        with self._ready():
            if target is None:
                part = Part(text=0, ids=ids)
                ((best, *_),) = self._search([part], self.search, None, None)
                said = list(best.tokens)
            else:
                said = self.target_tokenizer.encode(target)
                check_length("The target", said, self.model.maximum_length)
            settings = AlignmentSettings(method=method, layer="penultimate" if layer is None else layer)
            source_ids, target_ids = self._padded([[*ids, END]]), self._padded([said])
            weights = cross_attention(self.model, source_ids, target_ids, settings)[0]
        if head is not None and not 0 <= head < len(weights):
            raise HeedfulError(f"There is no head {head}: the layer has {len(weights)}, counted from 0.")
        return AttentionMap(
            weights=(weights.mean(0) if head is None else weights[head]).cpu(),
            source_pieces=(*self.source_tokenizer.pieces(ids), SPECIAL_TOKENS[END]),
            target_pieces=tuple(self.target_tokenizer.pieces(said[: weights.shape[1]])),
        )

    # From parts to hypotheses

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The model as it translates: without dropout and gradients, in its own precision; then as it was before."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                yield
        finally:
            self.model.train(training)

    def _search(
        self,
        parts: Sequence[Part],
        settings: SearchSettings,
        batch_tokens: int | None,
        progress: Callable[[int], object] | None,
    ) -> list[list[Hypothesis]]:
        """Give the hypotheses for each part, its batches shared out to as many threads as the engine uses."""
        model, workers = self.engine.of(self.model, watched=bool(settings.coverage_penalty))
        tokens = batch_tokens or (BATCH_TOKENS if model is self.model else LEAN_BATCH_TOKENS)

        def answers(batch: list[int]) -> list[list[Hypothesis]]:
            mine = [parts[place] for place in batch]
            source = self._padded([[*part.ids, END] for part in mine])
            watched = (
                step_attention(self.model, source.shape[1]) if settings.coverage_penalty else nullcontext()
            )
            with watched as attention:
                return decoding.search(
                    model,
                    source,
                    settings,
                    prefixes=[part.prefix for part in mine],
                    numbers=[part.number for part in mine],
                    attention=attention,
                    among=self._among(source, mine),
                )

        found: list[list[Hypothesis]] = [[] for _ in parts]
        batches = list(_batches([len(part.ids) + 1 for part in parts], tokens))
        with _mapping(min(workers, len(batches))) as mapped:
            for batch, answer in zip(batches, mapped(answers, batches), strict=True):
                for place, hypotheses in zip(batch, answer, strict=True):
                    found[place] = hypotheses
                if progress is not None:
                    progress(sum(parts[place].first for place in batch))
        return found

    def _among(self, source: Tensor, parts: Sequence[Part]) -> list[Tensor] | None:
        """Give the tokens of the shortlist for each part, those that its translation must begin with among them."""
        if self.shortlist is None:
            return None
        return [
            self.shortlist.tokens(row, also=part.prefix)
            for row, part in zip(source.split(1), parts, strict=True)
        ]

    def _weights(
        self,
        parts: Sequence[Part],
        found: Sequence[Sequence[Hypothesis]],
        settings: AlignmentSettings,
        batch_tokens: int,
    ) -> list[list[Tensor]]:
        """For each part and hypothesis the weights (target_length, source_length), those of END left out."""
        # Zeros stay where cross_attention has no row.
        weights = [
            [torch.zeros(len(hypothesis.tokens), len(part.ids)) for hypothesis in hypotheses]
            for part, hypotheses in zip(parts, found, strict=True)
        ]
        rows = [
            (place, rank)
            for place, hypotheses in enumerate(found)
            for rank, hypothesis in enumerate(hypotheses)
            if hypothesis.tokens
        ]
        pairs = [(parts[place].ids, found[place][rank].tokens) for place, rank in rows]
        for batch in _batches([max(map(len, pair)) + 1 for pair in pairs], batch_tokens):
            source = self._padded([[*pairs[row][0], END] for row in batch])
            target = self._padded([pairs[row][1] for row in batch])
            means = cross_attention(self.model, source, target, settings).mean(1).cpu()
            for row, mean in zip(batch, means, strict=True):
                place, rank = rows[row]
                mine = weights[place][rank]
                mine[: len(mean)] = mean[: mine.shape[0], : mine.shape[1]]
        return weights

    def _padded(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Ids of different lengths as one tensor (rows, longest), padded with PAD on the right."""
        longest = max(map(len, rows))
        padded = [[*row, *[PAD] * (longest - len(row))] for row in rows]
        return torch.tensor(padded, dtype=torch.long, device=self.device)

    # From hypotheses to answers

    def _answer(
        self,
        number: int,
        text: str,
        sources: list[list[int]],
        found: list[list[Hypothesis]],
        weights: list[list[Tensor]] | None,
    ) -> Answer:
        """Put together what was found for the parts of a text: the j-th best of each are its j-th best."""
        source = [token for ids in sources for token in ids]
        source_words = [] if weights is None else words_of_tokens(self.source_tokenizer, source, text)
        candidates: list[Candidate] = []
        for rank in range(min(map(len, found), default=0)):
            chosen = [hypotheses[rank] for hypotheses in found]
            tokens = [token for hypothesis in chosen for token in hypothesis.tokens]
            texts = (self.target_tokenizer.decode(hypothesis.tokens) for hypothesis in chosen)
            translation = " ".join(filter(None, texts))
            alignment = None
            if weights is not None:
                target_words = words_of_tokens(self.target_tokenizer, tokens, translation)
                matrices = [matrix[rank] for matrix in weights]
                alignment = align_words(matrices, source_words, target_words)
            candidates.append(
                Candidate(
                    text=translation,
                    pieces=tuple(self.target_tokenizer.pieces(tokens)),
                    score=sum(hypothesis.score for hypothesis in chosen),
                    log_probability=sum(hypothesis.log_probability for hypothesis in chosen),
                    token_log_probabilities=tuple(
                        value for hypothesis in chosen for value in hypothesis.token_log_probabilities
                    ),
                    finished=all(hypothesis.finished for hypothesis in chosen),
                    alignment=alignment,
                )
            )
        return Answer(
            number=number,
            source=text,
            source_pieces=tuple(self.source_tokenizer.pieces(source)),
            parts=len(sources),
            candidates=tuple(candidates),
        )


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, on so many threads; where it is left early, what has not begun never does."""
    if workers <= 1:
        yield map
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="heedful-search")
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Groups of places whose padded size is at most `tokens`, or one alone; the longest first, so that memory that
    does not suffice shows at once.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        # The first of a batch is its longest.
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
