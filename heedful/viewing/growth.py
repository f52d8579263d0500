"""A translation as it is written: the search watched step by step, and what it might have written instead.

    grown = grow(load("runs/multi30k-en-de"), {"source": "A man rides a horse."}, beam=4)
    grown["answers"][0]["text"], grown["nodes"]["text"]

All hypotheses together are a tree. A node is a token that some hypothesis was, or might have been, continued by; the
way from the root to a node is the hypothesis. `forced` tells the same of a text that was given.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from heedful import decoding
from heedful.attention import observe
from heedful.attention.observe import Seen
from heedful.decoding import Hypothesis, SearchSettings
from heedful.decoding.hypothesis import ranked
from heedful.decoding.watching import Step
from heedful.errors import DataError, HeedfulError
from heedful.tasks.alignment import step_attention
from heedful.tasks.pieces import check_length
from heedful.tasks.translator import Translator
from heedful.text.special import END, START
from heedful.text.tokenizer import Tokenizer
from heedful.viewing.looks import tokens
from heedful.viewing.scene import Scene

# Of what a hypothesis read, so many source tokens are told, and of what might follow so many tokens.
READ, ALTERNATIVES = 12, 6
# Candidates of a step that did not live on, beside those that did.
DROPPED = 8
# Scores that are looked at at once: outputs x vocabulary.
SCORES = 2**25


def grow(model: Translator, texts: Mapping[str, str], beam: int) -> dict[str, Any]:
    """Search for the translation of texts["source"] with a beam, 1 for greedy search; tell every step, ready for JSON.

    "source"        the source's tokens, as text
    "layers"        names of the attentions to the source
    "nodes"         lists, one entry a node, the root first: "parent", "text", "space" (whether a word begins with it),
                    "step" (0 for the root), "probability" (of the token), "log_probability" and "score" (of the
                    hypothesis), "fate": "alive" (it lived on), "finished" (it ended), "cut" (at the longest length),
                    "left" (alive when the search was over), "dropped" (others were better)
    "reads"         by node: for each layer, the source tokens that were read before the node was continued, the largest
                    mean weights of the heads first: [numbers, weights]
    "alternatives"  by node: what might follow it, [text, probability] each, the likeliest first
    "answers"       the finished ones (or cut ones where none is), the best first: "node", "text", "score",
                    "log_probability", "finished"

    The first answer is that of `model.answers` with this beam, the model's own settings otherwise. Raises DataError for
    a source that is empty or longer than the model reads at once.
    """
    text = texts.get("source", "")
    if not text.strip():
        raise DataError("The source is empty: there is nothing to translate.")
    ids = model.source_tokenizer.encode(text)
    check_length("The source", ids, model.model.maximum_length)
    settings = SearchSettings.model_validate(
        {**model.search.model_dump(), "method": "beam", "beam": beam, "n_best": 1}
        | {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
    )
    network, source = model.model, torch.tensor([[*ids, END]], device=model.device)
    layers = network.source_attention()
    with model._ready(), observe(network, layers) if layers else nullcontext(Seen()) as seen:
        tree = _Tree(model.target_tokenizer, beam, lambda: _read(seen, layers, source.shape[1]))
        coverage = step_attention(network, source.shape[1]) if settings.coverage_penalty else nullcontext()
        with coverage as attention:
            among = None if model.shortlist is None else [model.shortlist.tokens(source)]
            ((best, *_),) = decoding.search(
                network, source, settings, attention=attention, among=among, watch=tree.add
            )
    answers = tree.answers(best)
    return {
        "source": [tokens.shown(model.source_tokenizer, token) for token in (*ids, END)],
        "beam": beam,
        "layers": layers,
        "nodes": tree.nodes,
        "reads": tree.reads,
        "alternatives": tree.alternatives,
        "answers": answers,
    }


def _read(seen: Seen, layers: Sequence[str], source_length: int) -> list[Tensor]:
    """Give for each layer what every live hypothesis has just read, (hypotheses, source_length), mean of the heads."""
    read = [
        # (hypotheses, heads, 1, keys) or (1, heads, hypotheses, keys): the source's keys stand first
        seen[name].weights(keys=slice(source_length)).mean(1).flatten(0, 1).cpu()
        for name in layers
        if name in seen
    ]
    seen.clear()
    return read


class _Tree:
    """All that a search of one sentence looked at, a node for each token."""

    def __init__(self, tokenizer: Tokenizer, beam: int, read: Callable[[], list[Tensor]]) -> None:
        self.tokenizer, self.beam, self.read = tokenizer, beam, read
        self.nodes: dict[str, list[Any]] = {
            "parent": [None],
            "text": [tokens.shown(tokenizer, START)],
            "space": [False],
            "step": [0],
            "probability": [1.0],
            "log_probability": [0.0],
            "score": [0.0],
            "fate": ["alive"],
        }
        self.reads: dict[int, list[list[list[float]]]] = {}
        self.alternatives: dict[int, list[list[Any]]] = {}
        # Nodes of the hypotheses that are alive, by row; and what each node that ended says.
        self._live = [0]
        self._said: dict[int, tuple[int, ...]] = {0: ()}
        self._ended: list[tuple[int, Hypothesis]] = []

    def add(self, step: Step) -> None:
        """Take a step."""
        choices, read = step.choices, self.read()
        for row, node in enumerate(self._live):
            self.alternatives[node] = [
                [self._shown(int(token))[0], math.exp(own)]
                for token, own in zip(choices.token[row, :ALTERNATIVES], choices.own[row], strict=False)
                if own > -math.inf
            ]
            self.reads[node] = [_largest(weights[row]) for weights in read]
        live, said, dropped = dict[int, int](), dict[int, tuple[int, ...]](), 0
        over = not (step.kept >= 0).any()
        alive = 0
        for place in range(step.value.shape[1]):
            if step.value[0, place] == -math.inf:
                continue
            parent, choice = int(step.parent[0, place]), int(step.choice[0, place])
            token, finished, kept = (
                int(choices.token[parent, choice]),
                step.finished[0, place],
                step.kept[0, place],
            )
            alive += token != END
            fate = "dropped"
            if finished:
                fate = "finished" if token == END else "cut"
            elif kept >= 0:
                fate = "alive"
            elif over and token != END and alive <= self.beam:
                fate = "left"
            dropped += fate == "dropped"
            if fate == "dropped" and dropped > DROPPED:
                continue
            own, value, score = choices.own[parent, choice], step.value[0, place], step.score[0, place]
            node = self._add(
                self._live[parent], token, step.length, float(own), float(value), float(score), fate
            )
            whole = (*self._said[self._live[parent]], token)
            if kept >= 0:
                live[int(kept)], said[node] = node, whole
            if finished:
                self._ended.append((node, self._hypothesis(whole, float(score), token == END)))
        self._live, self._said = [live[row] for row in sorted(live)], said

    def answers(self, best: Hypothesis) -> list[dict[str, Any]]:
        """Give the answers, the best first, which is the search's own."""
        order = ranked([hypothesis for _, hypothesis in self._ended], len(self._ended))
        nodes = {id(hypothesis): node for node, hypothesis in self._ended}
        order.sort(key=lambda hypothesis: hypothesis.tokens != best.tokens)
        return [
            {
                "node": nodes[id(hypothesis)],
                "text": self.tokenizer.decode(hypothesis.tokens),
                "score": hypothesis.score,
                "log_probability": self.nodes["log_probability"][nodes[id(hypothesis)]],
                "finished": hypothesis.finished,
            }
            for hypothesis in order
        ]

    def _add(
        self, parent: int, token: int, step: int, own: float, value: float, score: float, fate: str
    ) -> int:
        text, space = self._shown(token)
        new = {
            "parent": parent,
            "text": text,
            "space": space,
            "step": step,
            "probability": math.exp(own),
            "log_probability": value,
            "score": score,
            "fate": fate,
        }
        for name, field in new.items():
            self.nodes[name].append(field)
        return len(self.nodes["parent"]) - 1

    def _shown(self, token: int) -> tuple[str, bool]:
        """Give a token's text, and whether a word begins with it."""
        return tokens.shown(self.tokenizer, token), tokens.begins_word(self.tokenizer, token)

    def _hypothesis(self, said: tuple[int, ...], score: float, ended: bool) -> Hypothesis:
        return Hypothesis(said[:-1] if ended else said, 0.0, score, (), ended)


def forced(scene: Scene, model: Any) -> dict[str, Any]:
    """Tell how likely each token of a given text was to the model, and what it would have said instead.

    model: what made the scene: with a `target_tokenizer` or a `tokenizer` of heedful

    "axis" of the outputs, and a list for each of them: "text", "probability", "rank" (1: the likeliest),
    "alternatives" [text, probability]; "of": how many outputs there are, as of a long text only the first are told.
    Raises HeedfulError where the scene has no outputs that are tokens.
    """
    tokenizer = getattr(model, "target_tokenizer", None) or getattr(model, "tokenizer", None)
    if scene.run is None or scene.outputs is None or not isinstance(tokenizer, Tokenizer):
        raise HeedfulError(
            f"{scene.model} does not say its text token by token, so there is nothing to compare."
        )
    axis, taken = scene.outputs
    count = min(len(taken), max(1, SCORES // len(tokenizer)))
    with torch.no_grad():
        logs = scene.run(slice(0, count)).float().log_softmax(-1)
    if logs.shape[-1] != len(tokenizer):
        raise HeedfulError(f"What {scene.model} says are no tokens, so there is nothing to compare.")
    own = logs[range(count), list(taken[:count])]
    ranks = (logs > own.unsqueeze(1)).sum(1) + 1
    best = logs.topk(min(ALTERNATIVES, logs.shape[-1]))
    return {
        "axis": axis,
        "of": len(taken),
        "text": [tokens.shown(tokenizer, token) for token in taken[:count]],
        "probability": own.exp().tolist(),
        "rank": ranks.tolist(),
        "alternatives": [
            [[tokens.shown(tokenizer, token), chance] for token, chance in zip(*row, strict=True)]
            for row in zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
        ],
    }


def _largest(weights: Tensor) -> list[list[float]]:
    """Give the numbers and the weights of the source tokens with the largest weights."""
    values, places = weights.topk(min(READ, len(weights)))
    return [places.tolist(), [round(value, 4) for value in values.tolist()]]
