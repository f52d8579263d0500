"""Looking into what was fine-tuned: models that label texts, tag words, and cut answers out of texts.

They are watched while they answer, so what is seen is what they were asked. Their outputs are few: a label, the tags of
words, where an answer begins and ends; each kind has an axis of its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from heedful.models.encoder import Encoder
from heedful.tasks.answering_folder import Answerer
from heedful.tasks.classification_folder import TextClassifier
from heedful.tasks.tagging_folder import SentenceTagger
from heedful.text.special import END, START
from heedful.viewing.looks.examples import sentence
from heedful.viewing.looks.maps import Place, maps_of, steps_of
from heedful.viewing.looks.opened import Ask, Opened, evaluating, run_of, watched
from heedful.viewing.looks.text import listed, of_parts
from heedful.viewing.scene import Axis, Group, Scene, Token


class OpenClassifier(Opened):
    """A classifier of texts, open to be looked into."""

    title, task = "Labels of texts", "classification"

    def __init__(self, model: TextClassifier) -> None:
        self.model, self.network = model, model.model
        example = sentence(model.tokenizer.language)
        second = (Ask("second", "Second text"),) if model.config.pairs else ()
        self.asks = (Ask("text", "Text", example=example), *second)

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        model, network = self.model, self.network
        pair = texts["text"], texts.get("second") or None
        with watched(network) as noted:
            (answer,) = model.predict([pair])
        read, segments, of = noted.arguments
        labels = model.config.labels
        label = labels.index(answer.label) if labels else 0
        maps = maps_of(network, noted.seen, _place(network.encoder, "label"))
        chances = sorted(answer.probabilities.items(), key=lambda one: -one[1])
        return Scene(
            model=self.title,
            texts=texts,
            axes={
                "text": _text(read, pair[0], pair[1] or "", model.tokenizer),
                "label": Axis("label", "Label", (Token(answer.label, 0),)),
            },
            maps=maps,
            steps=steps_of(one for one in maps if one.queries == "text"),
            run=run_of(network, lambda rows: network(read, segments, of)[rows]),
            inputs={"text": network.encoder.stack.embedding},
            outputs=("label", [label]),
            answer=listed("Label", *zip(*chances, strict=True)) if chances else f"Number: {answer.label}",
            facts={"taken": [answer.label], "labels": list(labels)},
        )


class OpenTagger(Opened):
    """A tagger of words, open to be looked into."""

    title, task = "Tags of words", "tagging"

    def __init__(self, model: SentenceTagger) -> None:
        self.model, self.network = model, model.model
        self.asks = (Ask("text", "Text", example="Pretty bad storm at the Empire State Building."),)

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        model, network, text = self.model, self.network, texts["text"]
        with watched(network) as noted:
            answer = model.predict(text)
        read, firsts, features = noted.arguments
        maps = maps_of(network, noted.seen, _place(network.encoder, "words"))
        return Scene(
            model=self.title,
            texts=texts,
            axes={
                "text": _text(read, text, "", model.tokenizer),
                "words": Axis("words", "Words", tuple(map(Token, answer.tokens, range(len(answer.tokens))))),
            },
            maps=maps,
            steps=steps_of(maps),
            run=run_of(network, lambda rows: network(read, firsts, features)[0, rows]),
            inputs={"text": network.encoder.stack.embedding},
            outputs=("words", [network.labels.index(tag) for tag in answer.tags]),
            answer=", ".join(f"{span.text} ({span.type})" for span in answer.spans) or "No span was found.",
            facts={"taken": list(answer.tags), "labels": list(network.labels)},
        )


class OpenAnswerer(Opened):
    """A reader that answers questions about texts, open to be looked into."""

    title, task = "Answers out of texts", "answering"

    def __init__(self, model: Answerer) -> None:
        self.model, self.network = model, model.model
        self.asks = (
            Ask("question", "Question", example="Who wrote the play?"),
            Ask("context", "Text", example="The play was written by Shakespeare in 1611."),
        )

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        model, network = self.model, self.network
        with watched(network) as noted:
            answer = model.predict(texts["question"], texts["context"])
        arguments = noted.arguments
        with torch.no_grad(), evaluating(network):
            found = torch.stack(network(*arguments), 1)[0].argmax(-1).tolist()
        maps = maps_of(network, noted.seen, _place(network.encoder, "answer"))
        text = _text(arguments[0], texts["question"], texts["context"], model.tokenizer)
        return Scene(
            model=self.title,
            texts=texts,
            axes={"text": text, "answer": Axis("answer", "Answer", (Token("begins", 0), Token("ends", 1)))},
            maps=maps,
            steps=steps_of(maps),
            run=run_of(network, lambda rows: torch.stack(network(*arguments), 1)[0, rows]),
            inputs={"text": network.encoder.stack.embedding},
            outputs=("answer", found),
            answer=answer.text or "There is no answer in the text.",
            facts={"taken": [text.tokens[place].text for place in found], "margin": answer.margin},
        )


def _place(encoder: Encoder, outputs: str) -> Callable[[str], Place]:
    """Say that all of the encoder is self-attention, and that a pooling looks at the text."""
    group: Group = "decoder" if encoder.causal else "encoder"
    return lambda name: (group, "text", "text") if name.startswith("encoder.") else ("cross", outputs, "text")


def _text(read: Tensor, first: str, second: str, tokenizer: Any) -> Axis:
    """Give the axis of `<s>` text `</s>` text `</s>`."""
    ids = read[0].tolist()
    parts: list[list[int]] = [[]]
    for token in ids[1:]:
        if token == END:
            parts.append([])
        elif token != START:
            parts[-1].append(token)
    return Axis("text", "Text", tuple(of_parts(tokenizer, parts[:-1], (first, second))))
