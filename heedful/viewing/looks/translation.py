"""Looking into translation: source and target, and who attends to whom on the way from one to the other.

A decoder reads `<s>` y_1 ... y_T and predicts y_1 ... y_T `</s>`: its position t reads one token and predicts the next.
So there are two names for the same positions, and two axes:

    target     what each position predicts: the rows of cross-attention and of the decoder's self-attention
    read       what each position reads: the columns of the decoder's self-attention

and a row tells what was looked at when its token was about to be written. With `rows="reading"` rows are called by what
they read. A decoder-only model reads source and target as one sequence; its axis "sequence" has both, by what is read.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from heedful import decoding
from heedful.attention import Step, observe
from heedful.attention.observe import Seen
from heedful.errors import HeedfulError
from heedful.models import DecoderOnlyTransformer, SequenceToSequence, Transformer
from heedful.tasks.alignment import step_attention
from heedful.tasks.pieces import check_length
from heedful.tasks.translator import Translator
from heedful.text.special import END, START
from heedful.viewing.looks import tokens
from heedful.viewing.looks.examples import name_of, sentence
from heedful.viewing.looks.maps import Place, maps_of, steps_of
from heedful.viewing.looks.opened import Ask, Opened, evaluating, run_of
from heedful.viewing.looks.part import part
from heedful.viewing.scene import AttentionMap, Axis, Run, Scene

Rows = Literal["predicting", "reading"]

_NOTHING = (
    "This model ({}) has no attention, so there is nothing to look at: what it knows of the source reaches each word "
    "the same way."
)


class OpenTranslator(Opened):
    """A translation model, open to be looked into."""

    task = "translation"
    writes = True

    def __init__(self, model: Translator) -> None:
        self.model, self.network = model, model.model
        source, target = map(name_of, model.languages)
        self.title = f"{source} to {target}" if source and target else "Sequence to sequence"
        example = sentence(model.languages[0])
        self.asks = (
            Ask("source", source or "Source", example=example),
            Ask("target", target or "Target", optional=True),
        )

    def _look(self, texts: dict[str, str], rows: Rows = "predicting", **_: Any) -> Scene:
        """rows: whether rows are called by what their positions predict or by what they read."""
        model, network = self.model, self.network
        if not network.source_attention():
            raise HeedfulError(_NOTHING.format(type(network).__name__))
        ids = model.source_tokenizer.encode(texts["source"])
        check_length("The source", ids, network.maximum_length)
        said, finished = self._said(ids, texts["target"])
        pair = _Pair([*ids, END], [START, *said][: network.maximum_length], [*said, END])
        source, target = pair.tensors(model.device)
        with torch.no_grad(), evaluating(network), observe(network) as seen:
            logits = network(source, target)[0].float().log_softmax(-1)
        answer = model.target_tokenizer.decode(said)
        chances = logits[range(len(pair.predicted)), pair.predicted].tolist()
        made = (_of_one_stack if isinstance(network, DecoderOnlyTransformer) else _of_two)(
            network, seen, pair, rows
        )
        return Scene(
            model=self.title,
            texts=texts,
            axes=self._axes(texts["source"], answer, pair, made),
            answer=answer,
            facts={
                "taken": [tokens.shown(model.target_tokenizer, token) for token in made.outputs[1]],
                "log_probability": sum(chances),
                "probabilities": [math.exp(chance) for chance in chances],
                "forced": bool(texts["target"].strip()),
                "finished": finished,
            },
            **vars(made),
        )

    def _said(self, ids: list[int], target: str) -> tuple[list[int], bool]:
        """Give the tokens of the target, those that the search finds where none is given, and whether it ended."""
        model = self.model
        if target.strip():
            said = model.target_tokenizer.encode(target)
            check_length("The target", said, self.network.maximum_length)
            return said, True
        # By the model itself: for one sentence it does not pay to lay it out for a faster engine.
        settings, source = model.search, torch.tensor([[*ids, END]], device=model.device)
        among = None if model.shortlist is None else [model.shortlist.tokens(source)]
        coverage = (
            step_attention(self.network, source.shape[1]) if settings.coverage_penalty else nullcontext()
        )
        with torch.no_grad(), evaluating(self.network), coverage as attention:
            ((best, *_),) = decoding.search(self.network, source, settings, attention=attention, among=among)
        return list(best.tokens), best.finished

    def _axes(self, source: str, target: str, pair: "_Pair", made: "_Made") -> dict[str, Axis]:
        """Give the axes that maps and inputs have, and those of source and target."""
        read_by, written_by = self.model.source_tokenizer, self.model.target_tokenizer
        sources = tokens.of_text(read_by, pair.source, source)
        predicted = tokens.of_text(written_by, pair.predicted, target)
        read = tokens.of_text(written_by, pair.read, target)
        after = tokens.later(read, tokens.count_words(sources))
        every = {
            "source": Axis("source", self.asks[0].title, tuple(sources)),
            "target": Axis("target", self.asks[1].title, tuple(predicted)),
            "read": Axis("read", f"{self.asks[1].title}, read so far", tuple(read)),
            "sequence": Axis("sequence", "Source and target", (*sources, *after)),
        }
        used = {
            "source",
            "target",
            *made.inputs,
            *(name for one in made.maps for name in (one.queries, one.keys)),
        }
        return {name: axis for name, axis in every.items() if name in used}


@dataclass(frozen=True)
class _Pair:
    """Tokens of the source with its end; what the decoder reads at each position, and what it predicts there."""

    source: list[int]
    read: list[int]
    written: list[int]

    @property
    def predicted(self) -> list[int]:
        return self.written[: len(self.read)]

    @property
    def together(self) -> list[int]:
        return [*self.source, *self.read]

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.tensor([self.source], device=device), torch.tensor([self.read], device=device)


@dataclass(frozen=True)
class _Made:
    """What a scene has of a pass, by the names that it has there."""

    maps: list[AttentionMap]
    steps: list[Step]
    run: Run
    inputs: dict[str, nn.Module]
    outputs: tuple[str, list[int]]


def _of_two(network: SequenceToSequence, seen: Seen, pair: _Pair, rows: Rows) -> _Made:
    """Encoder and decoder."""
    asking = "target" if rows == "predicting" else "read"

    def place(name: str) -> Place:
        if name in network.source_attention():
            return "cross", asking, "source"
        return ("encoder", "source", "source") if name.startswith("encoder") else ("decoder", asking, "read")

    maps = maps_of(network, seen, place)
    # The vectors of a position are one stream, called by what it reads.
    steps = steps_of(maps, lambda axis: "read" if axis == "target" else axis)
    source, target = pair.tensors(network.output.weight.device)
    parts = (
        ("source_embedding", "source"),
        ("source_words", "source"),
        ("target_embedding", "read"),
        ("target_words", "read"),
    )
    return _Made(
        maps,
        steps if isinstance(network, Transformer) else [],
        run_of(network, lambda some: network.output(network.features(source, target)[0, some])),
        {axis: getattr(network, name) for name, axis in parts if hasattr(network, name)},
        ("target", pair.predicted),
    )


def _of_one_stack(network: DecoderOnlyTransformer, seen: Seen, pair: _Pair, rows: Rows) -> _Made:
    """One stack for both: whole, and as cross-attention what the target has on the source."""
    maps = maps_of(network, seen, lambda _: ("decoder", "sequence", "sequence"))
    steps = steps_of(maps)
    first, whole = len(pair.source), len(pair.together)
    asking = "target" if rows == "predicting" else "read"
    for one in list(maps):
        across = part(one.record, [slice(first, whole)], slice(0, first))
        maps.append(AttentionMap(f"{one.name}.source", "cross", one.layer, asking, "source", across))
    source, target = pair.tensors(network.output.weight.device)

    def scores(some: slice) -> Tensor:
        kept: list[Tensor] = []
        handle = network.decoder.register_forward_hook(lambda _module, _read, given: kept.append(given[0]))
        try:
            network.features(source, target)
        finally:
            handle.remove()
        return network.output(kept[0][0, some])

    following = [*pair.together[1:first], START, *pair.predicted]
    return _Made(
        maps, steps, run_of(network, scores), {"sequence": network.embedding}, ("sequence", following)
    )
